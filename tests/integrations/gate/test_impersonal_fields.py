"""A field for our own facts, such as an order number, takes nothing that is labelled as a person's."""

from __future__ import annotations

from pathlib import Path

import pytest

from integrations.policy import PACKAGED, Policy, load_policy
from models.errors import DeniedError
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
"""


@pytest.fixture
def orders(tmp_path: Path) -> Policy:
    path = tmp_path / "orders.toml"
    path.write_text(PACKAGED.read_text("utf-8") + ORDERS, "utf-8")
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


def test_a_request_does_not_show_its_values(orders: Policy) -> None:
    request = orders.operation("orders.query").minimize({"order": "A-20260301-7"}, {})
    assert "A-20260301-7" not in repr(request)


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
