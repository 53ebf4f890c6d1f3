"""Alipay's asynchronous notifications.

Pure: no clock, no randomness, no network. Rules: Alipay's document "Asynchronous notification"
(opendocs.alipay.com); the signed text as its official SDKs build it.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from integrations.payments import Acknowledgement, Notification

__all__ = ["ACCEPTED", "REFUSED", "UNAVAILABLE", "verify"]

ACCEPTED = Acknowledgement(status=200, content_type="text/plain", body=b"success")
"""These seven bytes and nothing else."""
REFUSED = Acknowledgement(status=401, content_type="text/plain", body=b"failure")
UNAVAILABLE = Acknowledgement(status=503, content_type="text/plain", body=b"failure")


def verify(body: bytes, content_type: str | None, public_key: RSAPublicKey) -> Notification:
    """Believe and read a notification.

    Args:
        body: The raw bytes of the form.
        content_type: The header, as it came.
        public_key: Alipay's, not the merchant's own.

    Raises:
        CallbackRefused: See its codes.
    """
    raise NotImplementedError
