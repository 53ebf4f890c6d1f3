from __future__ import annotations

import datetime as dt
from contextlib import suppress

import pytest

from integrations.gate import Gate
from integrations.policy import Operation, Policy
from models.attempts import Attempt
from models.disclosures import Disclosure, SendResult, Verdict
from models.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    DeniedError,
    UnknownOutcomeError,
)
from models.pii import Phone
from tests.integrations.gate.parts import (
    CODE,
    CONFIGURED,
    HOST,
    JOB,
    NOW,
    PHONE,
    MemoryLedger,
    make_attempt,
    make_gate,
    sign,
)
from tests.integrations.recording_server import RecordingServer, answer


def test_exactly_the_listed_fields_leave(
    gate: Gate, operation: Operation, attempt: Attempt, server: RecordingServer
) -> None:
    gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert line == "POST / HTTP/1.1"
    assert body.decode() == (
        f"PhoneNumbers={PHONE}&SignName=%E9%92%9F%E4%B9%85%E4%B9%85&TemplateCode=SMS_154950909"
        f"&TemplateParam=%7B%22code%22%3A%22{CODE}%22%7D&OutId={JOB}"
    )
    assert {header.split(": ")[0] for header in headers} == {
        "host",
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "authorization",
        "x-acs-action",
        "x-acs-version",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-content-sha256",
    }
    assert f"host: {HOST}" in headers


def test_the_reply_is_cut_to_the_keep_list(
    gate: Gate, operation: Operation, attempt: Attempt, ledger: MemoryLedger
) -> None:
    reply = gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)

    assert reply.status == 200
    assert set(reply.fields) == {"Code", "BizId", "RequestId"}
    assert reply.code == "OK"
    assert reply.disclosure_id == ledger.rows[0].id


def test_a_disclosure_says_who_got_what_and_why_without_a_value(
    gate: Gate, operation: Operation, attempt: Attempt, ledger: MemoryLedger
) -> None:
    gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)

    (row,) = ledger.rows
    assert row.verdict is Verdict.ADMITTED
    assert row.reason is None
    assert (row.job_id, row.attempt, row.fence) == (JOB, 1, 7)
    assert (row.operation, row.recipient, row.host) == ("aliyun.sms.send", "aliyun_sms", HOST)
    assert (row.purpose, row.clauses) == ("verify_phone", ("一(1)1", "一(1)6", "五(1)"))
    assert row.categories == ("user.contact.phone_number", "user.authorization.credentials")
    assert row.stripped == ("scene", "user")
    assert PHONE not in repr(row)
    assert CODE not in repr(row)


def test_the_result_is_kept_for_the_settle(
    gate: Gate, operation: Operation, attempt: Attempt, ledger: MemoryLedger
) -> None:
    gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)

    (result,) = attempt.results
    assert result.disclosure_id == ledger.rows[0].id
    assert result.result is SendResult.ANSWERED
    assert (result.http_status, result.provider_code) == (200, "OK")
    assert result.provider_request_id == "F655A8D5-B967-440B-8683-DAD6FF8DE990"
    assert result.milliseconds > 0


def test_the_disclosure_is_on_record_before_a_byte_leaves(
    policy: Policy, operation: Operation, attempt: Attempt, server: RecordingServer
) -> None:
    class Watching(MemoryLedger):
        def record(self, disclosure: Disclosure) -> None:
            assert server.connections == 0
            super().record(disclosure)

    ledger = Watching()
    gate = make_gate(policy, ledger, server.url)
    gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)
    gate.close()

    assert len(ledger.rows) == 1
    assert len(server.requests) == 1


def test_without_a_ledger_nothing_leaves(
    policy: Policy, operation: Operation, attempt: Attempt, server: RecordingServer
) -> None:
    class Down(MemoryLedger):
        def record(self, disclosure: Disclosure) -> None:
            raise DatabaseUnavailable(f"no database for {disclosure.operation}")

    gate = make_gate(policy, Down(), server.url)
    with pytest.raises(DatabaseUnavailable):
        gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)

    assert server.connections == 0
    (result,) = attempt.results
    assert (result.result, result.milliseconds) == (SendResult.UNSENT, 0.0)


