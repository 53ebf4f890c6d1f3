"""What keeps jobs moving when something failed: due jobs, lost dispatches, orphans, old rows.

Every function is one short transaction's work, safe to run from many workers at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, literal, or_, select, update

from models.batches import picked_once
from models.sealing import bucket_of, destroy_bucket
from models.settlement import open_disclosures
from models.states import SETTLED, State
from models.tables import attempts, coming, data_keys, jobs, waiting, workers

__all__ = [
    "Orphan",
    "WorkerRow",
    "any_due",
    "any_expired",
    "any_undispatched",
    "count_waiting",
    "destroy_past_buckets",
    "find_orphans",
    "forget_dispatch",
    "list_workers",
    "lost_claims",
    "promote_due",
    "prune_jobs",
    "prune_workers",
    "take_undispatched",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A running job that nobody works on."""

    job_id: str
    fence: int
    attempt: int
    claims: int
    worker_id: str
    claimed_at: dt.datetime
    open_disclosures: tuple[str, ...]
    """Ids of disclosures whose bytes may have left: non-empty means the outcome is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker as the database knows it."""

    id: str
    host: str
    pid: int
    beats: int
    seen_at: dt.datetime
    stopped_at: dt.datetime | None


def any_due(connection: Connection, *, now: dt.datetime) -> bool:
    """Whether :func:`promote_due` would find something; a read that locks nothing."""
    return _any(
        connection,
        and_(coming, jobs.c.run_at <= now),
    )


def any_undispatched(connection: Connection, queue: str, *, before: dt.datetime) -> bool:
    """Whether :func:`take_undispatched` would find something; a read that locks nothing."""
    return _any(connection, _undispatched(queue, before))


def any_expired(connection: Connection, *, now: dt.datetime) -> bool:
    """Whether a waiting job's lifetime is over; a read that locks nothing."""
    return _any(connection, and_(waiting, jobs.c.expires_at <= now))


def _any(connection: Connection, condition: ColumnElement[bool]) -> bool:
    return connection.execute(select(literal(1)).where(condition).limit(1)).first() is not None


def _undispatched(queue: str, before: dt.datetime) -> ColumnElement[bool]:
    lost = or_(jobs.c.dispatched_at.is_(None), jobs.c.dispatched_at < before)
    return (jobs.c.state == State.QUEUED) & (jobs.c.queue == queue) & lost


