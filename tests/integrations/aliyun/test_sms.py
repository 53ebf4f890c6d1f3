from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from integrations.aliyun import AliyunCredentials, AliyunSms, Delivery, DeliveryState
from integrations.aliyun.codes import REMEDIES
from integrations.gate import Gate, Timeouts
from integrations.policy import Policy
from integrations.sandbox import SCENE_TEMPLATES
from integrations.sandbox.server import SandboxServer
from models.attempts import Attempt
from models.clock import BEIJING
from models.disclosures import SendResult
from models.errors import (
    ConfigurationError,
    DeniedError,
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
HOST = "dysmsapi.aliyuncs.com"


@pytest.fixture
def gate(policy: Policy, ledger: MemoryLedger, server: SandboxServer) -> Iterator[Gate]:
    gate = Gate(policy, ledger, dial={HOST: server.url}, timeouts=Timeouts(answer=0.5))
    yield gate
    gate.close()


@pytest.fixture
def sms(gate: Gate) -> AliyunSms:
    return AliyunSms(gate, KEY, sign_name="钟久久", templates=SCENE_TEMPLATES)


@pytest.fixture
def an_attempt(policy: Policy) -> Callable[..., Attempt]:
    def make(phone: str = "16400001234", **held: Any) -> Attempt:
        return attempt_of(
            policy,
            "sms_code",
            {
                "phone": Phone(phone),
                "code": VerificationCode("246810"),
                "scene": "register",
                "user": "u-77",
                **held,
            },
        )

    return make


NewAttempt = Callable[..., Attempt]


def today() -> dt.date:
    return dt.datetime.now(BEIJING).date()


def test_a_code_is_sent_and_leaves_a_receipt(
    sms: AliyunSms, an_attempt: NewAttempt, caller: Caller, ledger: MemoryLedger
) -> None:
    attempt = an_attempt()
    receipt = sms.send_code(attempt)
    assert [row.stripped for row in ledger.rows] == [("scene", "user")]
    assert (receipt.recipient, receipt.operation) == ("aliyun_sms", "aliyun.sms.send")
    assert receipt.provider_code == "OK"
    assert receipt.fields.keys() == {"biz_id"}
    assert receipt.provider_request_id
    assert caller.seen(attempt.job_id) == (1, 1)


def test_nothing_leaves_but_the_five_fields(
    sms: AliyunSms, an_attempt: NewAttempt, server: SandboxServer
) -> None:
    sms.send_code(an_attempt())
    (entry,) = server.sandbox.journal.entries()
    assert entry["fields"] == ["OutId", "PhoneNumbers", "SignName", "TemplateCode", "TemplateParam"]
    assert "user-agent" not in entry["headers"]


def test_every_scene_has_its_template(
    sms: AliyunSms, an_attempt: NewAttempt, server: SandboxServer
) -> None:
    for number, scene in enumerate(SCENE_TEMPLATES):
        sms.send_code(an_attempt(f"1640000{number:04}", scene=scene))
    used = [
        message.template
        for messages in server.sandbox.aliyun_sms._messages.values()
        for message in messages
    ]
    assert used == list(SCENE_TEMPLATES.values())


def test_a_scene_without_template_sends_nothing(
    sms: AliyunSms, an_attempt: NewAttempt, server: SandboxServer
) -> None:
    with pytest.raises(ConfigurationError, match="no template is configured"):
        sms.send_code(an_attempt(scene="another"))
    assert server.sandbox.journal.entries() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sign_name": "有空格 的"}, "SignName"),
        ({"templates": {"register": "SMS_1", "login": "register"}}, "TemplateCode"),
    ],
)
def test_what_the_policy_would_refuse_at_each_text_is_refused_at_start(
    gate: Gate, changes: dict[str, Any], field: str
) -> None:
    given = {"sign_name": "钟久久", "templates": SCENE_TEMPLATES, **changes}
    with pytest.raises(ConfigurationError, match=field):
        AliyunSms(gate, KEY, **given)


def test_a_second_code_within_the_minute_waits_for_the_minute(
    sms: AliyunSms, an_attempt: NewAttempt
) -> None:
    sms.send_code(an_attempt())
    second = an_attempt()
    with pytest.raises(WaitError) as caught:
        sms.send_code(second)
    assert (caught.value.code, caught.value.retry_after) == ("provider.number_throttled.minute", 60)
    assert caught.value.provider_code == "isv.BUSINESS_LIMIT_CONTROL"
    (result,) = second.results
    assert (result.result, result.http_status) == (SendResult.ANSWERED, 200)
    assert result.provider_code == "isv.BUSINESS_LIMIT_CONTROL"


