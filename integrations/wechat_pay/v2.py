"""WeChat Pay API v2: XML under MD5 or HMAC-SHA256.

Pure but for the defaults of :func:`signer`. Rules: WeChat Pay's documents "Security rules",
"Payment result notification" and "Refund result notification" (pay.weixin.qq.com, API v2).
"""

# Of wechatpy its signatures and its cipher are used. Its client refuses genuine HMAC-SHA256
# callbacks, its XML takes what repeats and nests, its unpadding checks nothing (test_sdk_faults.py).

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import logging
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from cryptography.hazmat.primitives.padding import PKCS7

from integrations.flat_xml import Entangled, flat_xml
from integrations.payments import (
    Acknowledgement,
    CallbackRefused,
    Notification,
    NotificationState,
)
from models.clock import BEIJING

if TYPE_CHECKING:
    from integrations.gate import Signer, UnsignedRequest
    from integrations.wechat_pay.credentials import WechatPayV2Credentials

__all__ = [
    "ACCEPTED",
    "LARGEST_CALLBACK",
    "REFUSED",
    "UNAVAILABLE",
    "Algorithm",
    "is_refund",
    "is_signed",
    "open_refund",
    "signature",
    "signer",
    "verify",
]

Algorithm = Literal["MD5", "HMAC-SHA256"]

LARGEST_CALLBACK = 64 * 1024
"""Bytes; the largest real callback is a tenth of it."""

_WORD = re.compile(r"[!-~]{1,128}", re.ASCII)
_REFUND_IDENTITY = ("out_trade_no", "out_refund_no", "refund_status")
_FEN = re.compile(r"[0-9]{1,13}", re.ASCII)


def _reply(status: int, code: str, message: str) -> Acknowledgement:
    body = (
        f"<xml><return_code><![CDATA[{code}]]></return_code>"
        f"<return_msg><![CDATA[{message}]]></return_msg></xml>"
    )
    return Acknowledgement(status=status, content_type="text/xml", body=body.encode())


ACCEPTED = _reply(200, "SUCCESS", "OK")
REFUSED = _reply(401, "FAIL", "refused")
UNAVAILABLE = _reply(503, "FAIL", "try again")


def verify(body: bytes, key: str, algorithm: Algorithm) -> Notification:
    """Believe and read a payment callback.

    The signed text is ambiguous, a value may contain ``&total_fee=1``, so ask for the order before
    anything is handed over.

    Args:
        body: The raw bytes.
        key: The merchant's API key of 32 characters.
        algorithm: As the merchant's orders ask for; what the message says decides nothing.

    Raises:
        CallbackRefused: See its codes.
    """
    texts = _read(body)
    if not is_signed(texts, key, algorithm):
        raise CallbackRefused("callback.bad_signature")
    paid = texts.get("return_code") == texts.get("result_code") == "SUCCESS"
    return Notification(
        channel="wechat_pay_v2",
        id=_digest(texts),
        kind="payment",
        merchant=_word(texts, "mch_id"),
        app=_word(texts, "appid"),
        order_no=_word(texts, "out_trade_no"),
        provider_no=_word(texts, "transaction_id") if paid else None,
        refund_no=None,
        amount=_fen(texts, "total_fee") if paid else None,
        refund_amount=None,
        currency=_word(texts, "fee_type") if texts.get("fee_type") else "CNY",
        state="paid" if paid else "open",
        at=_time(texts.get("time_end"), "%Y%m%d%H%M%S"),
    )


def is_refund(body: bytes) -> bool:
    """Whether a callback is a refund's, by its elements: what they hold may be a buyer's words.

    Raises:
        CallbackRefused: It is neither.
    """
    return "req_info" in _read(body)


