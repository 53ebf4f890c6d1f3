"""Payments and refunds as they stand: reading, without a lock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from models.payments.states import Account, PaymentState, Refund, RefundState
from models.tables import payments, refunds

__all__ = [
    "PaymentView",
    "RefundView",
    "find_order",
    "find_payment",
    "find_refund",
    "payment_of",
    "payments_paid",
    "payments_under",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundView:
    """A refund as anybody may see it."""

    id: str
    payment_id: str
    backend: str
    channel: str
    merchant: str
    refund_no: str
    amount: int | None
    """Fen; None while only heard of."""
    reason: str | None
    """None for a refund that was not asked for here."""
    state: RefundState
    provider_no: str | None
    job_id: str | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentView:
    """A payment as anybody may see it."""

    id: str
    backend: str
    channel: str
    merchant: str
    order_no: str
    amount: int
    """Fen."""
    currency: str
    expires_at: dt.datetime
    state: PaymentState
    paid_at: dt.datetime | None
    closed_at: dt.datetime | None
    provider_no: str | None
    refunded: int
    """Fen that went back for certain."""
    flagged: bool
    """A person was asked to look at it."""
    version: int
    """Moves with every change; a change that was decided upon an older one is refused."""
    asked: int
    ask_at: dt.datetime | None
    """When the provider will be asked about it."""
    created_at: dt.datetime
    updated_at: dt.datetime
    refunds: tuple[RefundView, ...] = ()

    @property
    def account(self) -> Account:
        """The sum of what is known."""
        return Account(
            amount=self.amount,
            paid=self.paid_at is not None,
            closed=self.closed_at is not None,
            refunds={each.refund_no: Refund(each.state, each.amount) for each in self.refunds},
        )

    def refund(self, refund_no: str) -> RefundView | None:
        """One of its refunds."""
        return next((each for each in self.refunds if each.refund_no == refund_no), None)


def find_payment(
    connection: Connection, channel: str, merchant: str, order_no: str
) -> PaymentView | None:
    """The payment that a provider speaks of, or None."""
    wanted = {"channel": channel, "merchant": merchant, "order_no": order_no}
    found = _payments(connection, _OF_CHANNEL, wanted)
    return found[0] if found else None


def find_order(connection: Connection, merchant: str, order_no: str) -> PaymentView | None:
    """The payment for a merchant's order, whatever its channel: there is one, or None."""
    found = _payments(connection, _OF_MERCHANT, {"merchant": merchant, "order_no": order_no})
    return found[0] if found else None


def payment_of(connection: Connection, payment_id: str) -> PaymentView | None:
    """The payment with our id, or None."""
    found = _payments(connection, _BY_ID, {"id": payment_id})
    return found[0] if found else None


def payments_under(connection: Connection, backend: str, order_no: str) -> list[PaymentView]:
    """A backend's payments under one order number: one for each channel that was offered."""
    return _payments(connection, _OF_BACKEND, {"backend": backend, "order_no": order_no})


def payments_paid(
    connection: Connection, channel: str, merchant: str, begin: dt.datetime, end: dt.datetime
) -> list[PaymentView]:
    """What a merchant was paid in ``[begin, end)``, or gave back then."""
    back = select(refunds.c.payment_id).where(
        refunds.c.channel == channel,
        refunds.c.merchant == merchant,
        refunds.c.updated_at >= begin,
        refunds.c.updated_at < end,
    )
    paid = (payments.c.paid_at >= begin) & (payments.c.paid_at < end)
    of_merchant = (payments.c.channel == channel) & (payments.c.merchant == merchant)
    return _payments(
        connection, select(payments).where(of_merchant, paid | payments.c.id.in_(back)), {}
    )


def find_refund(connection: Connection, backend: str, refund_no: str) -> RefundView | None:
    """A backend's refund; one that it asked for before one that was only heard of."""
    row = connection.execute(
        select(refunds)
        .where(refunds.c.backend == backend, refunds.c.refund_no == refund_no)
        .order_by(refunds.c.job_id.is_(None), refunds.c.created_at)
        .limit(1)
    ).one_or_none()
    return None if row is None else _refund(row)


_READ_AT_ONCE = 500


def _where(*names: str) -> Select[Any]:
    """Built once: every callback and every question looks."""
    return (
        select(payments)
        .where(*(payments.c[name] == bindparam(name) for name in names))
        .order_by(payments.c.created_at)
    )


_BY_ID = _where("id")
_OF_CHANNEL = _where("channel", "merchant", "order_no")
_OF_MERCHANT = _where("merchant", "order_no")
_OF_BACKEND = _where("backend", "order_no")
_REFUNDS = (
    select(refunds)
    .where(refunds.c.payment_id.in_(bindparam("payments", expanding=True)))
    .order_by(refunds.c.created_at, refunds.c.refund_no)
)


def _payments(
    connection: Connection, wanted: Select[Any], parameters: Mapping[str, str]
) -> list[PaymentView]:
    rows = connection.execute(wanted, parameters).all()
    backs: dict[str, list[RefundView]] = {}
    for start in range(0, len(rows), _READ_AT_ONCE):
        page: Sequence[Any] = rows[start : start + _READ_AT_ONCE]
        found = connection.execute(_REFUNDS, {"payments": [row.id for row in page]})
        for row in found:
            backs.setdefault(row.payment_id, []).append(_refund(row))
    return [
        PaymentView(
            **{**row._asdict(), "state": PaymentState(row.state)},
            refunds=tuple(backs.get(row.id, ())),
        )
        for row in rows
    ]


def _refund(row: Any) -> RefundView:
    return RefundView(**{**row._asdict(), "state": RefundState(row.state)})
