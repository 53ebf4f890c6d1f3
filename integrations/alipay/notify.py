"""Alipay's asynchronous notifications.

Pure: no clock, no randomness, no network. Rules: Alipay's document "Asynchronous notification"
(opendocs.alipay.com); the signed text as its official SDKs for Node and Python build it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from integrations.alipay.rsa2 import is_signed
from integrations.money import fen_of
from integrations.payments import (
    Acknowledgement,
    CallbackRefused,
    Notification,
    NotificationKind,
    NotificationState,
)
from models.clock import BEIJING
from models.errors import InvalidValue

__all__ = ["ACCEPTED", "LARGEST_CALLBACK", "REFUSED", "UNAVAILABLE", "verify"]

ACCEPTED = Acknowledgement(status=200, content_type="text/plain", body=b"success")
"""These seven bytes and nothing else."""
REFUSED = Acknowledgement(status=401, content_type="text/plain", body=b"failure")
UNAVAILABLE = Acknowledgement(status=503, content_type="text/plain", body=b"failure")

LARGEST_CALLBACK = 64 * 1024
"""Bytes; the largest real callback is a tenth of it."""

_FORM = re.compile(r"application/x-www-form-urlencoded(?: *;.*)?", re.ASCII | re.IGNORECASE)
_PAIR = re.compile(rb"([A-Za-z0-9_]{1,64})=((?:[^%&=]|%[0-9A-Fa-f]{2})*)")
_CHARSETS = {b"utf-8": "utf-8", b"gbk": "gbk", b"gb2312": "gbk", b"gb18030": "gb18030"}
_MOST_PAIRS = 128
_WORD = re.compile(r"[!-~]{1,128}", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})(?:\.\d{1,6})?", re.ASCII)


def verify(body: bytes, content_type: str | None, public_key: RSAPublicKey) -> Notification:
    """Believe and read a notification.

    The signed text is ambiguous, a subject may contain ``&total_amount=1.00``, so ask for the
    order before anything is handed over. Whether app, seller, order and amount are ours is not
    looked at here.

    Args:
        body: The raw bytes of the form.
        content_type: The header, as it came.
        public_key: Alipay's, not the merchant's own.

    Raises:
        CallbackRefused: See its codes.
    """
    if len(body) > LARGEST_CALLBACK:
        raise CallbackRefused("callback.too_large")
    if content_type is not None and not _FORM.fullmatch(content_type):
        _malformed()
    raw = _pairs(body)
    if raw.get(b"sign_type") != b"RSA2":
        raise CallbackRefused("callback.bad_signature")
    signed = sorted((k, v) for k, v in raw.items() if k not in {b"sign", b"sign_type"})
    message = b"&".join(b"%s=%s" % pair for pair in signed)
    if not is_signed(message, raw.get(b"sign", b""), public_key):
        raise CallbackRefused("callback.bad_signature")
    charset = _CHARSETS.get(raw.get(b"charset", b"utf-8").lower())
    if charset is None:
        _malformed()
    try:
        return _notification({k.decode(): v.decode(charset) for k, v in raw.items()})
    except (UnicodeDecodeError, InvalidValue):
        _malformed()


def _pairs(body: bytes) -> dict[bytes, bytes]:
    """The form, decoded once; what could be read in two ways is refused."""
    pairs: dict[bytes, bytes] = {}
    for position, pair in enumerate(body.split(b"&")):
        match = _PAIR.fullmatch(pair)
        if match is None or match[1] in pairs or position == _MOST_PAIRS:
            _malformed()
        pairs[match[1]] = unquote_to_bytes(match[2].replace(b"+", b" "))
    return pairs


def _notification(values: Mapping[str, str]) -> Notification:
    refunds = bool(values.get("refund_fee") or values.get("gmt_refund"))
    kind: NotificationKind = "refund" if refunds else "payment"
    if values.get("notify_type") != "trade_status_sync":
        kind = "other"
    states: dict[str, NotificationState] = {
        "TRADE_SUCCESS": "paid",
        "TRADE_FINISHED": "paid",
        "TRADE_CLOSED": "closed",
        "WAIT_BUYER_PAY": "open",
    }
    state = states.get(values.get("trade_status", ""), "open")
    moment = values.get("gmt_refund" if refunds else "gmt_payment") or values.get("notify_time")
    return Notification(
        channel="alipay",
        id=_word(values, "notify_id"),
        kind=kind,
        merchant=values.get("seller_id", "") and _word(values, "seller_id"),
        app=_word(values, "app_id") if values.get("app_id") else None,
        order_no=_word(values, "out_trade_no") if kind != "other" else "",
        provider_no=_word(values, "trade_no") if values.get("trade_no") else None,
        refund_no=_word(values, "out_biz_no") if refunds and values.get("out_biz_no") else None,
        amount=_fen(values.get("total_amount")),
        refund_amount=_fen(values.get("refund_fee")) if refunds else None,
        currency="CNY",
        # A refund is told with the payment's status once more; it never is a second payment.
        state="refunded" if kind == "refund" else state if kind == "payment" else "open",
        at=_time(moment),
    )


def _malformed() -> NoReturn:
    raise CallbackRefused("callback.malformed") from None


def _word(values: Mapping[str, str], name: str) -> str:
    value = values.get(name, "")
    return value if _WORD.fullmatch(value) else _malformed()


def _fen(yuan: str | None) -> int | None:
    return fen_of(yuan) if yuan else None


def _time(text: str | None) -> dt.datetime | None:
    if not text:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        _malformed()
    try:
        return dt.datetime.fromisoformat(match[1]).replace(tzinfo=BEIJING)
    except ValueError:
        _malformed()
