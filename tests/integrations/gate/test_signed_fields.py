"""A signature that stands in the body is held to its shape, whatever the signer says."""

from __future__ import annotations

import pytest

from integrations.policy import PACKAGED, Policy, load_policy
from models.errors import DeniedError
from models.pii import Phone
from tests.integrations.gate.parts import PHONE, MemoryLedger, make_attempt, make_gate
from tests.integrations.recording_server import RecordingServer

SIGNED = """
[operations."signed.body"]
title = "试验"
recipient = "aliyun_sms"
purpose = "verify_phone"
host = "dysmsapi.aliyuncs.com"
method = "POST"
path = "/signed"
place = "form"
reply.keep = []
headers = {}

[operations."signed.body".fields]
Order = { title = "订单编号", from = "order", category = "system.operations", transform = "raw", pattern = '[A-Z0-9-]{1,32}', max = 32 }
Sign = { title = "签名", signed = '[0-9a-z]{16}', max = 16 }
Nonce = { title = "随机", signed = '(?s).*', max = 100, required = false }
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    path = tmp_path_factory.mktemp("policy") / "signed.toml"
    path.write_text(PACKAGED.read_text("utf-8") + SIGNED, "utf-8")
    return load_policy(path)


def _send(
    policy: Policy, ledger: MemoryLedger, server: RecordingServer, signed: dict[str, str]
) -> None:
    attempt = make_attempt(policy, held={"order": "A-7", "phone": Phone(PHONE)})
    gate = make_gate(policy, ledger, server.url)
    request = policy.operation("signed.body").minimize(attempt.held, {})
    try:
        gate.send(request, sign=lambda _: signed, attempt=attempt)
    finally:
        gate.close()


def test_a_signature_leaves_in_its_field(
    policy: Policy, ledger: MemoryLedger, server: RecordingServer
) -> None:
    _send(policy, ledger, server, {"Sign": "0123456789abcdef"})

    assert server.requests[0].endswith(b"Order=A-7&Sign=0123456789abcdef")


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        ({}, "field_missing:Sign"),
        ({"Sign": "0123456789ABCDEF"}, "field_shape:Sign"),
        ({"Sign": "0123456789abcdef0"}, "field_shape:Sign"),
        ({"Sign": f"abcd{PHONE}z"}, "held_value:phone"),
        ({"Sign": "0123456789abcdef", "Nonce": "x" * 101}, "field_shape:Nonce"),
        ({"Sign": "0123456789abcdef", "Nonce": "16499999999"}, "detected:mobile_number"),
        ({"Sign": "0123456789abcdef", "Other": "x"}, "header_unknown"),
    ],
)
def test_nothing_else_does(
    policy: Policy,
    ledger: MemoryLedger,
    server: RecordingServer,
    signed: dict[str, str],
    reason: str,
) -> None:
    with pytest.raises(DeniedError):
        _send(policy, ledger, server, signed)

    assert [row.reason for row in ledger.rows] == [reason]
    assert server.connections == 0
