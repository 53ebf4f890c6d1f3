"""Who a merchant is at WeChat Pay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WechatPayV2Credentials:
    """A merchant of API v2; ``repr`` shows public halves only."""

    mchid: str
    appid: str
    key: str = field(repr=False)
    """The API key, 32 characters."""
    algorithm: Algorithm = "HMAC-SHA256"
