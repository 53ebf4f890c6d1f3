"""Pauses: a queue or a recipient that is to be left alone for a while.

A paused queue's jobs are not claimed; a paused recipient's jobs are handed back uncounted by
whoever claims them (a job row does not know its recipient). Either way nothing is lost, and a
lifetime goes on running.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, delete, or_, select, update

from models.audits import Audit, write_audits
from models.batches import insert_into
from models.states import State
from models.tables import jobs, pauses

__all__ = [
    "RECIPIENT_PAUSED",
    "Pause",
    "Scope",
    "bring_forward",
    "in_force",
    "is_paused",
    "list_pauses",
    "pause",
    "resume",
]

RECIPIENT_PAUSED = "recipient.paused"
"""Reason of a job that was handed back because its recipient is paused."""


class Scope(StrEnum):
    """What can be paused."""

    QUEUE = "queue"
    RECIPIENT = "recipient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A queue or recipient at rest."""

    scope: Scope
    name: str
    since: dt.datetime
    until: dt.datetime | None
    """It ends by itself then; None for until somebody resumes it."""
    actor: str
    reason: str


def in_force(now: ColumnElement[dt.datetime] | dt.datetime) -> ColumnElement[bool]:
    """Condition on the table: the pause has not ended."""
    return or_(pauses.c.until.is_(None), pauses.c.until > now)


def is_paused(connection: Connection, scope: Scope, name: str, *, now: dt.datetime) -> bool:
    """Whether a queue or recipient is to be left alone."""
    found = select(pauses.c.name).where(
        pauses.c.scope == scope, pauses.c.name == name, in_force(now)
    )
    return connection.execute(found).first() is not None


def list_pauses(connection: Connection, *, now: dt.datetime) -> list[Pause]:
    """Pauses in force, by scope and name."""
    rows = connection.execute(
        select(pauses).where(in_force(now)).order_by(pauses.c.scope, pauses.c.name)
    )
    return [
        Pause(
            scope=Scope(row.scope),
            name=row.name,
            since=row.since,
            until=row.until,
            actor=row.actor,
            reason=row.reason,
        )
        for row in rows
    ]


def pause(connection: Connection, wanted: Pause) -> bool:
    """Begin a pause, with an audit; False when it was paused already, which stays as it is."""
    statement = insert_into(connection.dialect.name, pauses).values(
        scope=wanted.scope,
        name=wanted.name,
        since=wanted.since,
        until=wanted.until,
        actor=wanted.actor,
        reason=wanted.reason,
    )
    taken = connection.execute(
        statement.on_conflict_do_update(
            index_elements=[pauses.c.scope, pauses.c.name],
            set_={name: statement.excluded[name] for name in ("since", "until", "actor", "reason")},
            where=pauses.c.until <= wanted.since,
        ).returning(pauses.c.name)
    ).first()
    if taken is not None:
        write_audits(
            connection,
            Audit(
                at=wanted.since,
                actor=wanted.actor,
                action=f"{wanted.scope}.pause",
                target=wanted.name,
                reason=wanted.reason,
            ),
        )
    return taken is not None


def resume(
    connection: Connection,
    scope: Scope,
    name: str,
    *,
    actor: str,
    reason: str,
    now: dt.datetime,
) -> bool:
    """End a pause, with an audit, and bring its jobs forward; False when there was none."""
    ended = connection.execute(
        delete(pauses).where(pauses.c.scope == scope, pauses.c.name == name)
    ).rowcount
    if not ended:
        return False
    if scope is Scope.QUEUE:
        # Their messages were spent on refused claims: have them rung for again.
        connection.execute(
            update(jobs)
            .where(jobs.c.state == State.QUEUED, jobs.c.queue == name)
            .values(dispatched_at=None)
        )
    else:
        bring_forward(connection, now=now)
    write_audits(
        connection,
        Audit(at=now, actor=actor, action=f"{scope}.resume", target=name, reason=reason),
    )
    return True


def bring_forward(
    connection: Connection, *, now: dt.datetime, beyond: dt.timedelta = dt.timedelta(0)
) -> int:
    """Let jobs that wait for a paused recipient be tried now; returns how many.

    Those of a recipient that is still paused are handed back again.

    Args:
        beyond: Only jobs that would wait longer than this.
    """
    return connection.execute(
        update(jobs)
        .where(
            jobs.c.state == State.RETRYING,
            jobs.c.reason == RECIPIENT_PAUSED,
            jobs.c.run_at > now + beyond,
        )
        .values(run_at=now)
    ).rowcount
