"""A field that the policy has encrypted leaves as a ciphertext of exactly what the job holds."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

import pytest

from integrations.admission import FinalRequest, Held, Refused, admit
from integrations.policy import PACKAGED, Policy, load_policy
from integrations.sandbox.sm2_key import TRANSFORMS, open_sm2
from models.errors import DeniedError
from models.pii import Phone
from tests.integrations.gate.parts import PHONE, MemoryLedger, make_attempt, make_gate
from tests.integrations.recording_server import RecordingServer

NAME = "sealed.phone"
PEOPLE = """
[operations."sealed.phone"]
title = "试验"
recipient = "aliyun_sms"
purpose = "verify_phone"
host = "dysmsapi.aliyuncs.com"
method = "POST"
path = "/sealed"
place = "form"
reply.keep = []
headers = {}

[operations."sealed.phone".fields]
Phone = { title = "手机号码", from = "phone", category = "user.contact.phone_number", transform = "sm2", pattern = '1[0-9]{10}', max = 11 }
"""


@pytest.fixture
def sealed(tmp_path: Path) -> Policy:
    path = tmp_path / "sealed.toml"
    path.write_text(PACKAGED.read_text("utf-8") + PEOPLE, "utf-8")
    return load_policy(path)


def _judge(policy: Policy, cell: str, text: str = PHONE) -> None:
    body = f"Phone={cell}".encode()
    headers = {
        "host": "dysmsapi.aliyuncs.com",
        "accept-encoding": "identity",
        "content-type": "application/x-www-form-urlencoded",
        "content-length": str(len(body)),
    }
    request = FinalRequest(
        method="POST",
        host="dysmsapi.aliyuncs.com",
        target=b"/sealed",
        headers=tuple((name.encode(), value.encode()) for name, value in headers.items()),
        body=body,
    )
    held = [Held("phone", text, Phone.category)]
    admit(policy.operation(NAME), request, held, {}, TRANSFORMS)


def _cell(text: str = PHONE) -> str:
    sealed = TRANSFORMS["sm2"](text)
    return str(sealed).replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


def test_the_recipient_alone_can_read_it(
    sealed: Policy, ledger: MemoryLedger, server: RecordingServer
) -> None:
    attempt = make_attempt(sealed, held={"phone": Phone(PHONE)})
    gate = make_gate(sealed, ledger, server.url, transforms=TRANSFORMS)
    request = sealed.operation(NAME).minimize(attempt.held, {})
    gate.send(request, sign=lambda _: {}, attempt=attempt)
    gate.close()
    (received,) = server.requests
    body = received.partition(b"\r\n\r\n")[2]
    assert PHONE.encode() not in received
    assert open_sm2(parse_qs(body.decode())["Phone"][0]) == PHONE
    assert ledger.rows[0].categories == (Phone.category,), "encrypted, it is still disclosed"


def test_the_ciphertext_of_what_the_job_holds_is_let_through(sealed: Policy) -> None:
    _judge(sealed, _cell())


@pytest.mark.parametrize("cell", [PHONE, _cell("16400009999"), _cell() + "A", "QUFBQQ%3D%3D"])
def test_nothing_else_is(sealed: Policy, cell: str) -> None:
    with pytest.raises(Refused, match="field_value:Phone"):
        _judge(sealed, cell)


def test_what_is_encrypted_has_the_shape_that_the_policy_says(sealed: Policy) -> None:
    with pytest.raises(Refused, match="field_shape:Phone"):
        _judge(sealed, _cell("2640000"), "2640000")


def test_nothing_can_be_encrypted_into_nothing(
    sealed: Policy, ledger: MemoryLedger, server: RecordingServer
) -> None:
    attempt = make_attempt(sealed, held={"phone": ""})
    gate = make_gate(sealed, ledger, server.url, transforms=TRANSFORMS)
    request = sealed.operation(NAME).minimize(attempt.held, {})
    with pytest.raises(DeniedError, match="field_shape"):
        gate.send(request, sign=lambda _: {}, attempt=attempt)
    gate.close()