@pytest.mark.parametrize(
    ("fault", "error", "stops"),
    [
        ({"code": "isv.AMOUNT_NOT_ENOUGH"}, GiveUpError, True),
        ({"code": "isv.SMS_TEMPLATE_ILLEGAL"}, GiveUpError, False),
        ({"code": "isv.CUSTOMER_REFUSED"}, GiveUpError, False),
        ({"code": "Throttling.User", "retry_after": 3000}, WaitError, False),
        ({"code": "InvalidTimeStamp.Expired"}, RetryError, True),
        ({"code": "isp.SYSTEM_ERROR"}, UnknownOutcomeError, False),
        ({"code": "isp.GATEWAY_ERROR"}, UnknownOutcomeError, False),
        ({"code": "isv.NEVER_HEARD_OF"}, UnknownOutcomeError, False),
        ({"code": "OK", "status": 500}, UnknownOutcomeError, False),
        ({"code": "ServiceUnavailable", "status": 503}, UnknownOutcomeError, False),
    ],
    ids=lambda value: value.get("code") if isinstance(value, dict) else None,
)
def test_the_providers_codes_arrive_as_errors(
    sms: AliyunSms,
    an_attempt: NewAttempt,
    caller: Caller,
    fault: dict[str, Any],
    error: type[ZjjError],
    stops: bool,
) -> None:
    caller.fault(kind="code", times=1, **fault)
    with pytest.raises(error) as caught:
        sms.send_code(an_attempt())
    assert caught.value.provider_code == fault["code"]
    assert caught.value.stops_recipient is stops
    if "retry_after" in fault:
        assert caught.value.retry_after == 3


@pytest.mark.parametrize("code", sorted(REMEDIES))
def test_every_code_of_the_provider_is_sorted_as_it_comes(
    sms: AliyunSms, an_attempt: NewAttempt, caller: Caller, code: str
) -> None:
    received = code.replace(".*", ".Member").replace("*", "Member")
    caller.fault(kind="code", code=received, times=1)
    attempt = an_attempt()
    with pytest.raises(REMEDIES[code].error) as caught:
        sms.send_code(attempt)
    assert caught.value.provider_code == received
    assert caller.seen(attempt.job_id) == (1, 0)


def test_a_wrong_secret_stops_the_recipient(gate: Gate, an_attempt: NewAttempt) -> None:
    key = AliyunCredentials("sandbox", "wrong")
    sms = AliyunSms(gate, key, sign_name="钟久久", templates=SCENE_TEMPLATES)
    with pytest.raises(GiveUpError) as caught:
        sms.send_code(an_attempt())
    assert caught.value.provider_code == "SignatureDoesNotMatch"
    assert caught.value.stops_recipient


def test_a_temporary_key_passes_the_gate_and_the_door(gate: Gate, an_attempt: NewAttempt) -> None:
    key = AliyunCredentials("STS.sandbox", "sts-secret", "sts-token")
    sms = AliyunSms(gate, key, sign_name="钟久久", templates=SCENE_TEMPLATES)
    assert sms.send_code(an_attempt()).provider_code == "OK"


@pytest.mark.parametrize("kind", ["hang", "slow", "reset", "drop", "status", "garbage"])
def test_what_is_lost_after_sending_is_unknown_and_never_repeated(
    sms: AliyunSms, an_attempt: NewAttempt, caller: Caller, kind: str
) -> None:
    caller.fault(kind=kind, seconds=3, times=1)
    attempt = an_attempt()
    with pytest.raises(UnknownOutcomeError):
        sms.send_code(attempt)
    assert caller.seen(attempt.job_id) == (1, 1)
    assert len(attempt.results) == 1


def test_a_provider_that_cannot_be_reached_is_worth_a_retry(
    policy: Policy, ledger: MemoryLedger, an_attempt: NewAttempt
) -> None:
    gate = Gate(policy, ledger, dial={HOST: "http://127.0.0.1:1"}, timeouts=Timeouts(reconnect=0.1))
    sms = AliyunSms(gate, KEY, sign_name="钟久久", templates=SCENE_TEMPLATES)
    attempt = an_attempt()
    with pytest.raises(RetryError) as caught:
        sms.send_code(attempt)
    assert caught.value.code == "provider.unreachable"
    assert [result.result for result in attempt.results] == [SendResult.UNSENT]


def test_a_number_that_the_provider_quotes_goes_nowhere(
    sms: AliyunSms, an_attempt: NewAttempt, caller: Caller
) -> None:
    quoting = "16400001234invalid mobile number"
    caller.fault(kind="code", code="isv.MOBILE_NUMBER_ILLEGAL", message=quoting, times=1)
    attempt = an_attempt()
    with pytest.raises(GiveUpError) as caught:
        sms.send_code(attempt)
    error = caught.value
    seen = [repr(error), str(error), repr(vars(error)), repr(attempt), repr(attempt.results)]
    seen += [repr(error.__cause__), repr(error.__context__)]
    assert not [text for text in seen if "16400001234" in text or "246810" in text]