def open_refund(body: bytes, key: str) -> Notification:
    """Decrypt and read a refund callback.

    It bears no signature and its encryption (ECB) protects nothing against change, so ask for the
    refund before believing it.

    Raises:
        CallbackRefused: See its codes.
    """
    outer = _read(body)
    texts = _read(_decrypt(outer.get("req_info", ""), key), root="root")
    states: dict[str, NotificationState] = {
        "SUCCESS": "refunded",
        "CHANGE": "refund_failed",
        "REFUNDCLOSE": "refund_failed",
    }
    return Notification(
        channel="wechat_pay_v2",
        # Not of all: who has seen one could have it kept ever anew, as nothing binds the rest.
        id=_digest({name: texts.get(name, "") for name in _REFUND_IDENTITY}),
        kind="refund",
        merchant=_word(outer, "mch_id"),
        app=_word(outer, "appid"),
        order_no=_word(texts, "out_trade_no"),
        provider_no=_word(texts, "transaction_id"),
        refund_no=_word(texts, "out_refund_no"),
        amount=_fen(texts, "total_fee"),
        refund_amount=_fen(texts, "refund_fee"),
        currency="CNY",
        state=states.get(_word(texts, "refund_status"), "refunding"),
        at=_time(texts.get("success_time"), "%Y-%m-%d %H:%M:%S"),
    )


def signature(texts: Mapping[str, str], key: str, algorithm: Algorithm) -> str:
    """The signature of a message, whatever ``sign`` it bears, in upper-case hexadecimal."""
    named = {name: text for name, text in texts.items() if name != "sign"}
    signed: str = _signatures()[algorithm](named, key)
    return signed


def is_signed(texts: Mapping[str, str], key: str, algorithm: Algorithm) -> bool:
    """Whether a message bears its signature; compared in constant time."""
    expected = signature(texts, key, algorithm)
    return hmac.compare_digest(expected.encode(), texts.get("sign", "").encode())


def signer(
    credentials: WechatPayV2Credentials, *, nonce: Callable[[], str] = lambda: secrets.token_hex(16)
) -> Signer:
    """Make the gate's signer for one merchant; it adds ``nonce_str`` and ``sign`` to the XML.

    Args:
        credentials: Whose name the request bears.
        nonce: Makes a text that is never used twice.
    """

    def sign(request: UnsignedRequest) -> Mapping[str, str]:
        once = nonce()
        texts = {**flat_xml(request.body), "nonce_str": once}
        return {
            "nonce_str": once,
            "sign": signature(texts, credentials.key, credentials.algorithm),
        }

    return sign


def _canonical(texts: Mapping[str, str]) -> str:
    named = sorted((name, text) for name, text in texts.items() if text and name != "sign")
    return "&".join(f"{name}={text}" for name, text in named)


def _digest(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(_canonical(texts).encode()).hexdigest()


def _read(body: bytes, root: str = "xml") -> dict[str, str]:
    if len(body) > LARGEST_CALLBACK:
        raise CallbackRefused("callback.too_large")
    try:
        return flat_xml(body, root=root, foreign=True)
    except Entangled:
        _malformed()


def _decrypt(req_info: str, key: str) -> bytes:
    """Key: the lower-case hexadecimal MD5 of the API key, as 32 ASCII bytes."""
    secret = hashlib.md5(key.encode()).hexdigest().encode()  # noqa: S324  # the provider's rule
    try:
        padded = _cipher(secret).decrypt(base64.b64decode(req_info, validate=True))
        unpadder = PKCS7(128).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        _malformed()


_importing = threading.Lock()
"""The library's packages import each other in a circle, which two threads at once cannot do."""


@cache
def _signatures() -> Mapping[str, Callable[[Mapping[str, str], str], str]]:
    with _importing:
        from wechatpy.pay import utils

    # It logs what it signs, the merchant's key included. A filter outlives what others configure.
    logging.getLogger(utils.__name__).addFilter(_nothing)
    return {"MD5": utils.calculate_signature, "HMAC-SHA256": utils.calculate_signature_hmac}


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _cipher(secret: bytes) -> Any:
    with _importing:
        from wechatpy.crypto.base import AesEcbCipher

    return AesEcbCipher(secret)


def _malformed() -> NoReturn:
    raise CallbackRefused("callback.malformed") from None


def _word(texts: Mapping[str, str], name: str) -> str:
    value = texts.get(name, "")
    return value if _WORD.fullmatch(value) else _malformed()


def _fen(texts: Mapping[str, str], name: str) -> int:
    value = texts.get(name, "")
    return int(value) if _FEN.fullmatch(value) else _malformed()


def _time(text: str | None, form: str) -> dt.datetime | None:
    if not text:
        return None
    try:
        return dt.datetime.strptime(text, form).replace(tzinfo=BEIJING)
    except ValueError:
        _malformed()
