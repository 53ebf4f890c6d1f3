from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.aliyun import AliyunCredentials, AliyunSmsAuth
from integrations.aliyun.codes import REMEDIES, SMS_AUTH_REMEDIES, fault
from integrations.gate import Gate, Timeouts
from integrations.policy import Policy
from integrations.sandbox.config import GIFTED_TEMPLATES
from integrations.sandbox.server import SandboxServer
from models.attempts import Attempt
from models.errors import (
    ConfigurationError,
    GiveUpError,
    RetryError,
    UnknownOutcomeError,
    WaitError,
    ZjjError,
)
from models.pii import Phone, VerificationCode
from tests.integrations.attempts import attempt_of
from tests.integrations.gate.parts import MemoryLedger
from tests.integrations.sandbox.calling import Caller

KEY = AliyunCredentials("sandbox", "sandbox-secret")
HOST = "dypnsapi.aliyuncs.com"
OURS = VerificationCode("864209")
"""A code that a job holds, made by us, which this road leaves alone."""

NewAttempt = Callable[..., Attempt]


@pytest.fixture
def gate(policy: Policy, ledger: MemoryLedger, server: SandboxServer) -> Iterator[Gate]:
    gate = Gate(policy, ledger, dial={HOST: server.url}, timeouts=Timeouts(answer=0.5))
    yield gate
    gate.close()


@pytest.fixture
def road(gate: Gate) -> AliyunSmsAuth:
    return AliyunSmsAuth(gate, KEY, sign_name="速通互联验证码", templates=GIFTED_TEMPLATES)


@pytest.fixture
def an_attempt(policy: Policy) -> NewAttempt:
    def make(**held: object) -> Attempt:
        return attempt_of(
            policy,
            "sms_code",
            {"phone": Phone("16400001234"), "code": OURS, "scene": "login", **held},
        )

    return make


def the_code(caller: Caller, attempt: Attempt) -> VerificationCode:
    """What the person reads on the phone."""
    reply = caller.http.get("/_sandbox/codes", params={"reference": attempt.reference})
    (code,) = reply.json()["codes"]
    return VerificationCode(code)


def test_the_provider_makes_the_code_and_ours_stays_here(
    road: AliyunSmsAuth, an_attempt: NewAttempt, ledger: MemoryLedger, server: SandboxServer
) -> None:
    receipt = road.send_code(an_attempt())
    assert (receipt.recipient, receipt.provider_code) == ("aliyun_number_auth", "OK")
    assert receipt.fields.keys() == {"biz_id"}
    (row,) = ledger.rows
    assert row.categories == ("user.contact.phone_number",)
    assert row.stripped == ("code", "scene")
    (entry,) = server.sandbox.journal.entries()
    assert "VerifyCode" not in entry["fields"]


@pytest.mark.parametrize("ours", ["1357", "13579", "135791"])
def test_the_providers_code_has_as_many_digits_as_was_asked_for(
    road: AliyunSmsAuth, an_attempt: NewAttempt, caller: Caller, ours: str
) -> None:
    sent = an_attempt(code=VerificationCode(ours))
    road.send_code(sent)
    assert the_code(caller, sent).length == len(ours)


def test_without_a_code_the_provider_makes_six_digits(
    road: AliyunSmsAuth, policy: Policy, caller: Caller
) -> None:
    sent = attempt_of(policy, "sms_code", {"phone": Phone("16400001234"), "scene": "login"})
    road.send_code(sent)
    assert the_code(caller, sent).length == 6


def test_what_the_person_reads_passes_once_and_for_its_scene_only(
    road: AliyunSmsAuth, an_attempt: NewAttempt, caller: Caller
) -> None:
    sent = an_attempt()
    road.send_code(sent)
    code = the_code(caller, sent)
    assert not road.check_code(an_attempt(code=code, scene="change_phone"))
    assert road.check_code(an_attempt(code=code))
    assert not road.check_code(an_attempt(code=code))


def test_a_wrong_code_is_a_verdict_and_no_fault(
    road: AliyunSmsAuth, an_attempt: NewAttempt
) -> None:
    road.send_code(an_attempt())
    assert not road.check_code(an_attempt(code=VerificationCode("00000")))


def test_success_without_a_pass_is_no_pass(
    road: AliyunSmsAuth, an_attempt: NewAttempt, caller: Caller
) -> None:
    assert not road.check_code(an_attempt()), "OK and UNKNOWN: nothing was sent to this number"
    caller.fault(kind="code", code="isv.ValidateFail", status=400, times=1)
    assert not road.check_code(an_attempt())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "drop", "processed": False}, UnknownOutcomeError),
        ({"kind": "reset"}, UnknownOutcomeError),
        ({"kind": "garbage"}, UnknownOutcomeError),
        ({"kind": "code", "code": "isv.NEVER_SEEN"}, UnknownOutcomeError),
        ({"kind": "code", "code": "biz.FREQUENCY"}, WaitError),
        ({"kind": "code", "code": "isv.OUT_OF_SERVICE"}, GiveUpError),
    ],
    ids=str,
)
@pytest.mark.parametrize("call", ["send_code", "check_code"])
def test_an_unclear_answer_is_unknown_and_a_clear_one_says_what_to_do(
    road: AliyunSmsAuth,
    an_attempt: NewAttempt,
    caller: Caller,
    fault: dict[str, object],
    error: type[ZjjError],
    call: str,
) -> None:
    caller.fault(**fault, times=1)
    with pytest.raises(error):
        getattr(road, call)(an_attempt())


