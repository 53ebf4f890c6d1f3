"""Delivery receipts: what Aliyun reports, or a stranger who found the address.

SmsReport (help.aliyun.com, "SmsReport", HTTP push of receipts) is a JSON array and bears no
signature, so whatever is in it may be invented: it is taken apart here without trust, and counts
only where it fits a text of ours (:mod:`models.deliveries`).
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

import orjson

from models.errors import InvalidValue
from models.pii import Phone

__all__ = [
    "ACCEPTED",
    "MOST_BYTES",
    "REASONS",
    "SmsReceipt",
    "journey",
    "read_receipts",
    "reason_of",
]

ACCEPTED = b'{"code":0,"msg":"ok"}'
"""The reply that ends Aliyun's repetitions."""

MOST_BYTES = 1024 * 1024
_MOST_RECEIPTS = 2000
_WAITING = "REQUEST_SUCCESS"
"""The carrier has taken it; not yet a fate."""

REASONS: dict[str, str] = {
    "IS_CLOSE": "phone.off",
    # The vendor's spelling.
    "MOBILLE_TERMINAL_ERROR": "phone.fault",
    "SP_UNKNOWN_ERROR": "carrier.fault",
    "MOBILE_SEND_LIMIT": "number.limited",
    "INVALID_NUMBER": "number.invalid",
    "MOBILE_NOT_ON_SERVICE": "number.out_of_service",
    "MOBILE_IN_BLACK": "number.blocked",
    "MOBILE_ACCOUNT_ABNORMAL": "number.account",
    "USER_REJECT": "person.refuses",
    "CONTENT_KEYWORD": "content.refused",
    "CONTENT_ERROR": "content.refused",
    "NO_ROUTE": "carrier.no_route",
    "SP_NOT_BY_INTER_SMS": "carrier.no_route",
    "PARAMS_ILLEGAL": "request.refused",
}
"""Why a text did not arrive, by the code of the receipt; what is not listed is ``other``."""

_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_OUT_ID = re.compile(r"[0-9a-f]{32}")
_BIZ_ID = re.compile(r"[0-9]{1,20}\^[0-9]{1,5}", re.ASCII)
_TIME = "%Y-%m-%d %H:%M:%S"
_LONGEST_JOURNEY = 7 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsReceipt:
    """One text's fate, as somebody reports it."""

    phone: Phone
    biz_id: str
    out_id: str
    delivered: bool
    code: str | None
    """The carrier's."""
    seconds: float | None
    """From sending to the carrier's report; both times bear no zone, but the same one."""


def read_receipts(body: bytes) -> list[SmsReceipt]:
    """Take a push apart; entries that are no receipts of ours are left out.

    Raises:
        InvalidValue: It is no JSON array, or one of more than 2,000 entries.
    """
    try:
        entries = orjson.loads(body)
    except orjson.JSONDecodeError:
        entries = None
    if not isinstance(entries, list) or len(entries) > _MOST_RECEIPTS:
        raise InvalidValue("receipts must be a JSON array of at most 2000 entries")
    return [receipt for entry in entries if (receipt := _receipt(entry)) is not None]


def reason_of(code: str | None) -> str:
    """Our reason for a text that did not arrive."""
    return REASONS.get(code or "", "other")


def _receipt(entry: Any) -> SmsReceipt | None:
    if not isinstance(entry, dict):
        return None
    out_id, biz_id = entry.get("out_id"), entry.get("biz_id")
    success, code = entry.get("success"), entry.get("err_code")
    known = isinstance(code, str) and _CODE.fullmatch(code)
    if (
        not isinstance(out_id, str)
        or not _OUT_ID.fullmatch(out_id)
        or not isinstance(biz_id, str)
        or not _BIZ_ID.fullmatch(biz_id)
        or not isinstance(success, bool)
        or code == _WAITING
        # Two words for one fate that contradict each other are nobody's receipt.
        or (code == "DELIVERED") is not success
    ):
        return None
    try:
        phone = Phone(str(entry.get("phone_number")))
    except InvalidValue:
        return None
    return SmsReceipt(
        phone=phone,
        biz_id=biz_id,
        out_id=out_id,
        delivered=success,
        code=code if known else None,
        seconds=journey(entry.get("send_time"), entry.get("report_time")),
    )


def journey(sent: object, reported: object) -> float | None:
    """Seconds between two of Aliyun's times; None unless both are times in order."""
    try:
        begun, ended = (
            dt.datetime.strptime(str(text), _TIME)  # noqa: DTZ007 - only their difference counts
            for text in (sent, reported)
        )
    except ValueError:
        return None
    seconds = (ended - begun).total_seconds()
    return seconds if 0 <= seconds <= _LONGEST_JOURNEY else None
