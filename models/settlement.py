"""Settling: the outcome, the attempt and its disclosures in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, case, select, update
from sqlalchemy.dialects import postgresql, sqlite

from models.disclosures import DisclosureResult
from models.group_commit import Transaction
from models.states import SETTLED, Event, State, next_state
from models.tables import attempts, jobs

__all__ = ["Settlement", "settle_jobs"]

_ERASING = {State.SUCCEEDED, State.EXPIRED, State.CANCELLED}
"""States after which nobody needs the payload; failed and unknown jobs may be replayed."""


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
    """When to try again, for RETRY and WAIT."""
    result: Mapping[str, Any] | None = None
    """What the backend may see of a success: ids and codes."""
    disclosure_results: tuple[DisclosureResult, ...] = field(default=())
    rescued: bool = False
    """Settled by the rescuer for a silent worker: the claim goes on counting against the job."""


def settle_jobs(
    transaction: Transaction,
    settlements: Sequence[Settlement],
    write_results: Callable[[Transaction, Sequence[DisclosureResult]], object],
) -> list[bool]:
    """Store outcomes of claims that are still held.

    A claim is held while its fence is the job's newest and the job is running, or was declared
    unknown meanwhile: the worker that was thought dead brings the truth.

    Args:
        write_results: Stores completions in the ledger; they are stored even when the claim was
            lost, because what left has left.

    Returns:
        Whether each settlement counted.
    """
    connection = transaction.connection
    states = {
        (row.id, row.fence): State(row.state)
        for row in connection.execute(
            select(jobs.c.id, jobs.c.fence, jobs.c.state)
            .where(jobs.c.id.in_({settlement.job_id for settlement in settlements}))
            .order_by(jobs.c.id)
            .with_for_update()
        )
    }
    counted = [
        states.get((settlement.job_id, settlement.fence)) in {State.RUNNING, State.UNKNOWN}
        for settlement in settlements
    ]
    held = [s for s, counts in zip(settlements, counted, strict=True) if counts]
    if held:
        connection.execute(_UPDATE, [_job_row(s, states[s.job_id, s.fence]) for s in held])
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = insert(attempts)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[attempts.c.job_id, attempts.c.fence],
                set_={
                    name: statement.excluded[name]
                    for name in ("event", "code", "provider_code", "ended_at", "milliseconds")
                },
            ),
            [_attempt_row(s) for s in held],
        )
    results = [result for s in settlements for result in s.disclosure_results]
    if results:
        write_results(transaction, results)
    return counted


_UPDATE = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(
        state=bindparam("next"),
        attempts=jobs.c.attempts - bindparam("uncounted"),
        claims=case((bindparam("rescued"), jobs.c.claims), else_=0),
        sealed=case((bindparam("erase"), None), else_=jobs.c.sealed),
        run_at=case((bindparam("again"), bindparam("when")), else_=jobs.c.run_at),
        claimed_by=None,
        reason=bindparam("code"),
        provider_code=bindparam("provider"),
        result=bindparam("outcome", type_=jobs.c.result.type),
        settled_at=bindparam("settled", type_=jobs.c.settled_at.type),
        updated_at=bindparam("at", type_=jobs.c.updated_at.type),
    )
)


def _job_row(settlement: Settlement, state: State) -> dict[str, Any]:
    following = next_state(state, settlement.event)
    return {
        "job": settlement.job_id,
        "next": following,
        "uncounted": int(settlement.event is Event.WAIT),
        "rescued": settlement.rescued,
        "erase": following in _ERASING,
        "again": settlement.run_at is not None,
        "when": settlement.run_at or settlement.at,
        "code": settlement.code,
        "provider": settlement.provider_code,
        "outcome": dict(settlement.result) if settlement.result else None,
        "settled": settlement.at if following in SETTLED else None,
        "at": settlement.at,
    }


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
        "code": settlement.code,
        "provider_code": settlement.provider_code,
        "milliseconds": settlement.milliseconds,
    }
