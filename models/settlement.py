"""Settling: the outcome, the attempt and its disclosures in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from sqlalchemy import Boolean, Connection, bindparam, case, func, null, select, update

from models.batches import Batch, columns_of, upserting
from models.disclosures import DisclosureResult, SendResult, Verdict
from models.errors import RetryError
from models.group_commit import Transaction, WriteApart
from models.jobs import NewJob, insert_jobs
from models.states import SETTLED, TRANSITIONS, Event, State, next_state
from models.tables import attempts, clipped, disclosure_results, disclosures, jobs

__all__ = ["Change", "Settlement", "StaleChange", "open_disclosures", "settle_jobs"]

_ERASING = {State.SUCCEEDED, State.EXPIRED, State.CANCELLED}
"""States after which nobody needs the payload; failed and unknown jobs may be replayed."""


class StaleChange(RetryError):
    """What a change builds on has changed meanwhile; nothing was stored: decide again."""

    default_code = "change.stale"


class Change(Protocol):
    """Rows of the domain that stand or fall with a settle."""

    def apply(self, connection: Connection, at: dt.datetime) -> bool:
        """Write them; False, with nothing written, when what they build on has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What one attempt came to."""

    job_id: str
    fence: int
    number: int
    worker_id: str
    event: Event
    started_at: dt.datetime
    at: dt.datetime
    milliseconds: float
    code: str | None = None
    provider_code: str | None = None
    run_at: dt.datetime | None = None
    """When to try again, for RETRY and WAIT; when to ask what became of it, for LOSE."""
    result: Mapping[str, Any] | None = None
    """What the backend may see of a success: ids and codes."""
    disclosure_results: tuple[DisclosureResult, ...] = field(default=())
    change: Change | None = None
    """What the attempt found out about the domain."""
    new_jobs: tuple[NewJob, ...] = ()
    """Jobs that follow from it, such as webhooks."""
    rescued: bool = False
    """Settled by the rescuer for a silent worker: the claim goes on counting against the job."""


def settle_jobs(
    transaction: Transaction,
    settlements: Sequence[Settlement],
    write_results: Callable[[Transaction, Sequence[DisclosureResult]], object],
) -> list[bool | StaleChange]:
    """Store outcomes of claims that are still held.

    A claim is held while its fence is the job's newest and the job is running, or was declared
    unknown meanwhile: the worker that was thought dead brings the truth. A rescuer may put back
    only a job of which nothing can have left.

    Args:
        write_results: Stores completions in the ledger; they are stored even when the claim was
            lost, because what left has left.

    Returns:
        Whether each settlement counted. One that stands already (its first COMMIT was cut off)
        counts, and changes nothing. A StaleChange for one whose change could not be made: of
        that one nothing is stored.

    Raises:
        WriteApart: One of several is not as usual.
    """
    connection = transaction.connection
    usual = [s for s in settlements if not (s.rescued or s.change or transaction.repeated)]
    rows = [_job_row(s, State.RUNNING) for s in usual]
    if usual and _UPDATE.execute(connection, rows) < len(usual):
        if len(settlements) > 1:
            raise WriteApart
        usual = []
    if usual:
        _ATTEMPT.execute(connection, [_attempt_row(s) for s in usual])
    answers = dict.fromkeys(map(id, usual), _Answer.COUNTED)
    for settlement in settlements:
        if id(settlement) not in answers:
            answers[id(settlement)] = _settle_alone(connection, settlement)
    following = [
        job
        for settlement in settlements
        if answers[id(settlement)] is _Answer.COUNTED
        for job in settlement.new_jobs
    ]
    if following:
        insert_jobs(connection, following)
    results = [
        result
        for settlement in settlements
        if answers[id(settlement)] not in {_Answer.STANDS, _Answer.STALE}
        for result in settlement.disclosure_results
    ]
    if results:
        write_results(transaction, results)
    return [_told(answers[id(settlement)]) for settlement in settlements]


def open_disclosures(connection: Connection, claims: Mapping[str, int]) -> dict[str, list[str]]:
    """Ids of disclosures whose bytes may have left, by job.

    Args:
        claims: Fences by job id.
    """
    found: dict[str, list[str]] = {}
    rows = connection.execute(
        select(disclosures.c.id, disclosures.c.job_id, disclosures.c.fence)
        .outerjoin(
            disclosure_results,
            (disclosure_results.c.disclosure_id == disclosures.c.id)
            & (disclosure_results.c.result == SendResult.UNSENT),
        )
        .where(
            disclosures.c.job_id.in_(list(claims)),
            disclosures.c.verdict == Verdict.ADMITTED,
            disclosure_results.c.disclosure_id.is_(None),
        )
    )
    for row in rows:
        if row.fence == claims[row.job_id]:
            found.setdefault(row.job_id, []).append(row.id)
    return found


class _Answer(Enum):
    COUNTED = auto()
    STANDS = auto()
    REFUSED = auto()
    STALE = auto()


def _told(answer: _Answer) -> bool | StaleChange:
    if answer is _Answer.STALE:
        return StaleChange("what the change builds on has changed")
    return answer is not _Answer.REFUSED


def _settle_alone(connection: Connection, settlement: Settlement) -> _Answer:
    """Look before writing: for what is not as usual."""
    job = connection.execute(_HELD, {"job": settlement.job_id}).one_or_none()
    if (
        job is not None
        # Whoever asked the provider meanwhile has moved the fence, and nothing else.
        and job.fence == settlement.fence + job.asked
        and _counts(connection, settlement, State(job.state))
    ):
        if settlement.change and not settlement.change.apply(connection, settlement.at):
            return _Answer.STALE
        row = _job_row(settlement, State(job.state)) | {"token": job.fence}
        _UPDATE.execute(connection, [row])
        _ATTEMPT.execute(connection, [_attempt_row(settlement)])
        return _Answer.COUNTED
    stored = connection.execute(
        select(attempts).where(
            attempts.c.job_id == settlement.job_id, attempts.c.fence == settlement.fence
        )
    ).one_or_none()
    stands = stored is not None and stored._asdict() == _attempt_row(settlement)
    return _Answer.STANDS if stands else _Answer.REFUSED


def _counts(connection: Connection, settlement: Settlement, state: State) -> bool:
    if (state, settlement.event) not in TRANSITIONS:
        return False
    if not settlement.rescued:
        return state in {State.RUNNING, State.UNKNOWN}
    return state is State.RUNNING and (
        settlement.event is Event.LOSE
        or not open_disclosures(connection, {settlement.job_id: settlement.fence})
    )


_HELD = (
    select(jobs.c.state, jobs.c.fence, jobs.c.asked)
    .where(jobs.c.id == bindparam("job"))
    .with_for_update()
)
_UPDATE = Batch(
    {
        "job": jobs.c.id.type,
        "token": jobs.c.fence.type,
        "held_as": jobs.c.state.type,
        "following": jobs.c.state.type,
        "uncounted": jobs.c.attempts.type,
        "rescued": Boolean(),
        "erase": Boolean(),
        "settled": Boolean(),
        "again_at": jobs.c.run_at.type,
        "code": jobs.c.reason.type,
        "provider": jobs.c.provider_code.type,
        "outcome": jobs.c.result.type,
        "over_at": jobs.c.settled_at.type,
        "at": jobs.c.updated_at.type,
    },
    lambda _, row: (
        update(jobs)
        .where(
            jobs.c.id == row["job"], jobs.c.fence == row["token"], jobs.c.state == row["held_as"]
        )
        .values(
            state=row["following"],
            attempts=jobs.c.attempts - row["uncounted"],
            claims=case((row["rescued"], jobs.c.claims), else_=0),
            sealed=case(
                (row["erase"] | (jobs.c.forgets & row["settled"]), null()), else_=jobs.c.sealed
            ),
            run_at=func.coalesce(row["again_at"], jobs.c.run_at),
            claimed_by=null(),
            reason=row["code"],
            provider_code=row["provider"],
            result=row["outcome"],
            settled_at=row["over_at"],
            updated_at=row["at"],
        )
    ),
)


def _job_row(settlement: Settlement, state: State) -> dict[str, Any]:
    following = next_state(state, settlement.event)
    return {
        "job": settlement.job_id,
        "token": settlement.fence,
        "held_as": state,
        "following": following,
        "uncounted": int(settlement.event is Event.WAIT),
        "rescued": settlement.rescued,
        "erase": following in _ERASING,
        "settled": following in SETTLED,
        "again_at": settlement.run_at,
        "code": clipped(settlement.code),
        "provider": clipped(settlement.provider_code),
        "outcome": dict(settlement.result) if settlement.result else None,
        "over_at": settlement.at if following in SETTLED else None,
        "at": settlement.at,
    }


_ATTEMPT_UPDATED = ("event", "code", "provider_code", "ended_at", "milliseconds")
_ATTEMPT = Batch(
    columns_of(attempts),
    lambda dialect, row: upserting(dialect, attempts, row, _ATTEMPT_UPDATED),
)


def _attempt_row(settlement: Settlement) -> dict[str, Any]:
    return {
        "job_id": settlement.job_id,
        "fence": settlement.fence,
        "number": settlement.number,
        "worker_id": settlement.worker_id,
        "started_at": settlement.started_at,
        "ended_at": settlement.at,
        "event": settlement.event,
        "counted": settlement.event is not Event.WAIT,
        "code": clipped(settlement.code),
        "provider_code": clipped(settlement.provider_code),
        "milliseconds": settlement.milliseconds,
    }
