"""The life of a payment, as pure code: facts only ever add up, so their order cannot matter.

Notifications come late, twice, out of order and against each other. So a payment is no state that
each of them pushes about, but the sum of what is known: was it paid, was it closed, how far is
each refund. Joining facts is commutative, associative and idempotent; the state follows from the
sum. The rows of the database only follow (:mod:`models.payments.changes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

__all__ = [
    "FOLLOWING",
    "PENDING",
    "Account",
    "PaymentState",
    "Refund",
    "RefundState",
]


class PaymentState(StrEnum):
    """Where a payment stands."""

    OPEN = "open"
    CLOSED = "closed"
    PAID = "paid"
    REFUNDING = "refunding"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class RefundState(StrEnum):
    """How far a refund is; a later one of these outweighs an earlier one."""

    HEARD = "heard"
    """Somebody spoke of it; nobody has confirmed it yet."""
    REQUESTED = "requested"
    PROCESSING = "processing"
    FAILED = "failed"
    """The provider could not pay it out; a person at the provider's console may still do."""
    CLOSED = "closed"
    REFUNDED = "refunded"


_WEIGHT = {state: weight for weight, state in enumerate(RefundState)}

PENDING = frozenset({RefundState.REQUESTED, RefundState.PROCESSING})
"""A refund under way."""

_AFTER_PAID = {
    PaymentState.REFUNDING,
    PaymentState.PARTIALLY_REFUNDED,
    PaymentState.REFUNDED,
}
FOLLOWING: Mapping[PaymentState, frozenset[PaymentState]] = {
    PaymentState.OPEN: frozenset({PaymentState.CLOSED, PaymentState.PAID, *_AFTER_PAID}),
    # Money may arrive for an order that was given up; a person hears of it.
    PaymentState.CLOSED: frozenset({PaymentState.PAID, *_AFTER_PAID}),
    PaymentState.PAID: frozenset(_AFTER_PAID),
    # A refund that came to nothing leaves things as they were before it.
    PaymentState.REFUNDING: frozenset({PaymentState.PAID, *_AFTER_PAID} - {PaymentState.REFUNDING}),
    PaymentState.PARTIALLY_REFUNDED: frozenset({PaymentState.REFUNDING, PaymentState.REFUNDED}),
    PaymentState.REFUNDED: frozenset(),
}
"""What may come after each state. Paid never becomes open or closed again, and money that went
back stays back."""


@dataclass(frozen=True, slots=True)
class Refund:
    """What is known about one refund."""

    state: RefundState
    amount: int | None = None
    """Fen; None while only heard of."""

    def joined(self, other: Refund) -> Refund:
        """The weightier state of the two; an amount once known is kept."""
        known = [each.amount for each in (self, other) if each.amount is not None]
        state = max(self.state, other.state, key=_WEIGHT.__getitem__)
        return Refund(state, max(known, default=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The sum of what is known about one payment. Amounts are whole fen."""

    amount: int
    """What is expected."""
    paid: bool = False
    closed: bool = False
    refunds: Mapping[str, Refund] = field(default_factory=dict)
    """By refund number."""

    def with_payment(self) -> Self:
        """It was paid, in full."""
        return replace(self, paid=True)

    def with_closing(self) -> Self:
        """It was given up unpaid."""
        return replace(self, closed=True)

    def with_refund(self, refund_no: str, refund: Refund) -> Self:
        """Something was learned about a refund."""
        known = self.refunds.get(refund_no)
        joined = refund if known is None else known.joined(refund)
        return replace(self, refunds={**self.refunds, refund_no: joined})

    @property
    def refunded(self) -> int:
        """What went back for certain."""
        return self._sum({RefundState.REFUNDED})

    @property
    def committed(self) -> int:
        """What went back, or is on its way: no refund may go beyond the amount."""
        return self._sum({RefundState.REFUNDED, *PENDING})

    @property
    def has_questions(self) -> bool:
        """Whether the provider could still tell us something that we wait for."""
        return not (self.paid or self.closed) or bool(self.waiting)

    @property
    def waiting(self) -> frozenset[str]:
        """Refunds of which the provider has not said the last word."""
        open_ = {RefundState.HEARD, *PENDING}
        return frozenset(number for number, refund in self.refunds.items() if refund.state in open_)

    @property
    def state(self) -> PaymentState:
        """Where the payment stands."""
        if not self.paid:
            return PaymentState.CLOSED if self.closed else PaymentState.OPEN
        if self.refunded >= self.amount:
            return PaymentState.REFUNDED
        if any(refund.state in PENDING for refund in self.refunds.values()):
            return PaymentState.REFUNDING
        return PaymentState.PARTIALLY_REFUNDED if self.refunded else PaymentState.PAID

    def transitions_to(self, later: Account) -> list[str]:
        """What became true between here and there, in the order in which it is told."""
        told = [name for name in ("paid", "closed") if getattr(later, name) > getattr(self, name)]
        told += [
            f"refund.{refund.state}:{refund_no}"
            for refund_no, refund in later.refunds.items()
            if refund_no not in self.refunds or self.refunds[refund_no].state is not refund.state
        ]
        return told

    def _sum(self, states: set[RefundState]) -> int:
        return sum(each.amount or 0 for each in self.refunds.values() if each.state in states)
