"""What payment providers tell us, in words that are the same for all of them.

Amounts are whole fen. Nothing here names the person who paid: openid, buyer id and account are
dropped while a message is read.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from models.errors import GiveUpError

__all__ = [
    "Acknowledgement",
    "BillLine",
    "BillState",
    "CallbackRefused",
    "Channel",
    "Notification",
    "NotificationKind",
    "NotificationState",
    "OrderAnswer",
    "OrderState",
    "RefundAnswer",
    "RefundState",
    "RefusalCode",
]

Channel = Literal["wechat_pay_v3", "wechat_pay_v2", "alipay"]
"""The interface over which a merchant is paid."""

NotificationKind = Literal["payment", "refund", "other"]
NotificationState = Literal["paid", "closed", "refunding", "refunded", "refund_failed", "open"]
OrderState = Literal["paid", "open", "closed", "refunded", "missing", "failed"]
RefundState = Literal["processing", "refunded", "closed", "failed", "missing"]
BillState = Literal["paid", "refunding", "refunded", "refund_failed", "closed"]
RefusalCode = Literal[
    "callback.too_large",
    "callback.stale",
    "callback.unknown_key",
    "callback.bad_signature",
    "callback.malformed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One authenticated message from a provider."""

    channel: Channel
    id: str
    """The same for each delivery of one message: the provider's notification id, or a digest."""
    kind: NotificationKind
    merchant: str
    """The merchant's number (WeChat Pay) or the seller's id (Alipay); empty if not said."""
    app: str | None
    order_no: str
    """Ours."""
    provider_no: str | None
    """The provider's number of the payment."""
    refund_no: str | None
    """Ours, of a refund."""
    amount: int | None
    """The order's total in fen, if said."""
    refund_amount: int | None
    """What this refund gives back, in fen, if said. Alipay says what the order has given back in
    all so far."""
    currency: str
    """ISO 4217."""
    state: NotificationState
    at: dt.datetime | None
    """When it happened at the provider; with a time zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAnswer:
    """What a provider says about an order when asked."""

    order_no: str
    provider_no: str | None
    state: OrderState
    amount: int | None
    """The order's total in fen; None while the provider knows none."""
    currency: str
    at: dt.datetime | None
    """When it was paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundAnswer:
    """What a provider says about a refund."""

    refund_no: str
    provider_no: str | None
    """The provider's number of the refund, or of the payment where it has none."""
    state: RefundState
    amount: int | None
    """What is given back, in fen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """One line of a provider's daily bill: a payment, or a refund if it has a refund number."""

    order_no: str
    provider_no: str
    refund_no: str | None
    amount: int
    """The order's total in fen; 0 for a refund, whose line does not repeat it."""
    refund_amount: int
    """What this line gives back, in fen; 0 for a payment."""
    state: BillState


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """The reply that a provider wants to a callback."""

    status: int
    content_type: str | None
    body: bytes


class CallbackRefused(GiveUpError):
    """A callback that is not to be believed.

    Args:
        code: Why, as a static code.
    """

    default_code = "callback.malformed"

    def __init__(self, code: RefusalCode) -> None:
        super().__init__(_REASONS[code], code=code)


_REASONS: dict[RefusalCode, str] = {
    "callback.too_large": "the callback is larger than any that the provider sends",
    "callback.stale": "the callback's time is too far from the present",
    "callback.unknown_key": "the callback names a key that this merchant does not hold",
    "callback.bad_signature": "the callback's signature is missing or wrong",
    "callback.malformed": "the callback cannot be read as the provider writes it",
}
