from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from integrations.aliyun.signing import AliyunCredentials, authorization, canonical_request
from tests.integrations.sandbox.calling import (
    HOST,
    KEY,
    NOTICE_TEMPLATE,
    Caller,
    a_batch,
    a_text,
)
from tests.integrations.sandbox.serving import Clock

BEIJING = dt.timezone(dt.timedelta(hours=8))


def today(clock: Clock) -> dt.date:
    return dt.datetime.fromtimestamp(clock(), BEIJING).date()


@pytest.mark.parametrize("in_query", [True, False], ids=["in the query", "in the form"])
def test_a_signed_text_is_accepted_wherever_its_fields_stand(
    caller: Caller, in_query: bool
) -> None:
    reply = caller.call("SendSms", a_text(), in_query=in_query)
    assert reply.status_code == 200
    body = reply.json()
    assert (body["Code"], body["Message"]) == ("OK", "OK")
    assert body["BizId"].endswith("^0")
    assert body["RequestId"] == body["RequestId"].upper()


def test_a_client_that_names_the_loopback_address_is_routed_by_its_action(caller: Caller) -> None:
    host = caller.http.base_url.netloc.decode()
    assert caller.call("SendSms", a_text(), host=host).json()["Code"] == "OK"


@pytest.mark.parametrize("host", ["restapi.amap.com", "example.com"])
def test_a_host_that_it_does_not_play_gets_no_answer(caller: Caller, host: str) -> None:
    assert caller.call("SendSms", a_text(), host=host).status_code == 421


def test_a_temporary_key_needs_its_token(caller: Caller) -> None:
    def code(token: str | None) -> str:
        key = AliyunCredentials("STS.sandbox", "sts-secret", security_token=token)
        return str(caller.call("SendSms", a_text(), key=key).json()["Code"])

    assert code("another") == "InvalidSecurityToken.MismatchWithAccessKey"
    assert code(None) == "MissingSecurityToken"
    assert code("sts-token") == "OK"


def drop(*names: str) -> Callable[[dict[str, str]], None]:
    def spoil(headers: dict[str, str]) -> None:
        for name in names:
            del headers[name]

    return spoil


@pytest.mark.parametrize(
    ("mistake", "status", "code"),
    [
        ({"key": AliyunCredentials("nobody", "x")}, 404, "InvalidAccessKeyId.NotFound"),
        ({"key": AliyunCredentials("sandbox", "wrong")}, 400, "SignatureDoesNotMatch"),
        ({"late_body": b"SignName=another"}, 400, "SignatureDoesNotMatch"),
        ({"spoil": lambda h: h.update({"x-acs-extra": "1"})}, 400, "SignatureDoesNotMatch"),
        (
            {"spoil": lambda h: h.update({"content-type": "text/plain"})},
            400,
            "SignatureDoesNotMatch",
        ),
        ({"spoil": drop("x-acs-content-sha256")}, 400, "SignatureDoesNotMatch"),
        ({"spoil": drop("authorization")}, 400, "IncompleteSignature"),
        ({"spoil": drop("x-acs-date")}, 400, "InvalidTimeStamp.Format"),
        ({"nonce": ""}, 400, "MissingSignatureNonce"),
        ({"version": "2016-01-01"}, 400, "InvalidVersion"),
        ({"action": "SendSmss"}, 404, "InvalidAction.NotFound"),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, dict) else None,
)
def test_the_door_refuses_what_the_real_one_refuses(
    caller: Caller, mistake: dict[str, Any], status: int, code: str
) -> None:
    reply = caller.call(**{"action": "SendSms", "fields": a_text(), **mistake})
    assert (reply.json()["Code"], reply.status_code) == (code, status)
    assert {"RequestId", "HostId", "Message", "Recommend"} < reply.json().keys()


@pytest.mark.parametrize("claimed", [None, "0" * 64], ids=["no digest", "a wrong digest"])
def test_a_well_signed_request_must_name_its_bodys_digest(
    caller: Caller, claimed: str | None
) -> None:
    body = urlencode(a_text()).encode()
    headers = {
        "host": HOST,
        "x-acs-action": "SendSms",
        "x-acs-version": "2017-05-25",
        "x-acs-date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": "n",
        "content-type": "application/x-www-form-urlencoded",
    }
    if claimed is not None:
        headers["x-acs-content-sha256"] = claimed
    digest = hashlib.sha256(body).hexdigest()
    canonical = canonical_request("POST", "/", [], headers.items(), digest)
    headers["authorization"] = authorization(KEY, canonical)
    reply = caller.http.post("/", headers=headers, content=body)
    assert reply.json()["Code"] == "SignatureDoesNotMatch"


