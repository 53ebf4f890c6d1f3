from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from tests.integrations.sandbox.calling import Caller
from tests.integrations.sandbox.serving import Clock

HOST = "dypnsapi.aliyuncs.com"
JOB = "0" * 31 + "2"


def a_text(**changes: str | None) -> dict[str, str]:
    fields = {
        "PhoneNumber": "16400001234",
        "SignName": "速通互联验证码",
        "TemplateCode": "100001",
        "TemplateParam": '{"code":"##code##","min":"5"}',
        "OutId": JOB,
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


class Phone:
    """Somebody who asks for a code, reads it and types it."""

    def __init__(self, caller: Caller, clock: Clock) -> None:
        self._caller = caller
        self._clock = clock

    def ask(self, **changes: str | None) -> dict[str, Any]:
        return self._call("SendSmsVerifyCode", a_text(**changes))

    def read(self) -> str:
        reply = self._caller.http.get("/_sandbox/codes", params={"reference": JOB})
        return str(reply.json()["codes"][-1])

    def type(self, code: str, **changes: str) -> str:
        """PASS, UNKNOWN, or the code of the refusal."""
        fields = {"PhoneNumber": "16400001234", "VerifyCode": code, **changes}
        reply = self._call("CheckSmsVerifyCode", fields)
        return str(reply["Model"]["VerifyResult"] if reply["Code"] == "OK" else reply["Code"])

    def _call(self, action: str, fields: dict[str, str]) -> dict[str, Any]:
        now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        reply: dict[str, Any] = self._caller.call(action, fields, host=HOST, at=now).json()
        return reply


@pytest.fixture
def phone(caller: Caller, clock: Clock) -> Phone:
    return Phone(caller, clock)


def test_it_makes_a_code_that_only_the_phone_sees_and_that_serves_once(phone: Phone) -> None:
    reply = phone.ask()
    assert (reply["Code"], reply["Success"], reply["Model"]["OutId"]) == ("OK", True, JOB)
    assert "VerifyCode" not in reply["Model"]
    code = phone.read()
    assert re.fullmatch("[0-9]{4}", code)
    assert [phone.type(code), phone.type(code)] == ["PASS", "isv.ValidateFail"]


def test_it_returns_the_code_only_to_who_asks_for_it(phone: Phone) -> None:
    assert phone.ask(ReturnVerifyCode="true")["Model"]["VerifyCode"] == phone.read()


def test_a_wrong_code_is_no_pass_and_the_right_one_still_is(phone: Phone) -> None:
    phone.ask()
    code = phone.read()
    wrong = str((int(code) + 1) % 10_000).zfill(4)
    assert [phone.type(wrong), phone.type(code)] == ["isv.ValidateFail", "PASS"]


def test_a_wrong_code_is_refused_with_status_400(phone: Phone, caller: Caller) -> None:
    phone.ask()
    fields = {"PhoneNumber": "16400001234", "VerifyCode": "00000"}
    reply = caller.call("CheckSmsVerifyCode", fields, host=HOST)
    assert (reply.status_code, reply.json()["Code"]) == (400, "isv.ValidateFail")


def test_of_a_number_that_got_no_code_it_knows_nothing(phone: Phone) -> None:
    assert phone.type("1234") == "UNKNOWN"


def test_a_code_lives_as_long_as_it_was_told(phone: Phone, clock: Clock) -> None:
    phone.ask(ValidTime="120")
    clock.moved = 121
    assert phone.type(phone.read()) == "isv.ValidateFail"


def test_a_code_is_bound_to_its_scheme(phone: Phone) -> None:
    phone.ask(SchemeName="login")
    code = phone.read()
    assert phone.type(code, SchemeName="register") == "UNKNOWN"
    assert phone.type(code, SchemeName="login") == "PASS"


@pytest.mark.parametrize(("policy", "first"), [("1", "isv.ValidateFail"), ("2", "PASS")])
def test_a_second_code_replaces_the_first_or_stands_beside_it(
    phone: Phone, clock: Clock, policy: str, first: str
) -> None:
    phone.ask(CodeLength="8")
    code = phone.read()
    clock.moved = 61
    assert phone.ask(DuplicatePolicy=policy, CodeLength="8")["Code"] == "OK"
    assert phone.type(code) == first


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("1", "[0-9]{8}"),
        ("2", "[A-Z]{8}"),
        ("3", "[a-z]{8}"),
        ("4", "[A-Za-z]{8}"),
        ("5", "[0-9A-Z]{8}"),
        ("6", "[0-9a-z]{8}"),
        ("7", "[0-9A-Za-z]{8}"),
    ],
)
def test_codes_are_made_of_what_was_asked_for(phone: Phone, kind: str, shape: str) -> None:
    phone.ask(CodeType=kind, CodeLength="8")
    assert re.fullmatch(shape, phone.read())


@pytest.mark.parametrize(("policy", "verdict"), [("1", "PASS"), ("2", "isv.ValidateFail")])
def test_letters_are_compared_with_or_without_their_case(
    phone: Phone, policy: str, verdict: str
) -> None:
    phone.ask(CodeType="2", CodeLength="8")
    assert phone.type(phone.read().lower(), CaseAuthPolicy=policy) == verdict


def test_a_second_code_within_the_interval_is_refused(phone: Phone, clock: Clock) -> None:
    assert phone.ask()["Code"] == "OK"
    refused = phone.ask()
    assert (refused["Code"], refused["Message"]) == ("biz.FREQUENCY", "check frequency failed")
    assert refused["Success"] is False
    clock.moved = 61
    assert phone.ask()["Code"] == "OK"


def test_one_number_gets_five_codes_an_hour(phone: Phone, clock: Clock) -> None:
    codes = []
    for minute in range(6):
        clock.moved = minute * 61
        codes.append(phone.ask()["Code"])
    assert codes == ["OK"] * 5 + ["isv.BUSINESS_LIMIT_CONTROL"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PhoneNumber": None}, "MissingPhoneNumber"),
        ({"TemplateParam": None}, "MissingTemplateParam"),
        ({"PhoneNumber": "12"}, "isv.MOBILE_NUMBER_ILLEGAL"),
        ({"CountryCode": "852"}, "isv.MOBILE_NUMBER_ILLEGAL"),
        ({"SignName": "钟久久"}, "isv.SMS_SIGNATURE_ILLEGAL"),
        ({"TemplateCode": "SMS_164000001"}, "isv.SMS_TEMPLATE_ILLEGAL"),
        ({"TemplateParam": '{"code":"246810","min":"5"}'}, "isv.INVALID_PARAMETERS"),
        ({"TemplateParam": '{"code":"##code##"}'}, "isv.TEMPLATE_MISSING_PARAMETERS"),
        ({"TemplateParam": '{"code":"##code##","min":"5","n":"x"}'}, "isv.TEMPLATE_PARAMS_ILLEGAL"),
        ({"CodeLength": "3"}, "isv.INVALID_PARAMETERS"),
        ({"CodeLength": "9"}, "isv.INVALID_PARAMETERS"),
        ({"CodeType": "8"}, "isv.INVALID_PARAMETERS"),
        ({"ValidTime": "x"}, "isv.INVALID_PARAMETERS"),
        ({"SchemeName": "x" * 21}, "isv.INVALID_PARAMETERS"),
    ],
)
def test_what_the_real_one_refuses_is_refused(
    phone: Phone, changes: dict[str, str | None], code: str
) -> None:
    assert phone.ask(**changes)["Code"] == code


def test_a_refused_text_uses_no_interval_up(phone: Phone) -> None:
    phone.ask(SignName="别家")
    assert phone.ask()["Code"] == "OK"
