"""The vendor's own SDK against the sandbox's push service; the product does without it."""

from __future__ import annotations

import json
from typing import Any

import jpush
import pytest

from integrations.sandbox import jiguang_key
from integrations.sandbox.server import SandboxServer

TOKEN = "13065ffa4e3ae5f7c4b"


@pytest.fixture
def client(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(jpush.common.ZONES["DEFAULT"], "PUSH", f"{server.url}/v3/")
    client = jpush.JPush(jiguang_key.APP_KEY, jiguang_key.MASTER_SECRET)
    client.session.trust_env = False
    with client.session:
        yield client


def a_push(client: Any) -> Any:
    push = client.create_push()
    push.platform = jpush.all_
    push.audience = jpush.audience(jpush.registration_id(TOKEN))
    push.notification = jpush.notification(alert="您的订单有新的进展,请打开应用查看。")
    push.options = {"time_to_live": 60, "apns_production": True}
    return push


def test_it_fetches_cids_and_pushes_once_under_each(client: Any, server: SandboxServer) -> None:
    push = a_push(client)
    push.cid, other = push.get_cid(2, "push").payload["cidlist"]
    first, again = push.send().payload, push.send().payload
    assert first == again
    assert first["msg_id"].isdecimal()
    push.cid = other
    assert push.send().payload["msg_id"] != first["msg_id"]
    journal = server.sandbox.journal
    assert (journal.count(other), journal.accepted(other)) == (1, 1)
    assert journal.totals()["references_accepted_twice"] == 0


def test_it_reads_the_codes_of_refusals(client: Any) -> None:
    push = a_push(client)
    push.audience = jpush.audience(jpush.alias("u-17"))
    with pytest.raises(jpush.JPushFailure) as caught:
        push.send()
    assert caught.value.error_code == 1009
    push = a_push(client)
    push.options = {"time_to_live": "soon"}
    with pytest.raises(jpush.JPushFailure) as caught:
        push.send()
    assert json.loads(caught.value.response.content)["error"]["code"] == 1003


def test_a_stranger_is_turned_away(client: Any) -> None:
    client.session.auth = ("another", "pair")
    with pytest.raises(jpush.Unauthorized):
        a_push(client).send()