@pytest.mark.parametrize(("minutes", "code"), [(14, "OK"), (16, "InvalidTimeStamp.Expired")])
@pytest.mark.parametrize("sign", [1, -1], ids=["fast", "slow"])
def test_a_clock_may_be_fifteen_minutes_off(
    caller: Caller, minutes: int, sign: int, code: str
) -> None:
    then = dt.datetime.now(dt.UTC) + sign * dt.timedelta(minutes=minutes)
    assert caller.call("SendSms", a_text(), at=then).json()["Code"] == code


def test_a_nonce_serves_once(caller: Caller) -> None:
    first = caller.call("SendSms", a_text(), nonce="n")
    second = caller.call("SendSms", a_text(PhoneNumbers="16400001235"), nonce="n")
    assert (first.json()["Code"], second.json()["Code"]) == ("OK", "SignatureNonceUsed")
    assert second.status_code == 400


def test_a_request_that_failed_at_the_door_uses_no_nonce_up(caller: Caller) -> None:
    wrong = AliyunCredentials("sandbox", "wrong")
    assert caller.call("SendSms", a_text(), nonce="n", key=wrong).status_code == 400
    assert caller.call("SendSms", a_text(), nonce="n").json()["Code"] == "OK"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PhoneNumbers": None}, "MissingPhoneNumbers"),
        ({"SignName": None}, "MissingSignName"),
        ({"TemplateCode": ""}, "MissingTemplateCode"),
        ({"PhoneNumbers": "12345"}, "isv.MOBILE_NUMBER_ILLEGAL"),
        ({"PhoneNumbers": "+85260001234"}, "isv.MOBILE_NUMBER_ILLEGAL"),
        ({"PhoneNumbers": "１６４00001234"}, "isv.MOBILE_NUMBER_ILLEGAL"),
        ({"PhoneNumbers": ",".join(["16400001234"] * 1001)}, "isv.MOBILE_COUNT_OVER_LIMIT"),
        ({"SignName": "别家"}, "isv.SMS_SIGNATURE_ILLEGAL"),
        ({"TemplateCode": "SMS_1"}, "isv.SMS_TEMPLATE_ILLEGAL"),
        ({"TemplateParam": None}, "isv.TEMPLATE_MISSING_PARAMETERS"),
        ({"TemplateParam": "{}"}, "isv.TEMPLATE_MISSING_PARAMETERS"),
        ({"TemplateParam": "code=246810"}, "isv.INVALID_JSON_PARAM"),
        ({"TemplateParam": '["246810"]'}, "isv.INVALID_JSON_PARAM"),
        ({"TemplateParam": '{"code":246810}'}, "isv.INVALID_JSON_PARAM"),
        ({"TemplateParam": '{"code":"246810","name":"x"}'}, "isv.TEMPLATE_PARAMS_ILLEGAL"),
        ({"TemplateParam": '{"code":"246"}'}, "isv.PARAM_LENGTH_LIMIT"),
        ({"TemplateParam": '{"code":"2468101"}'}, "isv.PARAM_LENGTH_LIMIT"),
        ({"TemplateParam": '{"code":"24-10"}'}, "isv.INVALID_PARAMETERS"),
        ({"TemplateParam": '{"code":"http://a.cn"}'}, "isv.PARAM_NOT_SUPPORT_URL"),
        ({"OutId": "x" * 256}, "isv.INVALID_PARAMETERS"),
    ],
)
def test_the_product_refuses_what_the_real_one_refuses(
    caller: Caller, changes: dict[str, str | None], code: str
) -> None:
    reply = caller.call("SendSms", a_text(**changes))
    assert reply.json()["Code"] == code
    assert reply.status_code == (400 if code.startswith("Missing") else 200)
    assert "BizId" not in reply.json()


@pytest.mark.parametrize(
    "number", ["16400001234", "+8616400001234", "008616400001234", "8616400001234"]
)
def test_every_way_to_write_a_mainland_number_is_understood(caller: Caller, number: str) -> None:
    assert caller.send(PhoneNumbers=number)["Code"] == "OK"


def test_like_the_real_one_it_quotes_a_bad_number_back(caller: Caller) -> None:
    assert (
        caller.send(PhoneNumbers="164000012345")["Message"] == "164000012345invalid mobile number"
    )


