"""How jobs have ended, for those whose backend wants to be told.

A job that announces owes its backend a word until ``announced`` is the state that it ended in. So
the settle itself is the note that something is to be told, whoever makes it: a worker, the expirer,
a cancellation, a reconciliation.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, literal, select, update

from models.states import State
from models.tables import jobs, unannounced

__all__ = ["Ending", "any_unannounced", "take_unannounced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a job has ended."""

    job_id: str
    kind: str
    backend: str
    state: State
    reason: str | None
    verdict: str | None
    """What the task concluded, if its kind concludes anything."""
    at: dt.datetime


def any_unannounced(connection: Connection) -> bool:
    """Whether :func:`take_unannounced` would find something; a read that locks nothing."""
    found = connection.execute(select(literal(1)).select_from(jobs).where(unannounced).limit(1))
    return found.first() is not None


def take_unannounced(connection: Connection, *, limit: int = 100) -> list[Ending]:
    """Ends to be told of in this transaction, oldest first; they count as told with its commit."""
    columns = (
        jobs.c.id,
        jobs.c.kind,
        jobs.c.backend,
        jobs.c.state,
        jobs.c.reason,
        jobs.c.result,
        jobs.c.settled_at,
    )
    rows = connection.execute(
        select(*columns)
        .where(unannounced)
        .order_by(jobs.c.settled_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    connection.execute(
        update(jobs).where(jobs.c.id.in_([row.id for row in rows])).values(announced=jobs.c.state)
    )
    return [
        Ending(
            job_id=row.id,
            kind=row.kind,
            backend=row.backend,
            state=State(row.state),
            reason=row.reason,
            verdict=(row.result or {}).get("verdict"),
            at=row.settled_at,
        )
        for row in rows
    ]