def test_a_job_for_another_policy_is_denied(
    sms: AliyunSms, an_attempt: NewAttempt, server: SandboxServer
) -> None:
    attempt = an_attempt()
    attempt.policy_version = "1999-01-01.1"
    with pytest.raises(DeniedError):
        sms.send_code(attempt)
    assert server.sandbox.journal.entries() == []


@pytest.mark.parametrize(
    ("fault", "delivery"),
    [
        ({"kind": "hang", "seconds": 3}, Delivery(DeliveryState.DELIVERED, "DELIVERED")),
        ({"kind": "reset", "processed": False}, Delivery(DeliveryState.NOT_FOUND)),
    ],
    ids=["it was sent", "it was not sent"],
)
def test_an_unknown_outcome_is_cleared_up_by_asking(
    sms: AliyunSms,
    an_attempt: NewAttempt,
    caller: Caller,
    fault: dict[str, Any],
    delivery: Delivery,
) -> None:
    caller.fault(times=1, **fault)
    attempt = an_attempt()
    with pytest.raises(UnknownOutcomeError):
        sms.send_code(attempt)
    assert replace(sms.query_send(attempt, today()), seconds=None) == delivery


def test_a_text_that_did_not_arrive_says_why(
    sms: AliyunSms, an_attempt: NewAttempt, caller: Caller
) -> None:
    caller.fault(kind="undelivered", code="MOBILE_NOT_ON_SERVICE", times=1)
    attempt = an_attempt()
    sms.send_code(attempt)
    found = sms.query_send(attempt, today())
    assert (found.state, found.provider_code) == (DeliveryState.FAILED, "MOBILE_NOT_ON_SERVICE")


def test_a_text_on_its_way_is_waited_for(
    sms: AliyunSms, an_attempt: NewAttempt, caller: Caller
) -> None:
    caller.http.patch("/_sandbox/settings", json={"delivery_seconds": 60})
    attempt = an_attempt()
    sms.send_code(attempt)
    assert sms.query_send(attempt, today()) == Delivery(DeliveryState.WAITING)


def test_texts_of_other_jobs_to_the_same_number_do_not_count(
    sms: AliyunSms, an_attempt: NewAttempt
) -> None:
    sms.send_code(an_attempt())
    assert sms.query_send(an_attempt(), today()).state is DeliveryState.NOT_FOUND


def test_a_text_of_another_day_is_not_found(sms: AliyunSms, an_attempt: NewAttempt) -> None:
    attempt = an_attempt()
    sms.send_code(attempt)
    yesterday = today() - dt.timedelta(days=1)
    assert sms.query_send(attempt, yesterday).state is DeliveryState.NOT_FOUND


def test_a_delivered_repetition_outweighs_a_failed_first(
    sms: AliyunSms, an_attempt: NewAttempt, caller: Caller
) -> None:
    caller.http.patch("/_sandbox/settings", json={"limits": False})
    attempt = an_attempt()
    sms.send_code(attempt)
    caller.fault(kind="undelivered", code="SP_UNKNOWN_ERROR", times=1)
    sms.send_code(attempt)
    assert sms.query_send(attempt, today()).state is DeliveryState.DELIVERED


def test_a_text_is_found_on_a_later_page(
    sms: AliyunSms, an_attempt: NewAttempt, caller: Caller
) -> None:
    caller.http.patch("/_sandbox/settings", json={"limits": False})
    attempt = an_attempt()
    sms.send_code(attempt)
    for _ in range(60):
        caller.send()
    assert sms.query_send(attempt, today()).state is DeliveryState.DELIVERED
    assert len(attempt.results) == 3


@pytest.mark.parametrize("kind", ["hang", "reset", "garbage", "status"])
def test_a_question_without_answer_may_be_asked_again(
    sms: AliyunSms, an_attempt: NewAttempt, caller: Caller, kind: str
) -> None:
    caller.fault(kind=kind, seconds=3, times=1)
    attempt = an_attempt()
    with pytest.raises(RetryError) as caught:
        sms.query_send(attempt, today())
    assert caught.value.code == "provider.no_answer"
    assert sms.query_send(attempt, today()).state is DeliveryState.NOT_FOUND


def test_a_throttled_question_waits(sms: AliyunSms, an_attempt: NewAttempt, caller: Caller) -> None:
    caller.fault(kind="code", code="Throttling.Api", times=1)
    with pytest.raises(WaitError):
        sms.query_send(an_attempt(), today())
