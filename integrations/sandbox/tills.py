"""Both payment providers of the sandbox, with the courier that brings their callbacks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from integrations.payments import Channel
from integrations.sandbox.alipay import AlipayProvider
from integrations.sandbox.callbacks import Courier, Messages
from integrations.sandbox.merchants import (
    SAMPLE_AMOUNT,
    SAMPLE_ORDER,
    SAMPLE_REFUND,
    SAMPLE_TOTAL,
)
from integrations.sandbox.wechat_pay import WechatPayProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from integrations.sandbox.callbacks import CallbackPlan
    from integrations.sandbox.till import Order, OrderBook, Refund

__all__ = ["Tills"]


class Tills:
    """What happens at the till, whoever asks for it: a test, or a control door.

    Args:
        plan: What befalls callbacks until another plan comes; without one nobody is called.
        clock: Returns seconds since 1970.
    """

    def __init__(
        self, plan: CallbackPlan | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.wechat_pay = WechatPayProvider(clock=clock)
        self.alipay = AlipayProvider(clock=clock)
        self.messages = Messages(self.alipay, clock=clock)
        self.courier = Courier(plan)
        self.wechat_pay.refund_accepted = self._wechat_refund
        self.alipay.refund_accepted = self._alipay_refund

    def book(self, channel: Channel) -> OrderBook:
        """The order book behind a channel; both of WeChat Pay share one."""
        return (self.alipay if channel == "alipay" else self.wechat_pay).book

    def change(
        self,
        channel: Channel,
        action: Literal["open", "pay", "close"],
        order_no: str,
        total: int | None = None,
    ) -> Order:
        """Open, pay or close an order; what is paid is told to the callback URL.

        Raises:
            KeyError: There is no such order, and no total to make it with.
        """
        book = self.book(channel)
        if action == "close":
            return book.close(order_no)
        if action == "open":
            if total is None:
                raise KeyError(order_no)
            return book.open(order_no, total)
        order = book.pay(order_no, total)
        algorithm = self.courier.plan.algorithm
        self.courier.send(self.messages.paid(channel, order, algorithm))
        return order

    def tell_refund(self, channel: Channel, refund_no: str) -> None:
        """Send a refund's callback once more.

        Raises:
            KeyError: There is no such refund.
        """
        found = self.book(channel).find_refund(refund_no)
        if found is None:
            raise KeyError(refund_no)
        self.courier.send(self.messages.refunded(channel, *found))

    def lay_out_samples(self) -> None:
        """One paid order with a refund at each provider, for those who bring none of their own."""
        for book in (self.wechat_pay.book, self.alipay.book):
            book.pay(SAMPLE_ORDER, SAMPLE_TOTAL)
            book.refund(SAMPLE_ORDER, SAMPLE_REFUND, SAMPLE_AMOUNT)

    def reset(self) -> None:
        """Forget all orders and callbacks."""
        self.wechat_pay.reset()
        self.alipay.reset()
        self.courier.clear()

    def _wechat_refund(self, order: Order, refund: Refund) -> None:
        # Asked for over API v3, told over API v3, over whichever the order was paid.
        self.courier.send(self.messages.refunded("wechat_pay_v3", order, refund))

    def _alipay_refund(self, order: Order, refund: Refund) -> None:
        self.courier.send(self.messages.refunded("alipay", order, refund))
