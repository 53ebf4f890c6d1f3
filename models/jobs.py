"""Putting jobs in, and looking at them; claims and settles have modules of their own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, RowMapping, or_, select
from sqlalchemy import Row as SqlRow

from models.audits import Audit, audits_of
from models.batches import Batch, insert_into, inserting
from models.disclosures import SendResult, Verdict
from models.errors import IdempotencyConflict, RetryError
from models.group_commit import Transaction
from models.lanes import last_positions
from models.states import Event, State
from models.tables import attempts, disclosure_results, disclosures, job_people, jobs

__all__ = [
    "AttemptView",
    "DisclosureView",
    "EnqueuedJob",
    "JobView",
    "NewJob",
    "find_job",
    "insert_jobs",
    "write_jobs",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job about to be stored; its payload is sealed already."""

    id: str
    kind: str
    queue: str
    backend: str
    state: State
    sealed: bytes
    bucket: str
    policy_version: str
    subject: str | None
    consent_ref: str | None
    idempotency: str | None
    fingerprint: str
    run_at: dt.datetime
    expires_at: dt.datetime | None
    created_at: dt.datetime
    guardian_ref: str | None = None
    people: tuple[str, ...] = ()
    """Pseudonyms of whom else it is about, and of what else its subject is known by."""
    lane: str | None = None
    """Jobs of one lane are done one after the other, in the order in which they were stored."""
    announces: bool = False
    """Whether its backend wants to be told how it ends."""
    forgets: bool = False
    """Whether its payload is erased at every end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueuedJob:
    """The answer to an enqueue."""

    id: str
    kind: str
    queue: str
    state: State
    created: bool
    """False when the idempotency key had been used for the same job before."""
    created_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt as anybody may see it."""

    number: int
    counted: bool
    started_at: dt.datetime
    ended_at: dt.datetime
    event: Event
    code: str | None
    provider_code: str | None
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureView:
    """One disclosure as anybody may see it: names and categories, never values."""

    id: str
    attempt: int
    operation: str
    recipient: str
    host: str
    purpose: str
    clauses: tuple[str, ...]
    policy_version: str
    categories: tuple[str, ...]
    stripped: tuple[str, ...]
    verdict: Verdict
    reason: str | None
    at: dt.datetime
    result: SendResult | None
    http_status: int | None
    provider_code: str | None
    provider_request_id: str | None
    milliseconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job as anybody may see it: no payload, no mask."""

    id: str
    kind: str
    queue: str
    backend: str
    state: State
    reason: str | None
    provider_code: str | None
    result: Mapping[str, Any]
    policy_version: str
    run_at: dt.datetime
    expires_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    settled_at: dt.datetime | None
    attempts: tuple[AttemptView, ...]
    disclosures: tuple[DisclosureView, ...]
    interventions: tuple[Audit, ...] = ()
    """What people did to it: replays, a cancellation."""


def insert_jobs(
    connection: Connection, new_jobs: Sequence[NewJob]
) -> list[EnqueuedJob | IdempotencyConflict]:
    """Store jobs, once for each idempotency key; the constraint decides, not a check.

    Returns:
        For each job itself, or the earlier one under its key, or an IdempotencyConflict when that
        one had another payload.
    """
    # Keys in one order everywhere: two batches that share some cannot lock each other out.
    ordered = sorted(new_jobs, key=lambda job: job.idempotency or "")
    inserted = _INSERT.execute(connection, _rows(connection, ordered))
    if people := [{"job": job.id, "person": each} for job in ordered for each in job.people]:
        _PEOPLE.execute(connection, people)
    if inserted == len(new_jobs):
        return [_answer(job, created=True) for job in new_jobs]
    stored = connection.execute(
        select(jobs).where(
            or_(
                jobs.c.id.in_([job.id for job in new_jobs]),
                jobs.c.idempotency.in_([job.idempotency for job in new_jobs if job.idempotency]),
            )
        )
    ).all()
    by_id = {row.id: row for row in stored}
    by_key = {row.idempotency: row for row in stored if row.idempotency}
    answers: list[EnqueuedJob | IdempotencyConflict] = []
    for job in new_jobs:
        if job.id in by_id:
            answers.append(_answer(job, created=True))
        elif (earlier := by_key.get(job.idempotency)) is None:
            raise RetryError("the earlier job of this idempotency key has just been pruned")
        elif earlier.fingerprint == job.fingerprint:
            answers.append(_answer(earlier, created=False))
        else:
            answers.append(
                IdempotencyConflict("this idempotency key was used before with another payload")
            )
    return answers


def write_jobs(
    transaction: Transaction, new_jobs: Sequence[NewJob]
) -> list[EnqueuedJob | IdempotencyConflict]:
    """:func:`insert_jobs` as a group commit write."""
    return insert_jobs(transaction.connection, new_jobs)


def find_job(connection: Connection, job_id: str, *, backend: str | None = None) -> JobView | None:
    """One job with its attempts and disclosures, or None (also when it is another backend's)."""
    query = select(jobs).where(jobs.c.id == job_id)
    if backend is not None:
        query = query.where(jobs.c.backend == backend)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    return JobView(
        **{name: row[name] for name in _PLAIN},
        state=State(row["state"]),
        result=row["result"] or {},
        attempts=_attempts(connection, job_id),
        disclosures=_disclosures(connection, job_id),
        interventions=audits_of(connection, job_id),
    )


_NEW = tuple(field.name for field in fields(NewJob) if field.name != "people")
_values_of = attrgetter(*_NEW)
_COUNTERS = ("attempts", "claims", "fence", "asked")


def _rows(connection: Connection, new_jobs: Sequence[NewJob]) -> list[dict[str, Any]]:
    lanes = [job.lane for job in new_jobs if job.lane is not None]
    positions = last_positions(connection, lanes) if lanes else {}
    rows = []
    for job in new_jobs:
        row = _row(job)
        if job.lane is not None:
            positions[job.lane] += 1
            row["position"] = positions[job.lane]
        rows.append(row)
    return rows


def _row(job: NewJob) -> dict[str, Any]:
    row = dict(zip(_NEW, _values_of(job), strict=True))
    row |= dict.fromkeys(_COUNTERS, 0)
    row["position"] = None
    row["updated_at"] = row["dispatched_at"] = job.created_at
    return row


_INSERT = Batch(
    {
        name: jobs.c[name].type
        for name in (*_NEW, *_COUNTERS, "position", "updated_at", "dispatched_at")
    },
    lambda dialect, row: inserting(dialect, jobs, row).on_conflict_do_nothing(),
)
_PEOPLE = Batch(
    {"job": job_people.c.job_id.type, "person": job_people.c.person.type},
    lambda dialect, row: (
        insert_into(dialect, job_people)
        .from_select(
            # Not of a job that stands already under its key.
            ["job_id", "person"],
            select(jobs.c.id, row["person"]).where(jobs.c.id == row["job"]),
        )
        .on_conflict_do_nothing()
    ),
)
_PLAIN = (
    "id",
    "kind",
    "queue",
    "backend",
    "reason",
    "provider_code",
    "policy_version",
    "run_at",
    "expires_at",
    "created_at",
    "updated_at",
    "settled_at",
)


def _answer(job: NewJob | SqlRow[Any], *, created: bool) -> EnqueuedJob:
    return EnqueuedJob(
        id=job.id,
        kind=job.kind,
        queue=job.queue,
        state=State(job.state),
        created=created,
        created_at=job.created_at,
    )


def _attempts(connection: Connection, job_id: str) -> tuple[AttemptView, ...]:
    rows = connection.execute(
        select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.fence)
    ).mappings()
    return tuple(
        AttemptView(
            number=row["number"],
            counted=row["counted"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            event=Event(row["event"]),
            code=row["code"],
            provider_code=row["provider_code"],
            milliseconds=row["milliseconds"],
        )
        for row in rows
    )


def _disclosures(connection: Connection, job_id: str) -> tuple[DisclosureView, ...]:
    rows = connection.execute(
        select(disclosures)
        .where(disclosures.c.job_id == job_id)
        .order_by(disclosures.c.at, disclosures.c.id)
    ).mappings()
    results = _results(connection, job_id)
    return tuple(_disclosure(row, results.get(row["id"])) for row in rows)


def _results(connection: Connection, job_id: str) -> dict[str, RowMapping]:
    """The most certain result of each disclosure: a late answer beats a rescuer's ``unknown``."""
    rows = connection.execute(
        select(disclosure_results)
        .join(disclosures, disclosures.c.id == disclosure_results.c.disclosure_id)
        .where(disclosures.c.job_id == job_id)
    ).mappings()
    best: dict[str, RowMapping] = {}
    for row in rows:
        known = best.get(row["disclosure_id"])
        if known is None or known["result"] == SendResult.UNKNOWN:
            best[row["disclosure_id"]] = row
    return best


def _disclosure(row: RowMapping, result: RowMapping | None) -> DisclosureView:
    return DisclosureView(
        id=row["id"],
        attempt=row["attempt"],
        operation=row["operation"],
        recipient=row["recipient"],
        host=row["host"],
        purpose=row["purpose"],
        clauses=tuple(row["clauses"]),
        policy_version=row["policy_version"],
        categories=tuple(row["categories"]),
        stripped=tuple(row["stripped"]),
        verdict=Verdict(row["verdict"]),
        reason=row["reason"],
        at=row["at"],
        result=SendResult(result["result"]) if result else None,
        http_status=result["http_status"] if result else None,
        provider_code=result["provider_code"] if result else None,
        provider_request_id=result["provider_request_id"] if result else None,
        milliseconds=result["milliseconds"] if result else None,
    )
