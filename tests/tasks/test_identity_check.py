"""What a real-name check may say, before anything of it is stored."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from pydantic import ValidationError
from stdnum.cn import ric

from models.pii import IdNumber, Phone, RealName
from tasks import IdentityCheck
from tasks.identity_check import IDENTITY_CHECK, is_child


def a_check(**changes: Any) -> IdentityCheck:
    fields: dict[str, Any] = {
        "name": RealName("张三"),
        "id_number": IdNumber("99999919900101018X"),
        "purpose": "restricted_goods",
        "product_ref": "gold-bar-1",
        "consent_ref": "consent-1",
        "user": "u-17",
        **changes,
    }
    return IdentityCheck.model_validate(fields)


@pytest.mark.parametrize(
    ("purpose", "missing"),
    [
        ("restricted_goods", "product_ref"),
        ("certification", "order_no"),
        ("certification", "expected_order_no"),
        ("query", "order_no"),
        ("query", "expected_order_no"),
    ],
)
def test_each_purpose_names_what_it_is_for(purpose: str, missing: str) -> None:
    whole = {"product_ref": "gold-bar-1", "order_no": "ZJJ-1", "expected_order_no": "ZJJ-1"}
    with pytest.raises(ValidationError) as caught:
        a_check(purpose=purpose, **(whole | {missing: None}))
    assert f"needs {missing} " in caught.value.errors()[0]["msg"]
    assert a_check(purpose=purpose, **whole).purpose == purpose


@pytest.mark.parametrize(
    ("given", "expected", "same"),
    [("ZJJ-1", "ZJJ-1", True), ("zjj-1", "ZJJ-1", True), ("ZJJ-1", "ZJJ-11", False)],
)
def test_the_order_that_a_person_names_is_compared_here(
    given: str, expected: str, same: bool
) -> None:
    orders = {"order_no": given, "expected_order_no": expected}
    assert a_check(purpose="query", **orders).names_its_order is same
    assert a_check(purpose="restricted_goods", **orders).names_its_order


def test_a_purpose_that_the_policy_does_not_have_is_refused() -> None:
    with pytest.raises(ValidationError):
        a_check(purpose="marketing")


def test_without_a_consent_there_is_no_check() -> None:
    with pytest.raises(ValidationError) as caught:
        a_check(consent_ref=None)
    assert caught.value.errors()[0]["loc"] == ("consent_ref",)


@pytest.mark.parametrize(
    ("changes", "with_phone"),
    [
        ({}, False),
        ({"phone": Phone("16400001234")}, True),
        ({"phone": Phone("16400001234"), "phone_verified": True}, False),
        ({"phone_verified": True}, False),
    ],
)
def test_the_phone_is_a_factor_only_while_nobody_has_verified_it(
    changes: dict[str, Any], with_phone: bool
) -> None:
    assert a_check(**changes).with_phone is with_phone


@pytest.mark.parametrize(
    ("now", "child"),
    [
        ("2026-11-29T15:59:59Z", True),  # 23:59:59 in China, the day before
        ("2026-11-29T16:00:00Z", False),
        ("2026-11-30T15:59:59Z", False),
        ("2025-11-30T12:00:00Z", True),
    ],
)
def test_a_child_is_one_until_the_fourteenth_birthday_begins_in_china(
    now: str, child: bool
) -> None:
    born = IdNumber("99999920121130001" + ric.calc_check_digit("999999201211300010"))
    assert is_child(born, dt.datetime.fromisoformat(now)) is child


@pytest.mark.parametrize(("day", "child"), [("2026-02-28", True), ("2026-03-01", False)])
def test_who_was_born_on_a_leap_day_is_of_age_on_the_first_of_march(day: str, child: bool) -> None:
    born = IdNumber("99999920120229001" + ric.calc_check_digit("999999201202290010"))
    assert is_child(born, dt.datetime.fromisoformat(f"{day}T12:00:00+08:00")) is child


@pytest.mark.parametrize(
    "number",
    [
        "999999199001010181",  # check digit
        "999999199002300015",  # 30 February
        "999999199013010013",  # month 13
        "99999929900101018X",  # not born yet
        "99999917900101018X",  # too old to live
        "99999919900101018",
        "999999900101009",  # the 15 digits of before 1999
        "99999919900101018X\n",
    ],
)
def test_a_wrong_number_never_becomes_a_job(number: str) -> None:
    with pytest.raises(ValidationError) as caught:
        a_check(id_number=number)
    assert number.strip() not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "Zhang San",
        "张",
        "张3",
        "张·",
        "·张三",
        "张··三",
        "张 三",
        "张" * 31,
        "张a三",
        "张Ａ三",  # full width
        "张а三",  # Cyrillic
        "张.三",
        "张\u200b三",
        "张三\n",
    ],
)
def test_a_name_that_no_card_bears_never_becomes_a_job(name: str) -> None:
    with pytest.raises(ValidationError):
        a_check(name=name)


@pytest.mark.parametrize("dot", "·•‧・･．∙⋅")
def test_a_name_with_a_dot_is_a_name_whichever_dot_it_is(dot: str) -> None:
    assert a_check(name=f"阿卜杜拉{dot}买买提").name == RealName("阿卜杜拉·买买提")


def test_its_payload_is_forgotten_at_every_end_and_its_backend_is_told() -> None:
    assert IDENTITY_CHECK.forgets
    assert IDENTITY_CHECK.announces
    assert IDENTITY_CHECK.retry.attempts == 2, "at most one retry"
    assert IDENTITY_CHECK.reconcile is None, "nobody can be asked about a lost verdict"
