"""The order book of a payment provider: orders, what was paid, what was given back."""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from models.clock import BEIJING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Buyer", "Order", "OrderBook", "Refund", "RefundRefused", "RefundResult"]


RefundResult = Literal["processing", "refunded", "closed", "failed"]


class RefundRefused(Exception):
    """A refund that the provider does not accept.

    Args:
        why: ``missing``, ``unpaid``, ``too_much`` or ``changed``.
    """

    def __init__(self, why: Literal["missing", "unpaid", "too_much", "changed"]) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True)
class Refund:
    """One refund of an order."""

    refund_no: str
    provider_no: str
    amount: int
    at: float
    result: RefundResult = "processing"
    """What it comes to in the end."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who pays, as the providers' callbacks and answers name them."""

    openid: str = "o-sandbox-payer"
    """At WeChat."""
    user_id: str = "2088-sandbox-buyer"
    logon_id: str = "san***@sandbox"
    """Both at Alipay."""


@dataclass(slots=True)
class Order:
    """One order."""

    order_no: str
    provider_no: str
    total: int
    made_at: float
    buyer: Buyer
    paid_at: float | None = None
    closed: bool = False
    refunds: dict[str, Refund] = field(default_factory=dict)

    @property
    def given_back(self) -> int:
        """Fen that refunds have taken, failed ones excepted."""
        return sum(r.amount for r in self.refunds.values() if r.result not in {"closed", "failed"})


class OrderBook:
    """One provider's, for its one merchant; safe in many threads.

    Args:
        prefix: What the provider's own numbers begin with.
        clock: Returns seconds since 1970.
    """

    def __init__(self, prefix: str, *, clock: Callable[[], float] = time.time) -> None:
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.RLock()
        self._orders: dict[str, Order] = {}
        self._refunds: dict[str, tuple[Order, Refund]] = {}
        self._count = 0
        self.buyer = Buyer()
        """Of the orders that are made from now on."""
        self.refund_seconds = 0.0
        """Until then an accepted refund is on its way."""

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._orders.clear()
            self._refunds.clear()
            self._count = 0
            self.refund_seconds = 0.0

    def open(self, order_no: str, total: int) -> Order:
        """Make an order, or find the one of that number."""
        with self._lock:
            if order_no not in self._orders:
                number = self._number()
                self._orders[order_no] = Order(order_no, number, total, self._clock(), self.buyer)
            return self._orders[order_no]

    def pay(self, order_no: str, total: int | None = None) -> Order:
        """Have an order paid; made at once if there is none.

        Raises:
            KeyError: There is none, and no total to make it with.
        """
        with self._lock:
            order = self._orders[order_no] if total is None else self.open(order_no, total)
            order.paid_at = order.paid_at or self._clock()
            return order

    def close(self, order_no: str) -> Order:
        """Close an unpaid order.

        Raises:
            KeyError: There is none.
        """
        with self._lock:
            order = self._orders[order_no]
            order.closed = order.paid_at is None
            return order

    def find(self, order_no: str) -> Order | None:
        """The order of that number."""
        with self._lock:
            return self._orders.get(order_no)

    def find_refund(self, refund_no: str) -> tuple[Order, Refund] | None:
        """The refund of that number."""
        with self._lock:
            return self._refunds.get(refund_no)

    def refund(
        self,
        order_no: str,
        refund_no: str,
        amount: int,
        *,
        total: int | None = None,
        result: RefundResult = "refunded",
    ) -> tuple[Order, Refund, bool]:
        """Give money back, once for each refund number.

        Returns:
            The order, the refund, and whether this is the first time.

        Raises:
            RefundRefused: See there.
        """
        with self._lock:
            if known := self._refunds.get(refund_no):
                order, refund = known
                if (order.order_no, refund.amount) != (order_no, amount):
                    raise RefundRefused("changed")
                return order, refund, False
            found = self._orders.get(order_no)
            if found is None:
                raise RefundRefused("missing")
            if found.paid_at is None:
                raise RefundRefused("unpaid")
            if (total is not None and total != found.total) or (
                found.given_back + amount > found.total
            ):
                raise RefundRefused("too_much")
            refund = Refund(refund_no, self._number(), amount, self._clock(), result)
            found.refunds[refund_no] = refund
            self._refunds[refund_no] = found, refund
            return found, refund, True

    def result(self, refund: Refund) -> RefundResult:
        """What has become of a refund by now."""
        done = self._clock() >= refund.at + self.refund_seconds
        return refund.result if done else "processing"

    def traded_on(self, day: dt.date) -> Iterator[tuple[Order, Refund | None]]:
        """Payments and accepted refunds of a day in China."""
        with self._lock:
            for order in self._orders.values():
                if order.paid_at is not None and self.day(order.paid_at) == day:
                    yield order, None
                for refund in order.refunds.values():
                    if self.day(refund.at) == day:
                        yield order, refund

    def shown(self) -> list[dict[str, Any]]:
        """Every order with its refunds; amounts are whole fen."""
        with self._lock:
            return [
                {
                    "order_no": order.order_no,
                    "provider_no": order.provider_no,
                    "total": order.total,
                    "paid": order.paid_at is not None,
                    "closed": order.closed,
                    "refunds": {
                        refund.refund_no: {"amount": refund.amount, "result": self.result(refund)}
                        for refund in order.refunds.values()
                    },
                }
                for order in self._orders.values()
            ]

    @staticmethod
    def day(at: float) -> dt.date:
        """The day in China."""
        return dt.datetime.fromtimestamp(at, BEIJING).date()

    def _number(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count:018d}"
