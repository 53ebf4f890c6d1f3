"""Signatures of WeChat Pay, API v3, from the provider's side.

The merchant's are verified, and no more than five minutes old; the provider's are made with the
platform certificate or with the public key that has an id.
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

if TYPE_CHECKING:
    from integrations.sandbox.exchange import Request
    from integrations.sandbox.merchants import TillKeys

__all__ = ["merchant_of", "sign_message"]

_AUTHORIZATION = re.compile(r'WECHATPAY2-SHA256-RSA2048 ((?:[a-z_]+="[^"]*",?){5})', re.ASCII)
_FRESH_SECONDS = 300


def merchant_of(request: Request, keys: TillKeys, now: float) -> str | None:
    """The merchant who has signed a request; None if nobody has whom we know, or not lately."""
    match = _AUTHORIZATION.fullmatch(request.header("authorization") or "")
    given = dict(re.findall(r'([a-z_]+)="([^"]*)"', match[1])) if match else {}
    target = f"{request.path}?{request.query}" if request.query else request.path
    head = f"{request.method}\n{target}\n{given.get('timestamp')}\n{given.get('nonce_str')}\n"
    try:
        keys.merchant.public_key().verify(
            base64.b64decode(given.get("signature", "")),
            head.encode() + request.body + b"\n",
            PKCS1v15(),
            SHA256(),
        )
        fresh = abs(now - int(given["timestamp"])) <= _FRESH_SECONDS
        return given["mchid"] if fresh and given["serial_no"] == keys.merchant_serial else None
    except (InvalidSignature, ValueError, KeyError):
        return None


def sign_message(keys: TillKeys, body: bytes, now: float, *, newer: bool) -> dict[str, str]:
    """The headers that make a message WeChat Pay's.

    Args:
        keys: Everybody's.
        body: The raw bytes.
        now: Seconds since 1970.
        newer: With the public key that has an id, not with the platform certificate.
    """
    timestamp, nonce = str(int(now)), secrets.token_hex(16)
    message = b"%s\n%s\n%s\n" % (timestamp.encode(), nonce.encode(), body)
    key = keys.public if newer else keys.platform
    return {
        "wechatpay-timestamp": timestamp,
        "wechatpay-nonce": nonce,
        "wechatpay-serial": keys.public_id if newer else keys.platform_serial,
        "wechatpay-signature": base64.b64encode(key.sign(message, PKCS1v15(), SHA256())).decode(),
        "wechatpay-signature-type": "WECHATPAY2-SHA256-RSA2048",
    }