def test_like_the_real_one_it_quotes_a_badly_signed_request_back(caller: Caller) -> None:
    wrong = AliyunCredentials("sandbox", "wrong")
    reply = caller.call("SendSms", a_text(), key=wrong, in_query=True)
    assert "16400001234" in reply.json()["Message"]


def test_one_number_gets_one_code_a_minute_five_an_hour_and_ten_a_day(
    caller: Caller, clock: Clock
) -> None:
    accepted: list[int] = []
    refused: list[str] = []
    for minute in range(24 * 60 + 2):
        clock.moved = minute * 60.5
        if minute % 10 and accepted[-1:] != [minute - 1]:
            continue
        reply = caller.call(
            "SendSms", a_text(), at=dt.datetime.fromtimestamp(clock(), dt.UTC)
        ).json()
        if reply["Code"] == "OK":
            accepted.append(minute)
        else:
            refused.append(reply["Message"])
    assert len([minute for minute in accepted if minute < 59]) == 5
    assert len([minute for minute in accepted if minute < 24 * 60 - 20]) == 10
    assert set(refused) == {"触发小时级流控Permits:5", "触发天级流控Permits:10"}


def test_a_second_code_within_the_minute_is_refused(caller: Caller, clock: Clock) -> None:
    assert caller.send()["Code"] == "OK"
    refused = caller.send()
    assert refused["Code"] == "isv.BUSINESS_LIMIT_CONTROL"
    assert refused["Message"] == "触发分钟级流控Permits:1"
    assert caller.send(PhoneNumbers="16400001235")["Code"] == "OK"
    clock.moved = 61
    assert caller.send()["Code"] == "OK"


def test_one_number_gets_forty_codes_a_day_over_all_signatures(
    caller: Caller, clock: Clock
) -> None:
    def send(sign: str) -> dict[str, Any]:
        now = dt.datetime.fromtimestamp(clock(), dt.UTC)
        reply: dict[str, Any] = caller.call("SendSms", a_text(SignName=sign), at=now).json()
        return reply

    for hour in range(10):
        clock.moved = hour * 3601
        for sign in ("钟久久", "另一个", "第三个", "第四个"):
            assert send(sign)["Code"] == "OK"
    assert send("第五个")["Message"] == "触发天级流控Permits:40"


def test_refused_texts_do_not_count_towards_the_limits(caller: Caller) -> None:
    for _ in range(3):
        assert caller.send(TemplateCode="SMS_1")["Code"] == "isv.SMS_TEMPLATE_ILLEGAL"
    assert caller.send()["Code"] == "OK"


def test_limits_can_be_lifted(caller: Caller) -> None:
    assert caller.http.patch("/_sandbox/settings", json={"limits": False}).status_code == 204
    assert {caller.send()["Code"] for _ in range(15)} == {"OK"}


