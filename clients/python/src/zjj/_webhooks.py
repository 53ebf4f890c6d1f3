"""Verifying webhooks: Standard Webhooks, symmetric signatures (``v1``)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

from zjj._errors import ConfigurationError, InvalidWebhookError

__all__ = ["verify_webhook"]

TOLERANCE_SECONDS = 300


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secret: str,
    *,
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> str:
    """Believe a webhook, or refuse it.

    Args:
        headers: As they came; names in any case.
        body: The raw bytes; JSON that was parsed and written again is another text.
        secret: ``whsec_…``, as ``zjj webhooks add`` or ``rotate`` has shown it.
        tolerance: Seconds that the webhook's time may be away from ours.
        now: Seconds since 1970; default: the clock.

    Returns:
        The webhook's id, the same for each delivery: do nothing twice for one id.

    Raises:
        InvalidWebhookError: It is not from whom it claims to be, or is too old; answer 401.
        ConfigurationError: ``secret`` is none.
    """
    by_name = {name.lower(): value for name, value in headers.items()}
    try:
        webhook_id, timestamp = by_name["webhook-id"], by_name["webhook-timestamp"]
        given = by_name["webhook-signature"].split(" ")
    except KeyError:
        raise InvalidWebhookError("a header of the signature is missing") from None
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise InvalidWebhookError("the time is not a number")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance:
        raise InvalidWebhookError("the webhook is too old, or from the future")
    content = f"{webhook_id}.{timestamp}.".encode() + body
    digest = hmac.new(_key(secret), content, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    if not any(hmac.compare_digest(expected, each.encode(errors="replace")) for each in given):
        raise InvalidWebhookError("no signature is one of this secret")
    return webhook_id


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith("whsec_") or len(key) < 24:
        raise ConfigurationError("the webhook secret must be whsec_ and base64")
    return key
