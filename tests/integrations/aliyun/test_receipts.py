from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.aliyun.receipts import REASONS, journey, read_receipts, reason_of
from models.errors import InvalidValue
from models.pii import Phone
from tests.docs.pages import Page, table


def a_receipt(**changes: Any) -> dict[str, Any]:
    return {
        "phone_number": "16400001234",
        "send_time": "2026-11-24 10:00:00",
        "report_time": "2026-11-24 10:00:04",
        "success": True,
        "err_code": "DELIVERED",
        "err_msg": "用户接收成功",
        "sms_size": "1",
        "biz_id": "900619746936498440^0",
        "out_id": "a" * 32,
        **changes,
    }


def read(*entries: Any) -> Any:
    return read_receipts(json.dumps(entries).encode())


def test_a_push_is_a_batch_of_receipts() -> None:
    failed = a_receipt(success=False, err_code="MOBILE_NOT_ON_SERVICE", out_id="b" * 32)
    first, second = read(a_receipt(), failed)
    assert (first.phone, first.delivered, first.seconds) == (Phone("16400001234"), True, 4.0)
    assert (second.delivered, second.code) == (False, "MOBILE_NOT_ON_SERVICE")
    assert reason_of(second.code) == "number.out_of_service"


@pytest.mark.parametrize(
    "changes",
    [
        {"out_id": "16400001234"},
        {"out_id": None},
        {"biz_id": "1"},
        {"biz_id": 900619746936498440},
        {"phone_number": "12"},
        {"phone_number": ["16400001234"]},
        {"success": "true"},
        {"success": 1},
        {"success": False},
        {"err_code": "MOBILE_IN_BLACK"},
        {"success": False, "err_code": "REQUEST_SUCCESS"},
    ],
    ids=str,
)
def test_an_entry_that_is_no_receipt_is_left_out_and_the_others_count(
    changes: dict[str, Any],
) -> None:
    assert len(read(a_receipt(**changes), a_receipt(), "x", None, [])) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"null", b"[", b"\xff\xfe", b"[" * 100_000, b"[1" + b",1" * 2000 + b"]"],
    ids=lambda body: f"{body[:8]!r} of {len(body)}",
)
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidValue):
        read_receipts(body)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidValue):
        read_receipts(body)


@given(st.dictionaries(st.sampled_from(sorted(a_receipt())), _JSON))
def test_any_values_make_a_receipt_or_none(changes: dict[str, Any]) -> None:
    for receipt in read(a_receipt(**changes)):
        assert re.fullmatch("[0-9a-f]{32}", receipt.out_id)
        assert receipt.delivered is (receipt.code == "DELIVERED")
        assert receipt.seconds is None or receipt.seconds >= 0


@pytest.mark.parametrize(
    ("sent", "reported", "seconds"),
    [
        ("2026-11-24 10:00:00", "2026-11-24 10:00:00", 0.0),
        ("2026-11-24 23:59:59", "2026-11-25 00:00:01", 2.0),
        ("2026-11-24 10:00:01", "2026-11-24 10:00:00", None),
        ("2026-11-24 10:00:00", "2027-11-24 10:00:00", None),
        ("2026-11-24T10:00:00", "2026-11-24 10:00:00", None),
        (None, 7, None),
    ],
)
def test_a_journey_is_the_time_between_two_times_in_order(
    sent: object, reported: object, seconds: float | None
) -> None:
    assert journey(sent, reported) == seconds


def test_every_reason_stands_in_the_documents() -> None:
    rows = table(Page("docs/providers.md").section("Delivery receipts"))
    told = {
        code: ours.strip("`")
        for ours, _, theirs in rows
        for code in re.findall(r"`([A-Z_]+)`", theirs)
    }
    assert told == REASONS
    assert reason_of("SOMETHING_NEW") == reason_of(None) == "other"
