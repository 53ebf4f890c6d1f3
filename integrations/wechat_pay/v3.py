"""WeChat Pay API v3: what authenticates and opens its messages.

Pure: no clock, no randomness, no network. Rules: WeChat Pay's documents "Verify signatures",
"Decrypt callbacks" and "Switch from platform certificates to the WeChat Pay public key"
(pay.weixin.qq.com, API v3 developer guide).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from integrations.payments import Acknowledgement, Notification

__all__ = ["ACCEPTED", "REFUSED", "UNAVAILABLE", "WechatPayKeys", "open_notification", "verify"]

ACCEPTED = Acknowledgement(status=204, content_type=None, body=b"")
REFUSED = Acknowledgement(
    status=401, content_type="application/json", body=b'{"code":"FAIL","message":"refused"}'
)
"""For whatever is not to be believed, the provider's signature probes among them."""
UNAVAILABLE = Acknowledgement(
    status=503, content_type="application/json", body=b'{"code":"FAIL","message":"try again"}'
)
"""Nothing was stored; the provider sends it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WechatPayKeys:
    """What a merchant holds to believe WeChat Pay and to open its callbacks."""

    api_v3_keys: tuple[bytes, ...] = field(repr=False)
    """Each 32 bytes; two while the key is being changed."""
    verifiers: Mapping[str, RSAPublicKey] = field(repr=False)
    """By ``Wechatpay-Serial``: a platform certificate's serial number in upper-case hexadecimal,
    or the ``PUB_KEY_ID_…`` of a WeChat Pay public key. Both kinds while migrating."""

    @classmethod
    def load(
        cls,
        *,
        api_v3_keys: Iterable[str],
        platform_certificates: Iterable[str] = (),
        public_keys: Mapping[str, str] | None = None,
    ) -> Self:
        """Read keys from configuration.

        Args:
            api_v3_keys: Each 32 ASCII characters.
            platform_certificates: PEM; their serial numbers are read from them.
            public_keys: PEM by ``PUB_KEY_ID_…``.

        Raises:
            ConfigurationError: A key is not what it should be, or there is none of a kind.
        """
        raise NotImplementedError


def verify(headers: Mapping[str, str], body: bytes, keys: WechatPayKeys, now: dt.datetime) -> None:
    """Believe a callback, or refuse it.

    Args:
        headers: As they came; names in any case.
        body: The raw bytes.
        keys: The merchant's.
        now: The present, with a time zone.

    Raises:
        CallbackRefused: See its codes.
    """
    raise NotImplementedError


def open_notification(body: bytes, keys: WechatPayKeys) -> Notification:
    """Decrypt and read the body of a callback that :func:`verify` has passed.

    Raises:
        CallbackRefused: ``callback.malformed``.
    """
    raise NotImplementedError
