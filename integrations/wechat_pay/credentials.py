"""Who a merchant is at WeChat Pay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from integrations.pem import private_key
from models.errors import ConfigurationError

if TYPE_CHECKING:
    from integrations.wechat_pay.v2 import Algorithm
    from integrations.wechat_pay.v3 import WechatPayKeys

__all__ = ["WechatPayCredentials", "WechatPayV2Credentials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WechatPayCredentials:
    """A merchant of API v3; ``repr`` shows public halves only."""

    mchid: str
    appid: str
    serial_no: str
    """Of the merchant's own certificate."""
    private_key: RSAPrivateKey = field(repr=False)
    """The merchant's own."""
    keys: WechatPayKeys
    notify_url: str | None = None
    """Where refund callbacks go, without a query; None leaves it to the merchant's settings."""

    @classmethod
    def load(
        cls,
        *,
        mchid: str,
        appid: str,
        serial_no: str,
        private_key_pem: str,
        keys: WechatPayKeys,
        notify_url: str | None = None,
    ) -> Self:
        """Read a merchant from configuration.

        Raises:
            ConfigurationError: The private key is none.
        """
        return cls(
            mchid=mchid,
            appid=appid,
            serial_no=serial_no,
            private_key=private_key(private_key_pem),
            keys=keys,
            notify_url=notify_url,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WechatPayV2Credentials:
    """A merchant of API v2; ``repr`` shows public halves only.

    Raises:
        ConfigurationError: The key has not 32 characters.
    """

    mchid: str
    appid: str
    key: str = field(repr=False)
    """The API key, 32 characters."""
    algorithm: Algorithm = "HMAC-SHA256"

    def __post_init__(self) -> None:
        if len(self.key) != 32 or not self.key.isascii():
            raise ConfigurationError("the API v2 key of WeChat Pay has 32 ASCII characters")
