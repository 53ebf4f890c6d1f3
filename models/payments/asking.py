"""When providers are asked about payments of which nothing was heard: callbacks do get lost."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, literal, select, update

from models.tables import payments

__all__ = ["PaymentToAsk", "any_to_ask", "expected_before", "next_question", "take_to_ask"]

_LONGEST = 120
"""So many times the first pause, and no pause is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentToAsk:
    """A payment about which its provider should be asked now."""

    id: str
    backend: str
    channel: str
    merchant: str
    order_no: str
    asked: int
    expires_at: dt.datetime


def next_question(
    asked: int, now: dt.datetime, expires_at: dt.datetime, *, pause: dt.timedelta
) -> dt.datetime:
    """When to ask after the question numbered ``asked``: pauses double, and none skips the expiry.

    Args:
        asked: 1 for the first question.
        pause: Before the second question.
    """
    at = now + min(pause * 2 ** min(asked - 1, 20), pause * _LONGEST)
    return expires_at if now < expires_at < at else at


def any_to_ask(connection: Connection, *, now: dt.datetime) -> bool:
    """Whether :func:`take_to_ask` would find something; a read that locks nothing."""
    due = select(literal(1)).where(payments.c.ask_at <= now).limit(1)
    return connection.execute(due).first() is not None


def expected_before(connection: Connection, merchant: str, moment: dt.datetime) -> bool:
    """Whether a payment of this merchant's was expected already then."""
    earlier = (payments.c.merchant == merchant) & (payments.c.created_at < moment)
    return connection.execute(select(literal(1)).where(earlier).limit(1)).first() is not None


def take_to_ask(
    connection: Connection, *, now: dt.datetime, pause: dt.timedelta, limit: int = 100
) -> list[PaymentToAsk]:
    """Payments about which to ask now, longest waiting first; the next question is set at once."""
    rows = connection.execute(
        select(
            payments.c.id,
            payments.c.backend,
            payments.c.channel,
            payments.c.merchant,
            payments.c.order_no,
            payments.c.asked,
            payments.c.expires_at,
        )
        .where(payments.c.ask_at <= now)
        .order_by(payments.c.ask_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).mappings()
    due = [PaymentToAsk(**row) for row in rows]
    for each in due:
        asked = each.asked + 1
        connection.execute(
            update(payments)
            .where(payments.c.id == each.id)
            .values(
                asked=asked,
                ask_at=next_question(asked, now, each.expires_at, pause=pause),
            )
        )
    return due
