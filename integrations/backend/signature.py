"""What authenticates a webhook: the headers of Standard Webhooks, symmetric scheme ``v1``.

Source: standard-webhooks/standard-webhooks, spec/standard-webhooks.md, "Signature scheme" and
"Webhook headers". Beside them ``webhook-key-id`` names the secrets in the order of the signatures,
so that a receiver need not try them; it chooses among the receiver's own secrets and proves
nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from models.clock import Clock, utc_now

if TYPE_CHECKING:
    from integrations.gate import Signer, UnsignedRequest
    from models.webhooks import SigningKey

__all__ = ["sign", "signer"]


def sign(
    keys: Sequence[SigningKey], webhook_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The headers of one delivery.

    Args:
        keys: The newest first; each makes a signature.
        webhook_id: The same for each delivery of one webhook.
        timestamp: Of this delivery, in seconds since 1970.
        body: The bytes as they leave.
    """
    content = f"{webhook_id}.{timestamp}.".encode() + body
    signatures = (hmac.new(key.key, content, hashlib.sha256).digest() for key in keys)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-key-id": " ".join(key.id for key in keys),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(signature).decode()}" for signature in signatures
        ),
    }


def signer(keys: Sequence[SigningKey], webhook_id: str, *, clock: Clock = utc_now) -> Signer:
    """What the gate lets sign one delivery."""

    def _sign(request: UnsignedRequest) -> Mapping[str, str]:
        return sign(keys, webhook_id, int(clock().timestamp()), request.body)

    return _sign