def promote_due(
    connection: Connection, *, now: dt.datetime, limit: int = 500
) -> list[tuple[str, str]]:
    """Queue scheduled and retrying jobs whose time has come; returns (job id, queue) to dispatch."""
    due = (
        select(jobs.c.id)
        .where(coming, jobs.c.run_at <= now)
        .order_by(jobs.c.run_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(
        update(jobs)
        .where(picked_once(jobs.c.id, due))
        .values(state=State.QUEUED, dispatched_at=now, updated_at=now)
        .returning(jobs.c.id, jobs.c.queue)
    )
    return [(row.id, row.queue) for row in rows]


def take_undispatched(
    connection: Connection, queue: str, *, before: dt.datetime, now: dt.datetime, limit: int = 500
) -> list[str]:
    """Queued jobs of a queue to be dispatched again, oldest first.

    Those whose dispatch is known to have failed, and those last dispatched before ``before``.
    """
    lost = (
        select(jobs.c.id)
        .where(_undispatched(queue, before))
        .order_by(jobs.c.run_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(
        update(jobs)
        .where(picked_once(jobs.c.id, lost))
        .values(dispatched_at=now)
        .returning(jobs.c.id, jobs.c.run_at)
    )
    return [row.id for row in sorted(rows, key=lambda row: row.run_at)]


def forget_dispatch(connection: Connection, job_ids: Collection[str]) -> None:
    """Note that the dispatch of these jobs failed."""
    connection.execute(
        update(jobs)
        .where(jobs.c.id.in_(job_ids), jobs.c.state == State.QUEUED)
        .values(dispatched_at=None)
    )


def list_workers(connection: Connection) -> list[WorkerRow]:
    """All workers that the database remembers."""
    columns = workers.c
    rows = connection.execute(
        select(
            columns.id,
            columns.host,
            columns.pid,
            columns.beats,
            columns.seen_at,
            columns.stopped_at,
        )
    ).mappings()
    return [WorkerRow(**row) for row in rows]


def find_orphans(
    connection: Connection, live_workers: Collection[str], *, limit: int = 200
) -> list[Orphan]:
    """Running jobs that no live worker holds."""
    return _orphans(connection, jobs.c.claimed_by.not_in(live_workers), limit=limit)


def lost_claims(
    connection: Connection,
    worker_id: str,
    held: Collection[str],
    *,
    before: dt.datetime,
    limit: int = 200,
) -> list[Orphan]:
    """Claims that stand under a worker's name though it works on them no more, or never did.

    The connection died while the claim was being committed, or the outcome could not be stored.

    Args:
        held: Ids of the jobs that it works on, taken before this is asked.
        before: Only claims of before this instant; a younger one may be on its way.
    """
    lost = and_(jobs.c.claimed_by == worker_id, jobs.c.claimed_at < before, jobs.c.id.not_in(held))
    return _orphans(connection, lost, limit=limit)


def _orphans(connection: Connection, whose: ColumnElement[bool], *, limit: int) -> list[Orphan]:
    rows = connection.execute(
        select(
            jobs.c.id,
            jobs.c.fence,
            jobs.c.attempts,
            jobs.c.claims,
            jobs.c.claimed_by,
            jobs.c.claimed_at,
        )
        .where(jobs.c.state == State.RUNNING, whose)
        .order_by(jobs.c.claimed_at)
        .limit(limit)
    ).all()
    opened = open_disclosures(connection, {row.id: row.fence for row in rows}) if rows else {}
    return [
        Orphan(
            job_id=row.id,
            fence=row.fence,
            attempt=row.attempts,
            claims=row.claims,
            worker_id=row.claimed_by,
            claimed_at=row.claimed_at,
            open_disclosures=tuple(opened.get(row.id, ())),
        )
        for row in rows
    ]


def destroy_past_buckets(connection: Connection, *, now: dt.datetime) -> list[str]:
    """Destroy the keys of buckets whose day is over, and a batch of payloads of each.

    Returns:
        The buckets that were not noted as destroyed before; none once all is gone.
    """
    past = connection.scalars(
        select(data_keys.c.bucket).where(
            data_keys.c.bucket < bucket_of(now), data_keys.c.destroyed_at.is_(None)
        )
    ).all()
    for bucket in past:
        destroy_bucket(connection, bucket, now=now)
    return list(past)


def prune_jobs(connection: Connection, *, settled_before: dt.datetime, limit: int = 500) -> int:
    """Delete long settled jobs and their attempts; disclosures stay, they have their own term.

    Unknown jobs are never pruned, because they wait for somebody; but those that have forgotten
    their payload wait for nobody.
    """
    old = connection.scalars(
        select(jobs.c.id)
        .where(
            jobs.c.state.in_(SETTLED),
            or_(jobs.c.state != State.UNKNOWN, jobs.c.forgets),
            jobs.c.settled_at < settled_before,
        )
        .limit(limit)
        # A replay in this very moment keeps its job.
        .with_for_update(skip_locked=True)
    ).all()
    if old:
        connection.execute(delete(attempts).where(attempts.c.job_id.in_(old)))
        connection.execute(delete(jobs).where(jobs.c.id.in_(old)))
    return len(old)


def prune_workers(connection: Connection, *, silent_since: dt.datetime) -> int:
    """Delete rows of workers that are gone for good and hold nothing."""
    holding = select(jobs.c.claimed_by).where(jobs.c.state == State.RUNNING)
    return connection.execute(
        delete(workers).where(workers.c.seen_at < silent_since, workers.c.id.not_in(holding))
    ).rowcount


def count_waiting(connection: Connection) -> dict[tuple[str, str], int]:
    """How many unsettled jobs there are, by (queue, state)."""
    rows = connection.execute(
        select(jobs.c.queue, jobs.c.state, func.count())
        .where(jobs.c.state.not_in(SETTLED))
        .group_by(jobs.c.queue, jobs.c.state)
    )
    return {(row[0], row[1]): row[2] for row in rows}
