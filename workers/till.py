"""What payment tasks get: the books, the merchants, and each merchant's provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from integrations.alipay.credentials import AlipayCredentials
from integrations.alipay.pay import Alipay
from integrations.gate import Gate
from integrations.payments import Notification
from integrations.wechat_pay.credentials import WechatPayCredentials, WechatPayV2Credentials
from integrations.wechat_pay.pay import WechatPay
from integrations.wechat_pay.pay_v2 import WechatPayV2
from models.errors import ConfigurationError
from models.payments.books import Books
from tasks.paying import PaymentProvider
from workers.merchants import Merchant, Merchants

__all__ = ["Till"]


class Till:
    """Everything about money, as a task is handed it.

    Args:
        merchants: All that we are paid as.
        confirm_from: Fen; see :class:`tasks.paying.Payments`.
    """

    def __init__(self, books: Books, merchants: Merchants, gate: Gate, confirm_from: int) -> None:
        self.books = books
        self.confirm_from = confirm_from
        self.merchants = merchants
        self._gate = gate

    def of(self, channel: str, merchant: str) -> PaymentProvider:
        """The provider of one merchant."""
        # What API v2 cannot do, the same merchant does over API v3.
        newer = self.merchants.find("wechat_pay_v3", merchant)
        return _provider(self._gate, self._merchant(channel, merchant), newer)

    def app_of(self, channel: str, merchant: str) -> str:
        """The app under which a merchant is paid."""
        return self._merchant(channel, merchant).app

    def read(
        self, channel: str, merchant: str, headers: Mapping[str, str], body: bytes
    ) -> Notification:
        """Decrypt and read a notification that was believed when it came in."""
        return self._merchant(channel, merchant).read(headers, body)

    def _merchant(self, channel: str, number: str) -> Merchant:
        merchant = self.merchants.find(channel, number)
        if merchant is None:
            raise ConfigurationError(
                "the merchant is no longer in ZJJ_MERCHANTS", code="merchant.unknown"
            )
        return merchant


def _provider(gate: Gate, merchant: Merchant, newer: Merchant | None) -> PaymentProvider:
    match merchant.credentials:
        case WechatPayCredentials() as credentials:
            return WechatPay(gate, credentials)
        case WechatPayV2Credentials() as credentials:
            v3 = newer.credentials if newer is not None else None
            return WechatPayV2(
                gate,
                credentials,
                v3=WechatPay(gate, v3) if isinstance(v3, WechatPayCredentials) else None,
            )
        case AlipayCredentials() as credentials:
            return Alipay(gate, credentials)
        case other:
            assert_never(other)
