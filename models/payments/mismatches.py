"""What a person must look at: money that does not fit what was expected."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, select, update

from models.audits import Audit, write_audits
from models.batches import insert_into
from models.identifiers import new_id
from models.tables import payment_mismatches

__all__ = [
    "Mismatch",
    "MismatchReason",
    "MismatchView",
    "is_known",
    "list_mismatches",
    "raise_mismatch",
    "resolve_mismatch",
]


class MismatchReason(StrEnum):
    """What does not fit."""

    UNKNOWN_ORDER = "unknown_order"
    WRONG_AMOUNT = "wrong_amount"
    WRONG_CURRENCY = "wrong_currency"
    WRONG_MERCHANT = "wrong_merchant"
    WRONG_APP = "wrong_app"
    PAID_AFTER_CLOSING = "paid_after_closing"
    CLOSED_AFTER_PAYING = "closed_after_paying"
    UNKNOWN_REFUND = "unknown_refund"
    """The provider says that money went back, and nobody can say by which refund."""
    WRONG_REFUND_AMOUNT = "wrong_refund_amount"
    REFUND_TOO_MUCH = "refund_too_much"
    BILL_UNKNOWN_PAYMENT = "bill_unknown_payment"
    BILL_WRONG_AMOUNT = "bill_wrong_amount"
    BILL_MISSING_PAYMENT = "bill_missing_payment"
    BILL_UNKNOWN_REFUND = "bill_unknown_refund"
    BILL_WRONG_REFUND = "bill_wrong_refund"
    BILL_MISSING_REFUND = "bill_missing_refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One thing that does not fit. Amounts are whole fen."""

    backend: str
    channel: str
    merchant: str
    order_no: str | None
    reason: MismatchReason
    refund_no: str | None = None
    expected: int | None = None
    received: int | None = None
    told: bool = True
    """Whether the backend hears of it: not while all that speaks for it can be read in two ways."""

    @property
    def mark(self) -> str:
        """The same for the same thing: it is put before a person once."""
        parts = (self.channel, self.merchant, self.order_no, self.refund_no, self.reason)
        return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchView(Mismatch):
    """A mismatch on record."""

    id: str
    at: dt.datetime
    resolved_at: dt.datetime | None
    resolved_by: str | None
    resolution: str | None


def is_known(connection: Connection, mismatch: Mismatch) -> bool:
    """Whether the same thing waits for a person already, and the backend has heard as much."""
    told = connection.scalar(select(payment_mismatches.c.told).where(_waiting(mismatch)))
    return told is not None and told >= mismatch.told


def raise_mismatch(connection: Connection, mismatch: Mismatch, *, at: dt.datetime) -> bool:
    """Put it before a person; False when it :func:`is_known`."""
    row = {
        "id": new_id(),
        "mark": mismatch.mark,
        "at": at,
        **{name: getattr(mismatch, name) for name in _PLAIN},
    }
    inserted = connection.scalar(
        insert_into(connection.dialect.name, payment_mismatches)
        .values(row)
        .on_conflict_do_nothing()
        .returning(payment_mismatches.c.id)
    )
    if inserted is not None or not mismatch.told:
        return inserted is not None
    louder = connection.execute(
        update(payment_mismatches)
        .where(_waiting(mismatch), payment_mismatches.c.told.is_(False))
        .values(told=True, expected=mismatch.expected, received=mismatch.received)
    )
    return bool(louder.rowcount)


def _waiting(mismatch: Mismatch) -> ColumnElement[bool]:
    table = payment_mismatches.c
    return (table.mark == mismatch.mark) & table.resolved_at.is_(None)


def list_mismatches(
    connection: Connection, *, resolved: bool = False, limit: int = 200
) -> list[MismatchView]:
    """What waits for a person, oldest first; or what has been resolved, newest first."""
    table = payment_mismatches.c
    query = select(payment_mismatches).limit(limit)
    if resolved:
        query = query.where(table.resolved_at.is_not(None)).order_by(table.resolved_at.desc())
    else:
        query = query.where(table.resolved_at.is_(None)).order_by(table.at, table.id)
    return [
        MismatchView(
            **{name: getattr(row, name) for name in (*_PLAIN, *_KEPT) if name != "reason"},
            reason=MismatchReason(row.reason),
        )
        for row in connection.execute(query)
    ]


def resolve_mismatch(
    connection: Connection, mismatch_id: str, *, actor: str, reason: str, now: dt.datetime
) -> bool:
    """Note that a person has dealt with it, and how; nobody is told "paid" by this.

    Returns:
        False when there is no such mismatch that still waits.
    """
    changed = connection.execute(
        update(payment_mismatches)
        .where(payment_mismatches.c.id == mismatch_id, payment_mismatches.c.resolved_at.is_(None))
        .values(resolved_at=now, resolved_by=actor, resolution=reason)
    ).rowcount
    if changed:
        write_audits(
            connection,
            Audit(
                at=now,
                actor=actor,
                action="mismatch.resolve",
                target=mismatch_id,
                reason=reason,
            ),
        )
    return bool(changed)


_PLAIN = (
    "backend",
    "channel",
    "merchant",
    "order_no",
    "refund_no",
    "reason",
    "expected",
    "received",
    "told",
)
_KEPT = ("id", "at", "resolved_at", "resolved_by", "resolution")
