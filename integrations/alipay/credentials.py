"""Who a merchant is at Alipay."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

__all__ = ["AlipayCredentials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipayCredentials:
    """One app of a merchant; ``repr`` shows public halves only."""

    app_id: str
    seller_id: str
    """The merchant's own number (``2088…``), to be compared with notifications."""
    private_key: RSAPrivateKey = field(repr=False)
    """The app's own."""
    alipay_public_key: RSAPublicKey = field(repr=False)
    """Alipay's, not the app's."""
