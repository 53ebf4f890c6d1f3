"""A field for our own facts, such as an order number, takes nothing that is labelled as a person's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from integrations.admission import FinalRequest, Held, Refused, admit
from integrations.policy import PACKAGED, Policy, load_policy
from models.errors import DeniedError, InvalidValue
from models.pii import Phone
from tests.integrations.gate.parts import PHONE, MemoryLedger, make_attempt, make_gate
from tests.integrations.recording_server import RecordingServer

ORDERS = """
[operations."orders.query"]
title = "试验"
recipient = "aliyun_sms"
purpose = "verify_phone"
host = "dysmsapi.aliyuncs.com"
method = "POST"
path = "/orders"
place = "form"
reply.keep = []
headers = {}

[operations."orders.query".fields]
Order = { title = "订单编号", from = "order", category = "system.operations", transform = "raw", pattern = '[A-Z0-9-]{1,32}', max = 32 }
Amount = { title = "金额", from = "amount", category = "system.operations", transform = "raw", pattern = '[0-9]{1,9}', max = 9, required = false }
Phone = { title = "手机号码", from = "phone", category = "user.contact.phone_number", transform = "raw", pattern = '1[0-9]{10}', max = 11, required = false }
Kind = { title = "种类", const = "paid" }
"""

TOTALS = """
[operations."orders.total"]
title = "试验"
recipient = "aliyun_sms"
purpose = "verify_phone"
host = "dysmsapi.aliyuncs.com"
method = "POST"
path = "/totals"
place = "json"
reply.keep = []
headers = {}

[operations."orders.total".fields]
Total = { title = "金额", from = "total", category = "system.operations", transform = "number", pattern = '[0-9]{1,9}', max = 9 }
"""


@pytest.fixture
def orders(tmp_path: Path) -> Policy:
    path = tmp_path / "orders.toml"
    path.write_text(PACKAGED.read_text("utf-8") + ORDERS + TOTALS, "utf-8")
    return load_policy(path)


def _send(policy: Policy, ledger: MemoryLedger, server: RecordingServer, order: object) -> None:
    attempt = make_attempt(policy, held={"order": order})
    gate = make_gate(policy, ledger, server.url)
    request = policy.operation("orders.query").minimize(attempt.held, {})
    try:
        gate.send(request, sign=lambda _: {}, attempt=attempt)
    finally:
        gate.close()


def test_an_order_number_leaves(
    orders: Policy, ledger: MemoryLedger, server: RecordingServer
) -> None:
    _send(orders, ledger, server, "A-20260301-7")
    assert b"Order=A-20260301-7" in server.requests[0]


def test_a_phone_number_in_its_place_does_not(
    orders: Policy, ledger: MemoryLedger, server: RecordingServer
) -> None:
    with pytest.raises(DeniedError):
        _send(orders, ledger, server, Phone(PHONE))
    assert [row.reason for row in ledger.rows] == ["field_category:Order"]
    assert server.connections == 0


@pytest.mark.parametrize(
    "order", [PHONE, f"NO-{PHONE}-1", "999999199003070100", "99999919900307008X"]
)
def test_an_order_number_that_is_made_of_a_persons_number_does_not(
    orders: Policy, ledger: MemoryLedger, server: RecordingServer, order: str
) -> None:
    with pytest.raises(DeniedError):
        _send(orders, ledger, server, order)
    assert [row.reason for row in ledger.rows] == ["detected:Order"]
    assert server.connections == 0


@pytest.mark.parametrize("order", ["6222021234567890128", "20261124153025", f"{PHONE}0"])
def test_long_order_numbers_are_no_persons_for_that(
    orders: Policy, ledger: MemoryLedger, server: RecordingServer, order: str
) -> None:
    _send(orders, ledger, server, order)
    assert f"Order={order}&".encode() in server.requests[0]


def test_a_sum_is_no_phone_number(orders: Policy) -> None:
    entry = orders.operation("orders.total").fields["Total"]
    wide = entry.model_copy(update={"pattern": re.compile("[0-9]{1,13}"), "max": 13})
    policy = orders.model_copy(
        update={
            "operations": {
                "orders.total": orders.operation("orders.total").model_copy(
                    update={"fields": {"Total": wide}}
                )
            }
        }
    )
    _total(policy, f'{{"Total":{PHONE}}}'.encode(), PHONE)


def test_a_request_does_not_show_its_values(orders: Policy) -> None:
    request = orders.operation("orders.query").minimize({"order": "A-20260301-7"}, {})
    assert "A-20260301-7" not in repr(request)


def test_a_whole_number_leaves_as_its_digits(
    orders: Policy, ledger: MemoryLedger, server: RecordingServer
) -> None:
    attempt = make_attempt(orders, held={"order": "A-7", "amount": 1200})
    gate = make_gate(orders, ledger, server.url)
    request = orders.operation("orders.query").minimize(attempt.held, {})
    gate.send(request, sign=lambda _: {}, attempt=attempt)
    gate.close()

    assert server.requests[0].endswith(b"Order=A-7&Amount=1200&Kind=paid")


@pytest.mark.parametrize("amount", [True, 1.5, {"total": 1200}, [1200]], ids=str)
def test_nothing_else_is_made_text_of(orders: Policy, amount: object) -> None:
    with pytest.raises(InvalidValue, match="amount must be text"):
        orders.operation("orders.query").minimize({"order": "A-7", "amount": amount}, {})


def _total(orders: Policy, body: bytes, held: str) -> None:
    operation = orders.operation("orders.total")
    headers = {
        b"host": operation.host.encode(),
        b"accept-encoding": b"identity",
        b"content-type": b"application/json; charset=utf-8",
        b"content-length": str(len(body)).encode(),
    }
    request = FinalRequest("POST", operation.host, b"/totals", tuple(headers.items()), body)
    admit(operation, request, [Held("total", held, None)], {})


def test_a_number_on_the_wire_is_the_one_that_the_job_holds(orders: Policy) -> None:
    _total(orders, b'{"Total":1}', "1")
    for body, held in (
        (b'{"Total":2}', "1"),
        (b'{"Total":true}', "1"),
        (b'{"Total":"1"}', "1"),
        (b'{"Total":5}', "five"),
    ):
        with pytest.raises(Refused, match="field_value:Total"):
            _total(orders, body, held)


def test_what_is_absent_is_not_said_to_leave(orders: Policy) -> None:
    request = orders.operation("orders.query").minimize({"order": "A-7"}, {})

    assert request.categories == ("system.operations",)


def test_a_short_reference_of_the_job_is_nobody_elses_setting(
    loose: Policy, ledger: MemoryLedger, server: RecordingServer
) -> None:
    attempt = make_attempt(loose, held={"phone": Phone(PHONE), "user": "a-b.c"})
    gate = make_gate(loose, ledger, server.url)
    request = loose.operation("loose.form").minimize(attempt.held, {"note": "a-b.c"})
    with pytest.raises(DeniedError):
        gate.send(request, sign=lambda _: {}, attempt=attempt)
    gate.close()
    assert [row.reason for row in ledger.rows] == ["held_value:user"]
