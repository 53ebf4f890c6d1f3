"""Replays as rows: a batch remembers what it was to replay and what became of each job.

A job of a batch is replayed at most once: its item is closed in the transaction that puts it back
into the queue, and only if nothing has happened to it since it was chosen (its fence stands).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, exists, func, insert, select, update

from models.audits import Audit, write_audits
from models.batches import insert_into
from models.disclosures import Verdict
from models.identifiers import new_id
from models.job_search import JobFilter, conditions
from models.states import CLAIMABLE, Event, State, next_state
from models.tables import disclosures, jobs, replay_items, replays

__all__ = [
    "REPLAYABLE",
    "REPLAYED",
    "Candidate",
    "Replay",
    "cancel_jobs",
    "candidates",
    "close_item",
    "disclosed_before",
    "find_replay",
    "open_replay",
    "pending_items",
    "put_back",
    "refused_items",
    "replay_verdicts",
    "unfinished_replays",
]

REPLAYED = "replayed"
"""Verdict of a job that went back to the queue; any other is why it did not."""

REPLAYABLE = (State.FAILED, State.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What decides whether a job may be replayed."""

    id: str
    kind: str
    state: State
    fence: int
    sealed: bytes | None
    bucket: str | None
    policy_version: str
    backend: str
    subject: str | None
    consent_ref: str | None
    guardian_ref: str | None
    expires_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A batch."""

    id: str
    created_at: dt.datetime
    actor: str
    reason: str
    even_if_sent: bool
    """Unknown outcomes may be repeated: a person has accepted that somebody may be reached twice."""
    backend: str | None = None
    """Who asked for it over HTTP, so that workers carry it out; None for a person at a terminal."""
    fingerprint: str | None = None
    """What was asked for, to know a repeated request."""


def candidates(
    connection: Connection, wanted: JobFilter, *, after: str = "", limit: int = 200
) -> list[Candidate]:
    """A page of jobs to judge, oldest first."""
    rows = connection.execute(
        select(*(jobs.c[name] for name in Candidate.__slots__))
        .where(jobs.c.id > after, *conditions(wanted))
        .order_by(jobs.c.id)
        .limit(limit)
    ).mappings()
    return [Candidate(**{**row, "state": State(row["state"])}) for row in rows]


def disclosed_before(
    connection: Connection, job_ids: Collection[str]
) -> dict[str, dict[str, set[str]]]:
    """Which categories jobs have disclosed: job id to operation to categories."""
    found: dict[str, dict[str, set[str]]] = {}
    rows = connection.execute(
        select(disclosures.c.job_id, disclosures.c.operation, disclosures.c.categories).where(
            disclosures.c.job_id.in_(job_ids), disclosures.c.verdict == Verdict.ADMITTED
        )
    )
    for row in rows:
        operations = found.setdefault(row.job_id, {})
        operations.setdefault(row.operation, set()).update(row.categories)
    return found


def open_replay(connection: Connection, replay: Replay, chosen: Iterable[Candidate]) -> bool:
    """Store a batch with its items, and its audit; False when a batch of its id stands already."""
    opened = connection.execute(
        insert_into(connection.dialect.name, replays)
        .values(**{name: getattr(replay, name) for name in Replay.__slots__})
        .on_conflict_do_nothing()
    ).rowcount
    if not opened:
        return False
    items = [{"replay_id": replay.id, "job_id": job.id, "fence": job.fence} for job in chosen]
    if items:
        connection.execute(insert(replay_items), items)
    write_audits(
        connection,
        Audit(
            at=replay.created_at,
            actor=replay.actor,
            action="jobs.replay",
            target=replay.id,
            reason=replay.reason,
            detail={"jobs": len(items), "even_if_sent": replay.even_if_sent},
        ),
    )
    return True


def find_replay(connection: Connection, replay_id: str) -> Replay | None:
    """A batch by its id."""
    query = select(*(replays.c[name] for name in Replay.__slots__))
    row = connection.execute(query.where(replays.c.id == replay_id)).mappings().one_or_none()
    return None if row is None else Replay(**row)


def unfinished_replays(connection: Connection) -> list[str]:
    """Ids of batches that backends asked for and that are not done, oldest first."""
    pending = exists().where(
        replay_items.c.replay_id == replays.c.id, replay_items.c.verdict.is_(None)
    )
    return list(
        connection.scalars(
            select(replays.c.id)
            .where(replays.c.backend.is_not(None), pending)
            .order_by(replays.c.created_at)
        )
    )


def pending_items(connection: Connection, replay_id: str, *, limit: int = 200) -> list[str]:
    """Ids of jobs that the batch has not come to."""
    return list(
        connection.scalars(
            select(replay_items.c.job_id)
            .where(replay_items.c.replay_id == replay_id, replay_items.c.verdict.is_(None))
            .order_by(replay_items.c.job_id)
            .limit(limit)
        )
    )


def replay_verdicts(connection: Connection, replay_id: str) -> dict[str | None, int]:
    """How many jobs of the batch ended with which verdict; None counts those still to come."""
    rows = connection.execute(
        select(replay_items.c.verdict, func.count())
        .where(replay_items.c.replay_id == replay_id)
        .group_by(replay_items.c.verdict)
    )
    return {row[0]: row[1] for row in rows}


def refused_items(connection: Connection, replay_id: str, *, limit: int) -> list[tuple[str, str]]:
    """Jobs of the batch that were not replayed, as (id, verdict), oldest first."""
    rows = connection.execute(
        select(replay_items.c.job_id, replay_items.c.verdict)
        .where(
            replay_items.c.replay_id == replay_id,
            replay_items.c.verdict.is_not(None),
            replay_items.c.verdict != REPLAYED,
        )
        .order_by(replay_items.c.job_id)
        .limit(limit)
    )
    return [(row.job_id, row.verdict) for row in rows]


def close_item(
    connection: Connection,
    replay_id: str,
    job_id: str,
    verdict: str,
    *,
    now: dt.datetime,
    instead_of: str | None = None,
) -> bool:
    """Write down what became of an item; False when somebody else has.

    Args:
        instead_of: The verdict that it has; None while it is open.
    """
    return bool(
        connection.execute(
            update(replay_items)
            .where(
                replay_items.c.replay_id == replay_id,
                replay_items.c.job_id == job_id,
                replay_items.c.verdict.is_not_distinct_from(instead_of),
            )
            .values(verdict=verdict, at=now)
        ).rowcount
    )


def put_back(
    connection: Connection,
    replay: Replay,
    job: Candidate,
    *,
    sealed: bytes,
    policy_version: str,
    now: dt.datetime,
) -> bool:
    """Send a settled job on its way again; False when something has happened to it meanwhile.

    It keeps its id, its lifetime and its retention; its attempts begin anew, and so does what the
    recipient knows it by (the nonce). Whoever rings for undispatched jobs finds it.

    Args:
        sealed: The payload, bound to ``policy_version``.
    """
    chosen = (
        select(replay_items.c.fence)
        .where(replay_items.c.replay_id == replay.id, replay_items.c.job_id == job.id)
        .scalar_subquery()
    )
    done = connection.execute(
        update(jobs)
        .where(
            jobs.c.id == job.id,
            jobs.c.state == job.state,
            jobs.c.fence == job.fence,
            # Asking about an unknown outcome moves the fence, and changes nothing.
            jobs.c.fence - jobs.c.asked <= chosen,
            jobs.c.sealed.is_not(None),
        )
        .values(
            state=next_state(job.state, Event.REPLAY),
            sealed=sealed,
            policy_version=policy_version,
            nonce=new_id(),
            attempts=0,
            claims=0,
            asked=0,
            claimed_by=None,
            run_at=now,
            dispatched_at=None,
            updated_at=now,
            settled_at=None,
            reason=None,
            provider_code=None,
            result=None,
            announced=None,
        )
    ).rowcount
    if done:
        write_audits(
            connection,
            Audit(
                at=now,
                actor=replay.actor,
                action="job.replay",
                target=job.id,
                reason=replay.reason,
                detail={"replay": replay.id, "was": job.state, "policy_version": policy_version},
            ),
        )
    return bool(done)


def cancel_jobs(
    connection: Connection,
    wanted: JobFilter,
    *,
    actor: str,
    reason: str,
    now: dt.datetime,
    code: str = "cancelled",
    spared: Collection[str] = (),
    limit: int = 500,
) -> list[str]:
    """Cancel a batch of jobs that wait, and erase their payloads; returns their ids.

    Args:
        code: What their rows say; ``reason`` is for the audit.
        spared: Kinds that go on.
    """
    waiting = (
        select(jobs.c.id)
        .where(
            jobs.c.state.in_(CLAIMABLE | {State.SCHEDULED}),
            jobs.c.kind.not_in(spared),
            *conditions(wanted),
        )
        .limit(limit)
        .with_for_update(skip_locked=True, of=jobs)
    )
    cancelled = list(
        connection.scalars(
            update(jobs)
            .where(jobs.c.id.in_(waiting))
            .values(
                state=next_state(State.QUEUED, Event.CANCEL),
                reason=code,
                sealed=None,
                settled_at=now,
                updated_at=now,
            )
            .returning(jobs.c.id)
        )
    )
    write_audits(
        connection,
        *(
            Audit(at=now, actor=actor, action="job.cancel", target=job_id, reason=reason)
            for job_id in cancelled
        ),
    )
    return cancelled
