from __future__ import annotations

import datetime as dt
import os
import uuid

import pytest
from stdnum.cn import ric

from integrations.detectors import detect


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("16400001234", "mobile number"),
        ("tel:16400001234,", "mobile number"),
        ("+8616400001234", "mobile number"),
        ("0086 164 0000 1234", "mobile number"),
        ("164-0000-1234", "mobile number"),
        ("手机16400001234号", "mobile number"),
        ("99999919900307008X", "identity number"),
        ("99999919900307008x", "identity number"),
        ("999999 19900307 008X", "identity number"),
        ("6222021234567890128", "bank card"),
        ("6222 0212 3456 7890 128", "bank card"),
        ("4111-1111-1111-1111", "bank card"),
        ("订单 1 电话 16400001234", "mobile number"),
        ("phone16400001234", "mobile number"),
        ("\ud83d16400001234", "mobile number"),
        ("user_16400001234", "mobile number"),
        ("6222021234567890129 16400001234", "mobile number"),
        ("0123456789abcdef 16400001234", "mobile number"),
        ("990101185001010011", "identity number"),
        ("990101209912310019", "identity number"),
    ],
)
def test_personal_data_is_recognised(text: str, kind: str) -> None:
    assert detect(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SMS_154950909",
        "20261123",
        "2026-11-23T10:00:00Z",
        "1640000123",
        "164000012345",
        "12400001234",
        "999999199003070080",
        "999999199013070083",
        "999999184912310018",
        "999999210001010010",
        "200101199003070080",
        "6222021234567890129",
        "900619746936498440^0",
        "0193a5f0c2b14e5d8f7a6b5c4d3e2f10",
        "a16400001234",
        "16400001234face",
        "66055034-7957-4781-b6fc-47cd6866d29a",
    ],
)
def test_other_digits_are_left_alone(text: str) -> None:
    assert detect(text) is None


def test_identifiers_and_digests_are_left_alone() -> None:
    for _ in range(2000):
        assert detect(os.urandom(16).hex()) is None
        assert detect(os.urandom(32).hex()) is None
        assert detect(str(uuid.uuid4())) is None


def test_of_long_numbers_that_are_our_own_only_people_are_looked_for() -> None:
    assert detect("6222021234567890128", cards=False) is None
    assert detect("6222021234567890128 16400001234", cards=False) == "mobile number"
    assert detect("99999919900307008X", cards=False) == "identity number"


@pytest.mark.parametrize("province", range(100))
def test_identity_numbers_begin_with_a_province(province: int) -> None:
    head = f"{province:02d}0101199003070" + "07"
    number = head + str(ric.calc_check_digit(head + "0"))
    known = {*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55)}
    known |= {*range(61, 66), 71, *range(81, 84), 99}
    assert (detect(number, cards=False) == "identity number") is (province in known)


def test_the_time_of_an_order_is_nobodys_identity_number() -> None:
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for _ in range(5000):
        moment += dt.timedelta(hours=1, minutes=7, seconds=13)
        assert detect(f"{moment:%Y%m%d%H%M%S}{moment.day:04d}", cards=False) is None
