"""Asking recipients what became of jobs whose outcome is unknown.

Such a question is claimed like a job is, with a fence of its own, so that no two workers ask at
once and only its holder can disclose on the job's behalf; but the job stays ``unknown`` until the
answer is certain. Every question leaves an attempt that is not counted, which is where the job's
timeline shows the reasoning.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select, update

from models.batches import insert_into
from models.disclosures import DisclosureResult, Verdict
from models.group_commit import Transaction
from models.jobs import NewJob, insert_jobs
from models.settlement import Change, StaleChange
from models.states import SETTLED, Event, State, next_state
from models.tables import attempts, clipped, disclosures, jobs

__all__ = [
    "Answer",
    "Due",
    "Question",
    "claim_question",
    "settle_answers",
    "unknown_due",
]


@dataclass(frozen=True, slots=True)
class Due:
    """A job of unknown outcome whose next question is due."""

    job_id: str
    kind: str
    asked: int
    """How many questions there were."""
    recipient: str | None
    """To whom it disclosed something last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A job of unknown outcome, to be asked about under this fence."""

    job_id: str
    kind: str
    backend: str
    fence: int
    attempt: int
    """Number of the attempt that is asked about."""
    asked: int
    """How many questions there were, this one included."""
    sealed: bytes | None
    bucket: str | None
    policy_version: str
    subject: str | None
    consent_ref: str | None
    guardian_ref: str | None
    nonce: str | None
    sent_at: dt.datetime
    """When the attempt in question disclosed something last."""
    operation: str | None
    """What it disclosed last by."""
    expires_at: dt.datetime | None
    claimed_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a question came to."""

    question: Question
    worker_id: str
    event: Event
    """SUCCEED or FAIL when it is certain, RETRY when it may be done again, else LOSE: the job stays
    unknown."""
    code: str
    provider_code: str | None
    at: dt.datetime
    milliseconds: float
    disclosure_results: tuple[DisclosureResult, ...] = ()
    change: Change | None = None
    """What the answer means for the domain, should it count."""
    new_jobs: tuple[NewJob, ...] = ()
    """Jobs that follow from it, such as webhooks."""


def unknown_due(
    connection: Connection,
    kinds: Collection[str],
    *,
    most_questions: int,
    now: dt.datetime,
    limit: int = 20,
) -> list[Due]:
    """Jobs to ask about: a read that locks nothing.

    Without its payload nobody can be asked about a job.
    """
    recipient = (
        select(disclosures.c.recipient)
        .where(disclosures.c.job_id == jobs.c.id, disclosures.c.verdict == Verdict.ADMITTED)
        .order_by(disclosures.c.at.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(jobs.c.id, jobs.c.kind, jobs.c.asked, recipient.label("recipient"))
        .where(
            jobs.c.state == State.UNKNOWN,
            jobs.c.run_at <= now,
            jobs.c.asked < most_questions,
            jobs.c.kind.in_(kinds),
            jobs.c.sealed.is_not(None),
        )
        .order_by(jobs.c.run_at)
        .limit(limit)
    )
    return [Due(row.id, row.kind, row.asked, row.recipient) for row in rows]


def claim_question(
    connection: Connection, job_id: str, worker_id: str, *, again_at: dt.datetime, now: dt.datetime
) -> Question | None:
    """Take the question about a job; None when somebody else has, or the answer is known.

    Args:
        again_at: When to ask again, should this question lead nowhere.
    """
    row = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state == State.UNKNOWN, jobs.c.run_at <= now)
        .values(
            fence=jobs.c.fence + 1,
            asked=jobs.c.asked + 1,
            claimed_by=worker_id,
            claimed_at=now,
            run_at=again_at,
            updated_at=now,
        )
        .returning(jobs)
    ).one_or_none()
    if row is None:
        return None
    sent = connection.execute(
        select(disclosures.c.at, disclosures.c.operation)
        .where(
            disclosures.c.job_id == job_id,
            disclosures.c.fence == row.fence - row.asked,
            disclosures.c.verdict == Verdict.ADMITTED,
        )
        .order_by(disclosures.c.at.desc())
        .limit(1)
    ).one_or_none()
    return Question(
        job_id=job_id,
        kind=row.kind,
        backend=row.backend,
        fence=row.fence,
        attempt=row.attempts,
        asked=row.asked,
        sealed=row.sealed,
        bucket=row.bucket,
        policy_version=row.policy_version,
        subject=row.subject,
        consent_ref=row.consent_ref,
        guardian_ref=row.guardian_ref,
        nonce=row.nonce,
        sent_at=(sent.at if sent else row.settled_at) or now,
        operation=sent.operation if sent else None,
        expires_at=row.expires_at,
        claimed_at=now,
    )


def settle_answers(
    transaction: Transaction,
    answers: Sequence[Answer],
    write_results: Callable[[Transaction, Sequence[DisclosureResult]], object],
) -> list[bool]:
    """Store what was learned, as a group commit write.

    Returns:
        For each whether it counted: not, when somebody replayed the job or the worker that was
        thought dead has brought the truth meanwhile. Where a change could not be made, the job
        stays unknown, to be asked about again.
    """
    results = [result for answer in answers for result in answer.disclosure_results]
    if results:
        write_results(transaction, results)
    return [_settle(transaction.connection, answer) for answer in answers]


def _changes(connection: Connection, answer: Answer, change: Change) -> bool:
    """Change the domain, if the job is still ours to settle."""
    question = answer.question
    held = connection.scalar(
        select(jobs.c.id)
        .where(
            jobs.c.id == question.job_id,
            jobs.c.fence == question.fence,
            jobs.c.state == State.UNKNOWN,
        )
        .with_for_update()
    )
    return held is not None and change.apply(connection, answer.at)


def _settle(connection: Connection, answer: Answer) -> bool:
    question = answer.question
    stale = answer.change is not None and not _changes(connection, answer, answer.change)
    if stale:
        answer = replace(answer, event=Event.LOSE, code=StaleChange.default_code, change=None)
    certain = answer.event is not Event.LOSE
    values: dict[str, Any] = {"claimed_by": None, "updated_at": answer.at}
    if certain:
        following = next_state(State.UNKNOWN, answer.event)
        values |= {
            "state": following,
            "reason": clipped(answer.code),
            "provider_code": clipped(answer.provider_code),
            "settled_at": answer.at if following in SETTLED else None,
        }
        if following is State.SUCCEEDED:
            values["sealed"] = None
        elif following is State.RETRYING:
            values["run_at"] = answer.at
    counted = connection.execute(
        update(jobs)
        .where(
            jobs.c.id == question.job_id,
            jobs.c.fence == question.fence,
            jobs.c.state == State.UNKNOWN,
        )
        .values(**values)
    ).rowcount
    if counted and not stale and answer.new_jobs:
        insert_jobs(connection, answer.new_jobs)
    connection.execute(
        insert_into(connection.dialect.name, attempts)
        .values(
            job_id=question.job_id,
            fence=question.fence,
            number=question.attempt,
            worker_id=answer.worker_id,
            started_at=question.claimed_at,
            ended_at=answer.at,
            event=answer.event,
            counted=False,
            code=clipped(answer.code),
            provider_code=clipped(answer.provider_code),
            milliseconds=answer.milliseconds,
        )
        # The same batch, whose first COMMIT was cut off.
        .on_conflict_do_nothing()
    )
    return bool(counted) and not stale
