"""Taking jobs: the claim, its fencing token, and the heartbeats that keep it alive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from models.batches import among, insert_into, picked_once
from models.group_commit import Transaction, may_be_lost
from models.pauses import Scope, in_force
from models.states import CLAIMABLE, Event, State, next_state
from models.tables import jobs, pauses, waiting, workers

__all__ = ["Claim", "ClaimRequest", "Worker", "beat", "cut_short", "sign_off", "write_claims"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A worker asks for one job."""

    job_id: str
    worker_id: str
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job in a worker's hands; only a settle with this fence counts."""

    job_id: str
    kind: str
    backend: str
    fence: int
    attempt: int
    claims: int
    sealed: bytes | None
    bucket: str | None
    policy_version: str
    subject: str | None
    consent_ref: str | None
    guardian_ref: str | None
    nonce: str | None
    expires_at: dt.datetime | None
    created_at: dt.datetime
    claimed_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker process."""

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    started_at: dt.datetime


@may_be_lost
def write_claims(transaction: Transaction, requests: Sequence[ClaimRequest]) -> list[Claim | None]:
    """Claim what is due and free, as a group commit write.

    A claim that a power cut undoes leaves the job waiting as before, and its holder's fence old:
    nothing can be disclosed on its behalf any more.

    Returns:
        A claim, or None: settled, claimed by another worker, not due, of a paused queue, or past
        its expiry (which is settled as ``expired`` on the spot).
    """
    connection = transaction.connection
    now = max(request.at for request in requests)
    claims: dict[tuple[str, str], Claim] = {}
    for worker_id in dict.fromkeys(request.worker_id for request in requests):
        wanted = {request.job_id for request in requests if request.worker_id == worker_id}
        found = _claim(connection, wanted, worker_id, now)
        if transaction.repeated and len(found) < len(wanted):
            found += _claimed_before(connection, wanted, worker_id, now)
        claims |= {(claim.job_id, worker_id): claim for claim in found}
    missed = {request.job_id for request in requests} - {job_id for job_id, _ in claims}
    if missed:
        expire(connection, now, missed)
    # A job that is asked for twice in one batch is given out once.
    return [claims.pop((request.job_id, request.worker_id), None) for request in requests]


_COLUMNS = (
    jobs.c.id,
    jobs.c.kind,
    jobs.c.backend,
    jobs.c.fence,
    jobs.c.attempts,
    jobs.c.claims,
    jobs.c.sealed,
    jobs.c.bucket,
    jobs.c.policy_version,
    jobs.c.subject,
    jobs.c.consent_ref,
    jobs.c.guardian_ref,
    jobs.c.nonce,
    jobs.c.expires_at,
    jobs.c.created_at,
)


@cache
def _claiming(dialect: str) -> ReturningUpdate[Any]:
    now = bindparam("now", type_=jobs.c.run_at.type)
    paused = select(pauses.c.name).where(pauses.c.scope == Scope.QUEUE, in_force(now))
    free = (
        select(jobs.c.id)
        .where(
            among(dialect, jobs.c.id, "ids"),
            or_(*(jobs.c.state == state for state in CLAIMABLE)),
            jobs.c.run_at <= now,
            or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > now),
            jobs.c.queue.not_in(paused),
        )
        .with_for_update(skip_locked=True, of=jobs)
    )
    return (
        update(jobs)
        .where(jobs.c.id.in_(free))
        .values(
            state=State.RUNNING,
            attempts=jobs.c.attempts + 1,
            claims=jobs.c.claims + 1,
            fence=jobs.c.fence + 1,
            asked=0,
            claimed_by=bindparam("worker"),
            claimed_at=now,
            updated_at=now,
        )
        .returning(*_COLUMNS)
    )


def _claim(
    connection: Connection, job_ids: Collection[str], worker_id: str, now: dt.datetime
) -> list[Claim]:
    rows = connection.execute(
        _claiming(connection.dialect.name),
        {"ids": list(job_ids), "worker": worker_id, "now": now},
    )
    return _claims(rows, now)


def _claimed_before(
    connection: Connection, job_ids: Collection[str], worker_id: str, now: dt.datetime
) -> list[Claim]:
    """What the same batch claimed when its COMMIT was cut off."""
    rows = connection.execute(
        select(*_COLUMNS).where(
            jobs.c.id.in_(job_ids),
            jobs.c.state == State.RUNNING,
            jobs.c.claimed_by == worker_id,
            jobs.c.claimed_at == now,
        )
    )
    return _claims(rows, now)


def _claims(rows: Iterable[Any], now: dt.datetime) -> list[Claim]:
    return [
        Claim(
            job_id=row.id,
            kind=row.kind,
            backend=row.backend,
            fence=row.fence,
            attempt=row.attempts,
            claims=row.claims,
            sealed=row.sealed,
            bucket=row.bucket,
            policy_version=row.policy_version,
            subject=row.subject,
            consent_ref=row.consent_ref,
            guardian_ref=row.guardian_ref,
            nonce=row.nonce,
            expires_at=row.expires_at,
            created_at=row.created_at,
            claimed_at=now,
        )
        for row in rows
    ]


def expire(
    connection: Connection,
    now: dt.datetime,
    job_ids: Collection[str] | None = None,
    *,
    limit: int = 1000,
) -> int:
    """Settle waiting jobs whose lifetime is over, and erase their payloads.

    Args:
        job_ids: Only these; else any, at most ``limit`` of them.

    Returns:
        How many expired.
    """
    due = select(jobs.c.id).where(
        waiting,
        jobs.c.expires_at <= now,
    )
    due = due.where(jobs.c.id.in_(job_ids)) if job_ids is not None else due.limit(limit)
    expired = connection.execute(
        update(jobs)
        .where(picked_once(jobs.c.id, due.with_for_update(skip_locked=True)))
        .values(
            state=next_state(State.QUEUED, Event.EXPIRE),
            reason="expired",
            sealed=None,
            settled_at=now,
            updated_at=now,
        )
        .returning(jobs.c.id)
    )
    return len(expired.all())


def cut_short(
    connection: Connection, job_ids: Collection[str], *, now: dt.datetime, claimed: bool = True
) -> None:
    """End the lifetimes of jobs that nobody needs any more.

    One that waits is expired on the spot. One in a worker's hands goes on as far as it gets, and
    one that has failed stays so: neither is begun again.

    Args:
        claimed: False to leave alone what a worker holds.
    """
    open_states = {*CLAIMABLE, State.SCHEDULED, State.FAILED, State.UNKNOWN}
    if claimed:
        open_states.add(State.RUNNING)
    # What somebody is settling at this moment is not waited for: two such waits could cross.
    found = (
        select(jobs.c.id)
        .where(
            jobs.c.id.in_(job_ids),
            jobs.c.state.in_(open_states),
            or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > now),
        )
        .with_for_update(skip_locked=True)
    )
    connection.execute(
        update(jobs).where(picked_once(jobs.c.id, found)).values(expires_at=now, updated_at=now)
    )
    expire(connection, now, job_ids)


def beat(connection: Connection, worker: Worker, *, now: dt.datetime) -> None:
    """Show that a worker lives: one row for all its claims."""
    connection.execute(
        insert_into(connection.dialect.name, workers)
        .values(
            id=worker.id,
            host=worker.host,
            pid=worker.pid,
            queues=list(worker.queues),
            started_at=worker.started_at,
            seen_at=now,
            beats=1,
        )
        .on_conflict_do_update(
            index_elements=[workers.c.id], set_={"seen_at": now, "beats": workers.c.beats + 1}
        )
    )


def sign_off(connection: Connection, worker_id: str, *, now: dt.datetime) -> None:
    """A worker stops, or was seen to be dead: its claims are orphans from now on."""
    connection.execute(
        update(workers)
        .where(workers.c.id == worker_id, workers.c.stopped_at.is_(None))
        .values(stopped_at=now)
    )