def _denied(
    gate: Gate, operation: Operation, attempt: Attempt, server: RecordingServer
) -> DeniedError:
    with pytest.raises(DeniedError) as denied:
        gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)
    assert server.connections == 0
    assert attempt.results == []
    return denied.value


def test_an_attempt_under_another_policy_version_is_denied(
    gate: Gate, operation: Operation, policy: Policy, server: RecordingServer, ledger: MemoryLedger
) -> None:
    attempt = make_attempt(policy, policy_version="2019-01-01.1")

    assert _denied(gate, operation, attempt, server).code == "egress_denied"
    assert [(row.verdict, row.reason) for row in ledger.rows] == [
        (Verdict.DENIED, "policy_version")
    ]


@pytest.mark.parametrize("late", [dt.timedelta(0), dt.timedelta(seconds=1)])
def test_what_has_expired_is_denied(
    gate: Gate,
    operation: Operation,
    policy: Policy,
    server: RecordingServer,
    ledger: MemoryLedger,
    late: dt.timedelta,
) -> None:
    attempt = make_attempt(policy, expires_at=NOW - late)

    assert _denied(gate, operation, attempt, server).code == "expired"
    assert ledger.rows[0].reason == "expired"


def test_what_never_expires_is_sent(
    gate: Gate, operation: Operation, policy: Policy, server: RecordingServer
) -> None:
    attempt = make_attempt(policy, expires_at=None)
    gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)

    assert len(server.requests) == 1


def test_what_is_answered_from_memory_is_held_to_the_same_preconditions(
    gate: Gate, operation: Operation, policy: Policy, server: RecordingServer, ledger: MemoryLedger
) -> None:
    allowed, late = make_attempt(policy), make_attempt(policy, expires_at=NOW)
    gate.permit(operation.minimize(allowed.held, CONFIGURED), attempt=allowed)
    assert ledger.rows == []

    with pytest.raises(DeniedError, match="expired"):
        gate.permit(operation.minimize(late.held, CONFIGURED), attempt=late)
    assert [(row.verdict, row.reason) for row in ledger.rows] == [(Verdict.DENIED, "expired")]
    assert server.connections == 0


def test_a_number_that_the_job_holds_is_looked_for_as_well(
    loose: Policy, ledger: MemoryLedger, server: RecordingServer
) -> None:
    gate = make_gate(loose, ledger, server.url)
    operation = loose.operation("loose.form")
    attempt = make_attempt(loose, held={"phone": Phone(PHONE), "amount": 888888})
    with pytest.raises(DeniedError, match="held_value:amount"):
        gate.send(
            operation.minimize(attempt.held, {"note": "888888"}),
            sign=lambda _: {},
            attempt=attempt,
        )
    gate.close()

    assert server.connections == 0


@pytest.mark.parametrize("status", [200, 201, 299])
def test_a_success_that_nothing_proves_is_not_read(
    policy: Policy, operation: Operation, attempt: Attempt, ledger: MemoryLedger, status: int
) -> None:
    asked: list[int] = []

    def doubt(status: int, _headers: object, _body: bytes) -> bool:
        asked.append(status)
        return False

    with RecordingServer(answer(status=f"{status} Answer")) as server:
        gate = make_gate(policy, ledger, server.url)
        request = operation.minimize(attempt.held, CONFIGURED)
        with pytest.raises(UnknownOutcomeError) as unproven:
            gate.send(request, sign=sign, attempt=attempt, verify=doubt)
        gate.close()

    assert unproven.value.code == "provider.answer_unproven"
    assert asked == [status]
    assert [result.result for result in attempt.results] == [SendResult.UNKNOWN]


