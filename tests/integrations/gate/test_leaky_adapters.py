"""The positive control: adapters that leak, each in another way, each caught.

They have three doors: what they configure, what they sign, and what they hand to the gate in place
of the policy's own request. What they could do with bytes of their own is in test_admission.py.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from integrations.gate import Gate, UnsignedRequest
from integrations.minimize import MinimizedRequest
from integrations.policy import Operation, OutboundField, Policy
from models.attempts import Attempt
from models.disclosures import Verdict
from models.errors import DeniedError, InvalidValue
from models.pii import Phone, RealName, VerificationCode
from tests.integrations.gate.parts import (
    CODE,
    CONFIGURED,
    PHONE,
    MemoryLedger,
    make_attempt,
    sign,
)
from tests.integrations.recording_server import RecordingServer

HEX = PHONE.encode().hex()
STRANGER = "16400009999"
SIGNATURE = "ACS3-HMAC-SHA256 Credential=LTAItest,SignedHeaders=host,Signature=" + "d" * 64


def _assert_caught(
    ledger: MemoryLedger, server: RecordingServer, attempt: Attempt, reason: str
) -> None:
    assert [(row.verdict, row.reason) for row in ledger.rows] == [(Verdict.DENIED, reason)]
    assert server.connections == 0
    assert attempt.results == []
    assert PHONE not in repr(ledger.rows)


@pytest.mark.parametrize(
    ("configured", "reason"),
    [
        pytest.param({"out_id": HEX + "0" * 10}, "held_value:phone", id="hex"),
        pytest.param(
            {"out_id": hashlib.md5(PHONE.encode()).hexdigest()}, "held_value:phone", id="md5"
        ),
        pytest.param({"out_id": PHONE + "0" * 21}, "held_value:phone", id="plain inside an id"),
        pytest.param({"sign_name": PHONE}, "held_value:phone", id="plain"),
        pytest.param({"sign_name": CODE}, "held_value:code", id="a short code"),
        pytest.param({"template_code": f"SMS_{PHONE}"}, "held_value:phone", id="template code"),
        pytest.param({"sign_name": STRANGER}, "detected:mobile_number", id="another person"),
        pytest.param({"out_id": PHONE}, "field_shape:OutId", id="phone as reference"),
        pytest.param({"template_code": "SMS_1&x=1"}, "field_shape:TemplateCode", id="injection"),
        pytest.param({"sign_name": "您的手机" * 4}, "field_shape:SignName", id="free text"),
    ],
)
def test_a_leak_through_what_is_configured(
    gate: Gate,
    operation: Operation,
    attempt: Attempt,
    ledger: MemoryLedger,
    server: RecordingServer,
    configured: dict[str, str],
    reason: str,
) -> None:
    request = operation.minimize(attempt.held, {**CONFIGURED, **configured})
    with pytest.raises(DeniedError) as denied:
        gate.send(request, sign=sign, attempt=attempt)

    _assert_caught(ledger, server, attempt, reason)
    assert PHONE not in str(denied.value)


def test_a_user_id_as_reference(
    gate: Gate,
    operation: Operation,
    policy: Policy,
    ledger: MemoryLedger,
    server: RecordingServer,
) -> None:
    user = "5c" * 16
    attempt = make_attempt(
        policy, held={"phone": Phone(PHONE), "code": VerificationCode(CODE), "user": user}
    )
    request = operation.minimize(attempt.held, {**CONFIGURED, "out_id": user})
    with pytest.raises(DeniedError):
        gate.send(request, sign=sign, attempt=attempt)

    _assert_caught(ledger, server, attempt, "held_value:user")


@pytest.mark.parametrize(
    "deep",
    [[RealName("欧阳小明")], {STRANGER: RealName("欧阳小明")}, [{"a": (RealName("欧阳小明"),)}]],
)
def test_a_name_that_the_operation_does_not_list(
    gate: Gate,
    operation: Operation,
    policy: Policy,
    ledger: MemoryLedger,
    server: RecordingServer,
    deep: object,
) -> None:
    held = {"phone": Phone(PHONE), "code": VerificationCode(CODE), "buyers": deep}
    attempt = make_attempt(policy, held=held)
    request = operation.minimize(attempt.held, {**CONFIGURED, "sign_name": "亲爱的欧阳小明"})
    with pytest.raises(DeniedError):
        gate.send(request, sign=sign, attempt=attempt)

    (row,) = ledger.rows
    assert (row.reason or "").replace("[]", "") == "held_value:buyers"
    assert server.connections == 0


@pytest.mark.parametrize(
    ("smuggled", "reason"),
    [
        pytest.param({"x-user-phone": PHONE}, "header_unknown", id="a header"),
        pytest.param({"cookie": "session=1"}, "header_unknown", id="a cookie"),
        pytest.param({"x-forwarded-for": "192.0.2.7"}, "header_unknown", id="an address"),
        pytest.param({"traceparent": "00-1-1-00"}, "header_unknown", id="a trace"),
        pytest.param({"host": "collector.example"}, "header_unknown", id="another host"),
        pytest.param({"Authorization": "x"}, "header_unknown", id="another spelling"),
        pytest.param({"content-length": "0"}, "header_unknown", id="another length"),
        pytest.param({"x-acs-action": "AddSmsSign"}, "header_unknown", id="another operation"),
        pytest.param(
            {"x-acs-signature-nonce": PHONE + "f" * 21}, "held_value:phone", id="inside the nonce"
        ),
        pytest.param(
            {"x-acs-signature-nonce": HEX + "f" * 10}, "held_value:phone", id="hex in the nonce"
        ),
        pytest.param(
            {"x-acs-content-sha256": hashlib.sha256(PHONE.encode()).hexdigest()},
            "held_value:phone",
            id="as digest of the body",
        ),
        pytest.param(
            {"x-acs-security-token": base64.b64encode(b"xy" + PHONE.encode()).decode()},
            "held_value:phone",
            id="base64 in the token",
        ),
        pytest.param(
            {"x-acs-security-token": f"{STRANGER[:3]}-{STRANGER[3:7]}-{STRANGER[7:]}"},
            "detected:mobile_number",
            id="another person in the token",
        ),
        pytest.param(
            {"x-acs-date": "2026-11-23T10:00:00Z\r\nx-user: 1"},
            "header_value:x-acs-date",
            id="a second line",
        ),
        pytest.param(
            {"authorization": f"{SIGNATURE} {STRANGER}"},
            "header_value:authorization",
            id="after the signature",
        ),
        pytest.param(
            {"x-acs-date": "２０２６-11-23T10:00:00Z"}, "header_value:x-acs-date", id="full width"
        ),
        pytest.param(
            {"authorization": f"Basic {PHONE}"}, "header_value:authorization", id="another scheme"
        ),
    ],
)
def test_a_leak_through_the_signer(
    gate: Gate,
    operation: Operation,
    attempt: Attempt,
    ledger: MemoryLedger,
    server: RecordingServer,
    smuggled: dict[str, str],
    reason: str,
) -> None:
    def smuggle(request: UnsignedRequest) -> Mapping[str, str]:
        return {**sign(request), **smuggled}

    with pytest.raises(DeniedError) as denied:
        gate.send(operation.minimize(attempt.held, CONFIGURED), sign=smuggle, attempt=attempt)

    _assert_caught(ledger, server, attempt, reason)
    assert PHONE not in str(denied.value)


def test_a_signer_that_forgets_a_header(
    gate: Gate,
    operation: Operation,
    attempt: Attempt,
    ledger: MemoryLedger,
    server: RecordingServer,
) -> None:
    def forget(request: UnsignedRequest) -> Mapping[str, str]:
        return {k: v for k, v in sign(request).items() if k != "authorization"}

    with pytest.raises(DeniedError):
        gate.send(operation.minimize(attempt.held, CONFIGURED), sign=forget, attempt=attempt)

    _assert_caught(ledger, server, attempt, "header_missing:authorization")


def test_a_signer_may_repeat_what_the_policy_says(
    gate: Gate, operation: Operation, attempt: Attempt, server: RecordingServer
) -> None:
    def repeat(request: UnsignedRequest) -> Mapping[str, str]:
        return {**sign(request), **request.headers}

    gate.send(operation.minimize(attempt.held, CONFIGURED), sign=repeat, attempt=attempt)

    assert server.requests[0].count(b"x-acs-action") == 1


def _extra_field(operation: Operation) -> dict[str, OutboundField]:
    return {
        **operation.fields,
        "User": OutboundField.model_validate(
            {
                "title": "用户",
                "from": "user",
                "category": "system.operations",
                "transform": "raw",
                "pattern": ".*",
                "max": 99,
            }
        ),
    }


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: {"host": "collector.example"}, id="host"),
        pytest.param(lambda _: {"path": f"/{PHONE}"}, id="path"),
        pytest.param(lambda _: {"place": "query"}, id="values into the URL"),
        pytest.param(lambda operation: {"fields": _extra_field(operation)}, id="extra key"),
        pytest.param(lambda _: {"name": "aliyun.sms.other"}, id="a name nobody knows"),
    ],
)
def test_an_operation_of_ones_own(
    gate: Gate,
    operation: Operation,
    attempt: Attempt,
    ledger: MemoryLedger,
    server: RecordingServer,
    change: Any,
) -> None:
    forged = operation.model_copy(update=change(operation))
    request = forged.minimize(attempt.held, CONFIGURED)
    with pytest.raises(DeniedError):
        gate.send(request, sign=sign, attempt=attempt)

    _assert_caught(ledger, server, attempt, "unknown_operation")
    assert ledger.rows[0].host in {"dysmsapi.aliyuncs.com", "unknown"}


def _forge(request: MinimizedRequest, **values: object) -> MinimizedRequest:
    return dataclasses.replace(request, values={**request.values, **values})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param({"PhoneNumbers": Phone(STRANGER)}, "field_value:PhoneNumbers", id="stranger"),
        pytest.param({"PhoneNumbers": STRANGER}, "field_value:PhoneNumbers", id="plain stranger"),
        pytest.param(
            {"PhoneNumbers": f"{PHONE},{STRANGER}"}, "field_value:PhoneNumbers", id="two at once"
        ),
        pytest.param({"SignName": Phone(PHONE)}, "field_category:sign_name", id="wrong field"),
        pytest.param(
            {"TemplateParam.code": VerificationCode("135790")},
            "field_value:TemplateParam.code",
            id="a code that the job does not hold",
        ),
    ],
)
def test_values_of_ones_own(
    gate: Gate,
    operation: Operation,
    attempt: Attempt,
    ledger: MemoryLedger,
    server: RecordingServer,
    values: dict[str, object],
    reason: str,
) -> None:
    request = _forge(operation.minimize(attempt.held, CONFIGURED), **values)
    with pytest.raises(DeniedError):
        gate.send(request, sign=sign, attempt=attempt)

    _assert_caught(ledger, server, attempt, reason)


def test_a_value_for_a_field_that_nobody_knows_stays(
    gate: Gate, operation: Operation, attempt: Attempt, server: RecordingServer
) -> None:
    request = _forge(operation.minimize(attempt.held, CONFIGURED), SmsUpExtendCode="99431")
    gate.send(request, sign=sign, attempt=attempt)

    assert b"99431" not in server.requests[0]


def test_an_unlabelled_phone_number(
    gate: Gate,
    operation: Operation,
    policy: Policy,
    ledger: MemoryLedger,
    server: RecordingServer,
) -> None:
    attempt = make_attempt(policy, held={"phone": PHONE, "code": VerificationCode(CODE)})
    with pytest.raises(DeniedError):
        gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)

    _assert_caught(ledger, server, attempt, "field_category:PhoneNumbers")


def test_a_labelled_value_is_no_configuration(operation: Operation, attempt: Attempt) -> None:
    configured: dict[str, Any] = {**CONFIGURED, "out_id": Phone(PHONE)}
    with pytest.raises(InvalidValue, match="out_id"):
        operation.minimize(attempt.held, configured)
