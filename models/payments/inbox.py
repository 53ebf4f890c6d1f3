"""Notifications of payment providers, kept once, each with the job that works through it.

The row says that a notification came, not what is in it: its body is the sealed payload of the job
and is forgotten like any other.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.sql.dml import ReturningInsert

from models.batches import insert_into
from models.group_commit import Transaction
from models.jobs import NewJob, insert_jobs
from models.tables import payment_notifications

__all__ = ["NewNotification", "notification_digest", "prune_notifications", "write_notifications"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNotification:
    """An authenticated notification with the job for it."""

    digest: str
    """From :func:`notification_digest`."""
    channel: str
    merchant: str
    job: NewJob
    received_at: dt.datetime


def notification_digest(channel: str, merchant: str, notification_id: str) -> str:
    """What two deliveries of one notification have in common; SHA-256, hexadecimal."""
    return hashlib.sha256(f"{channel}\n{merchant}\n{notification_id}".encode()).hexdigest()


def write_notifications(transaction: Transaction, new: Sequence[NewNotification]) -> list[bool]:
    """Keep notifications with their jobs, as a group commit write.

    Returns:
        For each whether it is new; one that came before is kept once and leaves one job.
    """
    connection = transaction.connection
    # In one order everywhere: two batches that share some cannot lock each other out.
    kept = {id(each): _keep(connection, each) for each in sorted(new, key=lambda n: n.digest)}
    fresh = [each.job for each in new if kept[id(each)]]
    if fresh:
        insert_jobs(connection, fresh)
    return [kept[id(each)] for each in new]


def _keep(connection: Connection, new: NewNotification) -> bool:
    row = {
        "digest": new.digest,
        "channel": new.channel,
        "merchant": new.merchant,
        "job_id": new.job.id,
        "received_at": new.received_at,
    }
    return connection.scalar(_keeping(connection.dialect.name), row) is not None


@cache
def _keeping(dialect: str) -> ReturningInsert[Any]:
    # Not every driver counts the rows of an INSERT, so the row itself says whether it is new.
    known = insert_into(dialect, payment_notifications).on_conflict_do_nothing()
    statement: ReturningInsert[Any] = known.returning(payment_notifications.c.digest)
    return statement


def prune_notifications(connection: Connection, *, before: dt.datetime, limit: int = 500) -> int:
    """Delete rows of notifications so old that no provider repeats them; returns how many."""
    old = connection.scalars(
        select(payment_notifications.c.digest)
        .where(payment_notifications.c.received_at < before)
        .limit(limit)
    ).all()
    if not old:
        return 0
    return connection.execute(
        delete(payment_notifications).where(payment_notifications.c.digest.in_(old))
    ).rowcount