@pytest.mark.parametrize("status", [300, 400, 503])
def test_what_is_no_success_needs_no_proof(
    policy: Policy, operation: Operation, attempt: Attempt, ledger: MemoryLedger, status: int
) -> None:
    asked: list[object] = []

    def believe(*told: object) -> bool:
        asked.append(told)
        return True

    with RecordingServer(answer(status=f"{status} Answer")) as server:
        gate = make_gate(policy, ledger, server.url)
        request = operation.minimize(attempt.held, CONFIGURED)
        with suppress(UnknownOutcomeError):
            assert gate.send(request, sign=sign, attempt=attempt, verify=believe).status == status
        gate.close()

    assert asked == [], "nothing of it is believed anyway"
    assert attempt.results[-1].http_status == status


def test_a_sensitive_operation_needs_a_separate_consent(
    policy: Policy, attempt: Attempt, server: RecordingServer, ledger: MemoryLedger
) -> None:
    purpose = policy.purposes["verify_phone"]
    basis = purpose.basis.model_copy(update={"consent": "separate"})
    strict = policy.model_copy(
        update={"purposes": {"verify_phone": purpose.model_copy(update={"basis": basis})}}
    )
    gate = make_gate(strict, ledger, server.url)
    operation = strict.operation("aliyun.sms.send")

    _denied(gate, operation, attempt, server)
    assert ledger.rows[0].reason == "consent_missing"

    attempt.consent_ref = "consent-2026-000017"
    gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)
    gate.close()
    assert ledger.rows[1].consent_ref == "consent-2026-000017"
    assert len(server.requests) == 1


def test_an_operation_with_a_sensitive_category_needs_it_whatever_its_purpose_says(
    policy: Policy, operation: Operation
) -> None:
    category = "user.contact.phone_number"
    sensitive = policy.categories[category].model_copy(update={"sensitive": True})
    stricter = policy.model_copy(update={"categories": {**policy.categories, category: sensitive}})

    assert not policy.separate_consent(operation)
    assert stricter.separate_consent(operation)


@pytest.mark.parametrize("held", [True, None, 1.5, b"x"], ids=repr)
def test_a_job_may_hold_what_is_no_text_and_it_stays(
    policy: Policy, gate: Gate, operation: Operation, server: RecordingServer, held: object
) -> None:
    plain = make_attempt(policy)
    attempt = make_attempt(policy, held={**plain.held, "more": held})
    for each in (plain, attempt):
        gate.send(operation.minimize(each.held, CONFIGURED), sign=sign, attempt=each)

    assert server.requests[0] == server.requests[1]


@pytest.mark.parametrize("environment", ["development", "production"])
def test_a_gate_needs_a_policy_and_a_ledger_only(
    policy: Policy, ledger: MemoryLedger, environment: str
) -> None:
    gate = Gate(policy, ledger, environment=environment)
    gate.close()

    assert gate.policy is policy


def test_production_has_no_sandbox(policy: Policy, ledger: MemoryLedger) -> None:
    with pytest.raises(ConfigurationError, match="production"):
        Gate(policy, ledger, environment="production", dial={HOST: "http://127.0.0.1:1"})


@pytest.mark.parametrize(
    "address",
    [
        "http://192.0.2.7:80",
        "http://localhost:80",
        "http://127.0.0.1.example:80",
        "ftp://127.0.0.1:80",
        "http://127.0.0.1:80/path",
        "//127.0.0.1",
        "",
    ],
)
def test_the_sandbox_is_on_loopback_only(
    policy: Policy, ledger: MemoryLedger, address: str
) -> None:
    with pytest.raises(ConfigurationError, match="127"):
        Gate(policy, ledger, dial={HOST: address})


def test_only_hosts_of_recipients_are_dialled(policy: Policy, ledger: MemoryLedger) -> None:
    with pytest.raises(ConfigurationError, match="no recipient"):
        Gate(policy, ledger, dial={"example.com": "http://127.0.0.1:1"})
