"""A name and a number go out, a verdict comes back, and nothing is asked twice for free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integrations.aliyun import AliyunCredentials, AliyunIdentity, IdentityVerdict
from integrations.aliyun.identity_codes import IDENTITY_REMEDIES, identity_fault
from integrations.gate import Gate, Timeouts
from integrations.policy import Policy
from integrations.sandbox import sm2_key
from integrations.sandbox.server import SandboxServer
from models.attempts import Attempt
from models.disclosures import SendResult, Verdict
from models.errors import (
    DeniedError,
    GiveUpError,
    InvalidValue,
    RetryError,
    UnknownOutcomeError,
    WaitError,
    ZjjError,
)
from models.pii import IdNumber, Phone, RealName
from tests.integrations.attempts import attempt_of
from tests.integrations.gate.parts import MemoryLedger
from tests.integrations.sandbox.calling import Caller
from tests.integrations.sandbox.test_cloudauth import id_number

HOST = "cloudauth.aliyuncs.com"


@pytest.fixture
def gate(policy: Policy, ledger: MemoryLedger, server: SandboxServer) -> Iterator[Gate]:
    gate = Gate(
        policy,
        ledger,
        dial={HOST: server.url},
        timeouts=Timeouts(answer=0.5),
        transforms=sm2_key.TRANSFORMS,
    )
    yield gate
    gate.close()


@pytest.fixture
def identity(gate: Gate) -> AliyunIdentity:
    return AliyunIdentity(gate, AliyunCredentials("sandbox", "sandbox-secret"))


@pytest.fixture
def an_attempt(policy: Policy) -> Callable[..., Attempt]:
    def make(sequence: str = "001", consent_ref: str | None = "consent-1", **held: Any) -> Attempt:
        return attempt_of(
            policy,
            "identity_check",
            {
                "name": RealName("张三"),
                "id_number": IdNumber(id_number(sequence)),
                "phone": Phone("16400001234"),
                "order_no": "ZJJ-2026-000001",
                "purpose": "certification",
                **held,
            },
            consent_ref=consent_ref,
        )

    return make


@pytest.mark.parametrize("with_phone", [False, True])
@pytest.mark.parametrize(
    ("sequence", "verdict"),
    [
        ("001", IdentityVerdict.MATCH),
        ("902", IdentityVerdict.MISMATCH),
        ("903", IdentityVerdict.NO_RECORD),
    ],
)
def test_a_verdict_is_read(
    identity: AliyunIdentity,
    an_attempt: Callable[..., Attempt],
    sequence: str,
    verdict: IdentityVerdict,
    with_phone: bool,
) -> None:
    attempt = an_attempt(sequence)
    checked = identity.check(attempt, with_phone=with_phone)
    assert (checked.verdict, checked.provider_code) == (verdict, "200")
    assert checked.provider_request_id == attempt.results[0].provider_request_id
    assert attempt.results[0].result is SendResult.ANSWERED


def test_two_factors_leave_the_phone_and_the_order_inside(
    identity: AliyunIdentity, an_attempt: Callable[..., Attempt], ledger: MemoryLedger
) -> None:
    identity.check(an_attempt(), with_phone=False)
    (row,) = ledger.rows
    assert row.operation == "aliyun.identity.two_factor"
    assert row.categories == ("user.name", "user.government_id.national_identification_number")
    assert {"phone", "order_no", "purpose"} <= set(row.stripped)


def test_three_factors_send_the_phone_as_well_and_no_order(
    identity: AliyunIdentity, an_attempt: Callable[..., Attempt], ledger: MemoryLedger
) -> None:
    identity.check(an_attempt(), with_phone=True)
    (row,) = ledger.rows
    assert "user.contact.phone_number" in row.categories
    assert {"order_no", "purpose"} == set(row.stripped)


def test_three_factors_need_a_phone(
    identity: AliyunIdentity, an_attempt: Callable[..., Attempt], ledger: MemoryLedger
) -> None:
    with pytest.raises(InvalidValue, match="needs phone"):
        identity.check(an_attempt(phone=None), with_phone=True)
    assert ledger.rows == []


def test_nothing_leaves_without_a_separate_consent(
    identity: AliyunIdentity, an_attempt: Callable[..., Attempt], ledger: MemoryLedger
) -> None:
    for act in (identity.check, identity.permit):
        with pytest.raises(DeniedError, match="consent_missing"):
            act(an_attempt(consent_ref=None), with_phone=False)
    assert [row.verdict for row in ledger.rows] == [Verdict.DENIED, Verdict.DENIED]


def test_being_permitted_discloses_nothing(
    identity: AliyunIdentity,
    an_attempt: Callable[..., Attempt],
    ledger: MemoryLedger,
    server: SandboxServer,
) -> None:
    identity.permit(an_attempt(), with_phone=True)
    assert ledger.rows == []
    assert server.sandbox.journal.totals()["requests"] == 0


@pytest.mark.parametrize(
    ("code", "error", "stops"),
    [
        ("400", GiveUpError, False),
        ("401", GiveUpError, False),
        ("402", RetryError, False),
        ("403", GiveUpError, False),
        ("405", GiveUpError, False),
        ("410", GiveUpError, True),
        ("411", GiveUpError, True),
        ("412", GiveUpError, True),
        ("500", RetryError, False),
    ],
)
def test_each_code_says_what_to_do(
    identity: AliyunIdentity,
    an_attempt: Callable[..., Attempt],
    caller: Caller,
    code: str,
    error: type[ZjjError],
    stops: bool,
) -> None:
    assert code in IDENTITY_REMEDIES
    caller.fault(kind="code", code=code, times=1)
    with pytest.raises(error) as caught:
        identity.check(an_attempt(), with_phone=False)
    assert (caught.value.provider_code, caught.value.stops_recipient) == (code, stops)


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "error"),
    [
        (500, None, None, RetryError),
        (503, "ServiceUnavailable", None, RetryError),
        (400, "Throttling.User", "1500", WaitError),
        (400, "Throttling.User", None, WaitError),
        (400, "SignatureDoesNotMatch", None, GiveUpError),
        (403, "Forbidden.RAM", None, GiveUpError),
        (400, "SignatureNonceUsed", None, UnknownOutcomeError),
        (400, None, None, UnknownOutcomeError),
        (400, "200", None, UnknownOutcomeError),
        (200, "499", None, UnknownOutcomeError),
        (200, "isv.MOBILE_NUMBER_ILLEGAL", None, UnknownOutcomeError),
    ],
)
def test_answers_of_the_gateway_are_sorted_too(
    status: int, code: str | None, retry_after: str | None, error: type[ZjjError]
) -> None:
    assert type(identity_fault(status, code, retry_after=retry_after)) is error


def test_silence_after_sending_is_unknown(
    identity: AliyunIdentity, an_attempt: Callable[..., Attempt], caller: Caller
) -> None:
    caller.fault(kind="hang", seconds=2, times=1)
    with pytest.raises(UnknownOutcomeError):
        identity.check(an_attempt(), with_phone=False)


def test_no_error_says_who_was_checked(
    identity: AliyunIdentity, an_attempt: Callable[..., Attempt], caller: Caller
) -> None:
    caller.fault(kind="code", code="401", message="张三 16400001234", times=1)
    with pytest.raises(GiveUpError) as caught:
        identity.check(an_attempt(), with_phone=True)
    assert "张三" not in str(caught.value)
    assert "164" not in str(caught.value)
