from __future__ import annotations

import os
import uuid

import pytest

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
        "6222021234567890129",
        "900619746936498440^0",
        "0193a5f0c2b14e5d8f7a6b5c4d3e2f10",
        "a16400001234",
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
