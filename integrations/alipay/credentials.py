"""Who a merchant is at Alipay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from integrations.pem import private_key, public_key

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

    @classmethod
    def load(
        cls, *, app_id: str, seller_id: str, private_key_text: str, alipay_public_key_text: str
    ) -> Self:
        """Read a merchant from configuration; keys as PEM or as Base64 alone.

        Raises:
            ConfigurationError: A key is none.
        """
        return cls(
            app_id=app_id,
            seller_id=seller_id,
            private_key=private_key(private_key_text),
            alipay_public_key=public_key(alipay_public_key_text),
        )