@pytest.mark.parametrize("code", sorted(SMS_AUTH_REMEDIES))
@pytest.mark.parametrize("call", ["send_code", "check_code"])
def test_every_code_of_the_provider_is_sorted_as_it_comes(
    road: AliyunSmsAuth, an_attempt: NewAttempt, caller: Caller, call: str, code: str
) -> None:
    received = code.replace(".*", ".Member").replace("*", "Member")
    caller.fault(kind="code", code=received, times=1)
    with pytest.raises(SMS_AUTH_REMEDIES[code].error) as caught:
        getattr(road, call)(an_attempt())
    assert caught.value.provider_code == received


def test_nothing_listening_is_provably_unsent(
    policy: Policy, ledger: MemoryLedger, an_attempt: NewAttempt
) -> None:
    timeouts = Timeouts(connect=0.2, reconnect=0.1)
    gate = Gate(policy, ledger, dial={HOST: "http://127.0.0.1:9"}, timeouts=timeouts)
    road = AliyunSmsAuth(gate, KEY, sign_name="速通互联验证码", templates=GIFTED_TEMPLATES)
    with pytest.raises(RetryError) as caught:
        road.send_code(an_attempt())
    assert caught.value.code == "provider.unreachable"
    gate.close()


def test_a_scene_without_template_sends_nothing(
    road: AliyunSmsAuth, an_attempt: NewAttempt, server: SandboxServer
) -> None:
    with pytest.raises(ConfigurationError, match="no template"):
        road.send_code(an_attempt(scene="another"))
    assert server.sandbox.journal.entries() == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"sign_name": "x"}, "SignName"),
        ({"templates": {"login": "T"}}, "TemplateCode"),
        ({"templates": {"LOGIN": "100001"}}, "SchemeName"),
    ],
)
def test_what_the_policy_would_refuse_is_refused_at_start(
    gate: Gate, given: dict[str, object], field: str
) -> None:
    settings: dict[str, object] = {"sign_name": "速通互联验证码", "templates": GIFTED_TEMPLATES}
    with pytest.raises(ConfigurationError, match=field):
        AliyunSmsAuth(gate, KEY, **(settings | given))  # type: ignore[arg-type]


ROWS = [
    ("biz.FREQUENCY", WaitError, "provider.number_throttled", False),
    ("isp.SYSTEM_ERROR", UnknownOutcomeError, "provider.outcome_unknown", False),
    ("isv.BUSINESS_LIMIT_CONTROL", WaitError, "provider.number_throttled", False),
    ("isv.MOBILE_NUMBER_ILLEGAL", GiveUpError, "provider.number_refused", False),
    ("isv.INVALID_PARAMETERS", GiveUpError, "provider.content_refused", False),
    ("isv.SMS_TEMPLATE_ILLEGAL", GiveUpError, "provider.template_refused", False),
    ("isv.SMS_SIGNATURE_ILLEGAL", GiveUpError, "provider.sign_refused", True),
    ("isv.VERIFY_SCHEME_NOT_EXIST", GiveUpError, "provider.scheme_refused", True),
    ("isv.VERIFY_SCHEME_CONFLICT", GiveUpError, "provider.scheme_refused", True),
    ("isv.PACK_SIGN_CONFLICT", GiveUpError, "provider.scheme_refused", True),
    ("isv.BUNDLE_ID_CONFLICT", GiveUpError, "provider.scheme_refused", True),
    ("isv.SCENE_QUERY_FAIL", GiveUpError, "provider.scheme_refused", True),
    ("isv.INVALID_APP*", GiveUpError, "provider.scheme_refused", True),
    ("isv.OUT_OF_SERVICE", GiveUpError, "provider.account_refused", True),
    ("isv.PRODUCT_UN*", GiveUpError, "provider.account_refused", True),
    ("isv.RAM_PERMISSION_DENY", GiveUpError, "provider.account_refused", True),
    ("FUNCTION_NOT_OPENED", GiveUpError, "provider.account_refused", True),
]


@pytest.mark.parametrize(("code", "error", "ours", "stops"), ROWS, ids=[row[0] for row in ROWS])
def test_each_code_says_what_to_do(
    code: str, error: type[ZjjError], ours: str, stops: bool
) -> None:
    found = fault(200, code.replace("*", "MEMBER"), remedies=SMS_AUTH_REMEDIES)
    assert isinstance(found, error)
    assert (found.code, found.stops_recipient) == (ours, stops)


def test_no_row_of_its_own_is_without_a_test_and_the_gateways_are_the_same() -> None:
    own = {row[0] for row in ROWS}
    assert own <= SMS_AUTH_REMEDIES.keys()
    for code in SMS_AUTH_REMEDIES.keys() - own:
        assert SMS_AUTH_REMEDIES[code] is REMEDIES[code]


@given(st.text(alphabet="abcIVSisv._", min_size=1, max_size=30))
def test_a_code_that_nobody_knows_is_an_unknown_outcome(code: str) -> None:
    assert isinstance(fault(200, code, remedies=SMS_AUTH_REMEDIES), UnknownOutcomeError)
