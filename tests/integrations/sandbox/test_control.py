from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.sandbox.server import SandboxServer
from tests.integrations.sandbox.calling import Caller

JOB = "b" * 32


def test_requests_are_counted_by_their_reference(caller: Caller) -> None:
    caller.send(OutId=JOB)
    caller.send(OutId=JOB)
    caller.send(OutId="c" * 32, PhoneNumbers="16400001235")
    assert caller.seen(JOB) == (2, 1)
    assert caller.seen("d" * 32) == (0, 0)


def test_the_journal_names_fields_and_shows_no_value(caller: Caller, server: SandboxServer) -> None:
    caller.send(OutId=JOB)
    caller.send(OutId=JOB, PhoneNumbers="164000012345")
    first, second = caller.http.get("/_sandbox/requests").json()["requests"]
    assert first["fields"] == ["OutId", "PhoneNumbers", "SignName", "TemplateCode", "TemplateParam"]
    assert (first["code"], second["code"]) == ("OK", "isv.MOBILE_NUMBER_ILLEGAL")
    everything = json.dumps(server.sandbox.journal.entries()) + repr(
        server.sandbox.journal.totals()
    )
    for value in ("16400001234", "164000012345", "246810", "钟久久"):
        assert value not in everything


def test_totals_show_at_a_glance_whether_anything_was_sent_twice(caller: Caller) -> None:
    caller.http.patch("/_sandbox/settings", json={"limits": False})
    caller.send(OutId=JOB)
    assert caller.http.get("/_sandbox/counters").json()["references_accepted_twice"] == 0
    caller.send(OutId=JOB)
    totals = caller.http.get("/_sandbox/counters").json()
    assert totals["references_accepted_twice"] == 1
    assert (totals["requests"], totals["references"], totals["accepted"]) == (2, 1, 2)
    assert totals["by_code"] == [
        {"provider": "aliyun_sms", "action": "SendSms", "code": "OK", "count": 2}
    ]


def test_a_reset_forgets_everything(caller: Caller) -> None:
    caller.fault(kind="garbage", action="Other")
    caller.send(OutId=JOB)
    assert caller.http.post("/_sandbox/reset").status_code == 204
    assert caller.seen(JOB) == (0, 0)
    assert caller.http.get("/_sandbox/faults").json() == []
    assert caller.send(OutId=JOB)["Code"] == "OK"


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        ({"kind": "explode"}, "kind"),
        ({"kind": "hang", "seconds": -1}, "seconds"),
        ({"kind": "hang", "times": 0}, "times"),
        ({"kind": "hang", "percent": 101}, "percent"),
        ({"kind": "hang", "sekonds": 1}, "sekonds"),
        ({"kind": "status", "status": 200}, "status"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_by_field(
    caller: Caller, fault: dict[str, Any], field: str
) -> None:
    reply = caller.http.post("/_sandbox/faults", json=fault)
    assert reply.status_code == 422
    assert [error["loc"] for error in reply.json()["errors"]] == [[field]]


def test_a_code_fault_needs_a_code(caller: Caller) -> None:
    assert caller.http.post("/_sandbox/faults", json={"kind": "code"}).status_code == 422


def test_an_unknown_setting_is_refused(caller: Caller) -> None:
    assert caller.http.patch("/_sandbox/settings", json={"latency": 1}).status_code == 422


@pytest.mark.parametrize("path", ["/_sandbox/nothing", "/_sandbox"])
def test_other_doors_are_shut(caller: Caller, path: str) -> None:
    assert caller.http.get(path).status_code == 404
