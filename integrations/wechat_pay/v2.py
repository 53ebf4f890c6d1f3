"""WeChat Pay API v2: XML callbacks under MD5 or HMAC-SHA256.

Pure: no clock, no randomness, no network. Rules: WeChat Pay's documents "Security rules",
"Payment result notification" and "Refund result notification" (pay.weixin.qq.com, API v2).
"""

from __future__ import annotations

from typing import Literal

from integrations.payments import Acknowledgement, Notification

__all__ = ["ACCEPTED", "REFUSED", "UNAVAILABLE", "Algorithm", "open_refund", "verify"]

Algorithm = Literal["MD5", "HMAC-SHA256"]


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

    Args:
        body: The raw bytes.
        key: The merchant's API key of 32 characters.
        algorithm: As the merchant's orders ask for; what the message says decides nothing.

    Raises:
        CallbackRefused: See its codes.
    """
    raise NotImplementedError


def open_refund(body: bytes, key: str) -> Notification:
    """Decrypt and read a refund callback.

    It bears no signature and its encryption (ECB) protects nothing against change, so ask for the
    refund before believing it.

    Raises:
        CallbackRefused: See its codes.
    """
    raise NotImplementedError
