"""What backends ask for: to expect a payment, and to give money back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from sqlalchemy import Connection, update

from models.batches import insert_into
from models.errors import DatabaseUnavailable, IdempotencyConflict, InvalidValue, NotFound, ZjjError
from models.group_commit import Transaction
from models.jobs import NewJob, insert_jobs
from models.payments.states import PaymentState, Refund, RefundState
from models.payments.views import (
    PaymentView,
    RefundView,
    find_order,
    find_refund,
    payment_of,
)
from models.tables import payments, refunds

__all__ = ["NewPayment", "NewRefund", "OrderNo", "RefundNo", "write_payments", "write_refunds"]

OrderNo = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_\-|*]{6,32}$"),
    Field(examples=["order-0000000000001"]),
]
"""A merchant's own number of an order; the characters are WeChat Pay's (``out_trade_no``)."""
RefundNo = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_\-|*]{6,32}$"),
    Field(examples=["refund-0000000000001"]),
]
"""A merchant's own number of a refund (``out_refund_no``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPayment:
    """A payment that a backend expects."""

    id: str
    backend: str
    channel: str
    merchant: str
    order_no: str
    amount: int
    """Fen, more than 0."""
    currency: str
    expires_at: dt.datetime
    ask_at: dt.datetime
    """When the provider is asked first, should nothing be heard."""
    created_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRefund:
    """Money that a backend wants to give back, with the job that does it."""

    id: str
    backend: str
    channel: str
    merchant: str
    order_no: str
    refund_no: str
    amount: int
    """Fen, more than 0."""
    reason: str
    ask_at: dt.datetime
    """When the provider is asked first what became of it."""
    job: NewJob
    created_at: dt.datetime


def write_payments(
    transaction: Transaction, new: Sequence[NewPayment]
) -> list[PaymentView | ZjjError]:
    """Expect payments, as a group commit write; an order number is expected once.

    Returns:
        For each the payment, which is the earlier one if it was the same, or an
        IdempotencyConflict if the earlier one was another.
    """
    return [_expect(transaction.connection, each) for each in new]


def write_refunds(
    transaction: Transaction, new: Sequence[NewRefund]
) -> list[RefundView | ZjjError]:
    """Take on refunds with their jobs, as a group commit write; a refund number is used once.

    Returns:
        For each the refund, which is the earlier one if it was the same, or an error: NotFound
        (no such payment), IdempotencyConflict (the number was used for something else),
        InvalidValue (``payment.not_paid``, ``refund.too_much``).
    """
    return [_take_on(transaction.connection, each) for each in new]


def _expect(connection: Connection, new: NewPayment) -> PaymentView | ZjjError:
    connection.execute(
        insert_into(connection.dialect.name, payments)
        .values(
            **asdict(new),
            state=PaymentState.OPEN,
            refunded=0,
            flagged=False,
            version=0,
            asked=0,
            updated_at=new.created_at,
        )
        .on_conflict_do_nothing()
    )
    stored = find_order(connection, new.merchant, new.order_no)
    if stored is None:
        return DatabaseUnavailable("the payment cannot be seen yet")
    wanted = (new.backend, new.channel, new.amount, new.currency, new.expires_at)
    if wanted != (
        stored.backend,
        stored.channel,
        stored.amount,
        stored.currency,
        stored.expires_at,
    ):
        return IdempotencyConflict("this order number was used before for another payment")
    return stored


def _take_on(connection: Connection, new: NewRefund) -> RefundView | ZjjError:
    # The version moves first, which also locks the payment: no two refunds look at one sum.
    locked: Any = connection.execute(
        update(payments)
        .where(
            payments.c.backend == new.backend,
            payments.c.channel == new.channel,
            payments.c.merchant == new.merchant,
            payments.c.order_no == new.order_no,
        )
        .values(version=payments.c.version + 1)
        .returning(payments.c.id)
    ).one_or_none()
    if locked is None:
        return NotFound("no such payment")
    earlier = find_refund(connection, new.backend, new.refund_no)
    if earlier is not None:
        same = (earlier.payment_id, earlier.amount, earlier.reason)
        if same == (locked.id, new.amount, new.reason):
            return earlier
        return IdempotencyConflict("this refund number was used before for another refund")
    payment = payment_of(connection, locked.id)
    assert payment is not None  # noqa: S101 - it is locked
    account = payment.account
    if not account.paid:
        return InvalidValue("the payment has not been paid", code="payment.not_paid")
    if account.committed + new.amount > account.amount:
        return InvalidValue("the refunds would be more than what was paid", code="refund.too_much")
    values = {name: value for name, value in asdict(new).items() if name in refunds.c}
    connection.execute(
        refunds.insert().values(
            **values,
            payment_id=payment.id,
            state=RefundState.REQUESTED,
            job_id=new.job.id,
            updated_at=new.created_at,
        )
    )
    later = account.with_refund(new.refund_no, Refund(RefundState.REQUESTED, new.amount))
    connection.execute(
        update(payments)
        .where(payments.c.id == payment.id)
        .values(state=later.state, asked=0, ask_at=new.ask_at, updated_at=new.created_at)
    )
    insert_jobs(connection, [new.job])
    stored = find_refund(connection, new.backend, new.refund_no)
    assert stored is not None  # noqa: S101 - it was stored a moment ago
    return stored