def test_a_batch_is_accepted_as_a_whole(caller: Caller, clock: Clock) -> None:
    numbers = ["16400001234", "16400001235"]
    reply = caller.call("SendBatchSms", a_batch(numbers)).json()
    assert reply["Code"] == "OK"
    details = caller.details(today(clock), BizId=reply["BizId"])
    (found,) = details["SmsSendDetailDTOs"]["SmsSendDetailDTO"]
    assert found["Content"] == "【钟久久】服务通知:事件编号2026-1。"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (a_batch(["16400001234", "12"]), "isv.MOBILE_NUMBER_ILLEGAL"),
        (a_batch(["16400001234"] * 101), "isv.MOBILE_COUNT_OVER_LIMIT"),
        (a_batch(["16400001234"], SignNameJson='["钟久久","钟久久"]'), "isv.INVALID_PARAMETERS"),
        (a_batch(["16400001234"], TemplateParamJson=None), "isv.TEMPLATE_MISSING_PARAMETERS"),
        (a_batch(["16400001234"], PhoneNumberJson="16400001234"), "isv.INVALID_JSON_PARAM"),
        (a_batch(["16400001234"], PhoneNumberJson="["), "isv.INVALID_JSON_PARAM"),
        (a_batch(["16400001234"], PhoneNumberJson=None), "MissingPhoneNumberJson"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_batch_with_one_mistake_is_refused_as_a_whole(
    caller: Caller, clock: Clock, fields: dict[str, str], code: str
) -> None:
    assert caller.call("SendBatchSms", fields).json()["Code"] == code
    assert caller.details(today(clock))["TotalCount"] == "0"


def test_details_tell_what_became_of_a_text(caller: Caller, clock: Clock) -> None:
    caller.http.patch("/_sandbox/settings", json={"delivery_seconds": 5})
    sent = caller.send(OutId="a" * 32)
    (waiting,) = caller.details(today(clock))["SmsSendDetailDTOs"]["SmsSendDetailDTO"]
    assert waiting["SendStatus"] == 1
    assert "ReceiveDate" not in waiting
    day = today(clock)
    clock.moved = 9
    reply = caller.details(day, BizId=sent["BizId"])
    (arrived,) = reply["SmsSendDetailDTOs"]["SmsSendDetailDTO"]
    assert arrived["SendStatus"] == 3
    assert (arrived["ErrCode"], arrived["OutId"]) == ("DELIVERED", "a" * 32)
    assert (reply["TotalCount"], arrived["PhoneNum"]) == ("1", "16400001234")
    assert json.dumps("246810").strip('"') in arrived["Content"]


def test_texts_travel_for_about_as_long_as_they_should(caller: Caller, clock: Clock) -> None:
    caller.http.patch("/_sandbox/settings", json={"delivery_seconds": 100, "limits": False})
    day = today(clock)
    for _ in range(30):
        assert caller.send()["Code"] == "OK"

    def arrived() -> int:
        rows = caller.details(day, PageSize="50")["SmsSendDetailDTOs"]["SmsSendDetailDTO"]
        return sum(row["SendStatus"] == 3 for row in rows)

    assert arrived() == 0
    clock.moved = 110
    assert 0 < arrived() < 30
    clock.moved = 170
    assert arrived() == 30


def test_details_come_in_pages_newest_first(caller: Caller, clock: Clock) -> None:
    caller.http.patch("/_sandbox/settings", json={"limits": False})
    for number in range(7):
        caller.send(OutId=str(number))
    pages = [
        caller.details(today(clock), PageSize="3", CurrentPage=str(page)) for page in range(1, 5)
    ]
    assert {page["TotalCount"] for page in pages} == {"7"}
    shown = [[row["OutId"] for row in p["SmsSendDetailDTOs"]["SmsSendDetailDTO"]] for p in pages]
    assert shown == [["6", "5", "4"], ["3", "2", "1"], ["0"], []]


def test_details_of_another_day_or_number_are_others(caller: Caller, clock: Clock) -> None:
    caller.send()
    yesterday = today(clock) - dt.timedelta(days=1)
    assert caller.details(yesterday)["TotalCount"] == "0"
    assert caller.details(today(clock), PhoneNumber="16400009999")["TotalCount"] == "0"
    assert caller.details(today(clock), BizId="1^0")["TotalCount"] == "0"


@pytest.mark.parametrize(
    "changes",
    [
        {"SendDate": "2026-01-02"},
        {"SendDate": "20200101"},
        {"PageSize": "51"},
        {"PageSize": "0"},
        {"CurrentPage": "0"},
        {"CurrentPage": "x"},
    ],
    ids=str,
)
def test_a_question_out_of_range_is_refused(
    caller: Caller, clock: Clock, changes: dict[str, str]
) -> None:
    assert caller.details(today(clock), **changes)["Code"] == "isv.INVALID_PARAMETERS"


def test_one_number_gets_fifty_notices_a_day_of_one_template(caller: Caller, clock: Clock) -> None:
    def notify(**changes: str) -> dict[str, Any]:
        fields = a_text(
            TemplateCode=NOTICE_TEMPLATE, TemplateParam='{"incident":"2026-1"}', **changes
        )
        now = dt.datetime.fromtimestamp(clock(), dt.UTC)
        reply: dict[str, Any] = caller.call("SendSms", fields, at=now).json()
        return reply

    assert {notify()["Code"] for _ in range(50)} == {"OK"}
    assert notify()["Message"] == "触发天级流控Permits:50"
    assert notify(PhoneNumbers="16400001235")["Code"] == "OK"
    assert caller.send()["Code"] == "OK"
    clock.moved = 86401
    assert notify()["Code"] == "OK"


def test_notices_take_longer_variables_and_no_limit_of_codes(caller: Caller) -> None:
    for _ in range(2):
        reply = caller.send(
            TemplateCode=NOTICE_TEMPLATE, TemplateParam=json.dumps({"incident": "x" * 35})
        )
        assert reply["Code"] == "OK"
    reply = caller.send(TemplateCode=NOTICE_TEMPLATE, TemplateParam='{"incident":""}')
    assert reply["Code"] == "isv.PARAM_LENGTH_LIMIT"
