"""Jobs, claims and what comes of them, for tests that need some and do not care which."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Engine, Table, select

from models.claims import Claim, ClaimRequest, write_claims
from models.database import writing
from models.disclosures import Disclosure, DisclosureResult, SendResult, Verdict
from models.group_commit import Transaction
from models.identifiers import new_id
from models.jobs import NewJob, insert_jobs
from models.reconciliation import Question
from models.settlement import Settlement
from models.states import Event, State
from models.tables import jobs

__all__ = [
    "KEY",
    "NOW",
    "SECOND",
    "a_disclosure",
    "a_job",
    "a_result",
    "a_settlement",
    "all_rows",
    "change_job",
    "claim",
    "claim_new",
    "job_row",
    "state_of",
    "store",
    "write",
]

P = TypeVar("P")
R = TypeVar("R")

KEY = bytes(range(32))
NOW = dt.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)

_JOB = NewJob(
    id="",
    kind="sms_code",
    queue="urgent",
    backend="shop",
    state=State.QUEUED,
    sealed=b"\x01 a payload that nobody opens here",
    bucket="2026-03-01",
    policy_version="2023-01-01",
    subject="5" * 64,
    consent_ref=None,
    idempotency=None,
    fingerprint="f" * 64,
    run_at=NOW,
    expires_at=NOW + 300 * SECOND,
    created_at=NOW,
)


def a_job(**changes: Any) -> NewJob:
    """A queued job that is due."""
    return replace(_JOB, **{"id": new_id()} | changes)


def store(engine: Engine, *new_jobs: NewJob) -> list[str]:
    """Store jobs; returns their ids."""
    with writing(engine) as connection:
        insert_jobs(connection, new_jobs)
    return [job.id for job in new_jobs]


def change_job(engine: Engine, job_id: str, **columns: Any) -> None:
    """Set columns of a job, past every rule."""
    with writing(engine) as connection:
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(**columns))


def write(
    engine: Engine,
    writer: Callable[[Transaction, Sequence[P]], Sequence[R]],
    *items: P,
    repeated: bool = False,
    acknowledged: bool = True,
) -> list[R]:
    """Run a group commit write in a transaction of its own.

    Args:
        repeated: The batch was written before and its COMMIT was cut off.
        acknowledged: False when this COMMIT is the one that is cut off.
    """
    with writing(engine) as connection:
        transaction = Transaction(connection, repeated=repeated)
        results = list(writer(transaction, items))
        transaction.finish()
    if acknowledged:
        transaction.committed()
    return results


def claim(
    engine: Engine, job_id: str, worker_id: str = "a" * 32, *, at: dt.datetime = NOW
) -> Claim | None:
    """Ask for one job."""
    request = ClaimRequest(job_id=job_id, worker_id=worker_id, at=at)
    return write(engine, write_claims, request)[0]


def claim_new(engine: Engine, worker_id: str = "a" * 32, **job: Any) -> Claim:
    """A claim on a job made for it."""
    (job_id,) = store(engine, a_job(**job))
    claimed = claim(engine, job_id, worker_id)
    assert claimed is not None
    return claimed


def a_disclosure(claimed: Claim | Question, **changes: Any) -> Disclosure:
    """An admitted disclosure on behalf of a claim."""
    disclosure = Disclosure(
        id=new_id(),
        job_id=claimed.job_id,
        kind=claimed.kind,
        attempt=claimed.attempt,
        fence=claimed.fence,
        operation="aliyun.sms.send",
        recipient="aliyun_sms",
        host="dysmsapi.aliyuncs.com",
        purpose="account",
        clauses=("一(1)1", "一(1)6"),
        policy_version=claimed.policy_version,
        categories=("user.contact.phone_number", "user.authorization.credentials"),
        stripped=("scene",),
        subject=claimed.subject,
        consent_ref=None,
        verdict=Verdict.ADMITTED,
        reason=None,
        at=NOW,
    )
    return replace(disclosure, **changes)


def a_result(disclosure: Disclosure, **changes: Any) -> DisclosureResult:
    """The recipient's answer to a disclosure."""
    result = DisclosureResult(
        disclosure_id=disclosure.id,
        result=SendResult.ANSWERED,
        http_status=200,
        provider_code="OK",
        provider_request_id=secrets.token_hex(8),
        at=NOW,
        milliseconds=12.5,
    )
    return replace(result, **changes)


def a_settlement(claimed: Claim, event: Event = Event.SUCCEED, **changes: Any) -> Settlement:
    """What an attempt came to."""
    settlement = Settlement(
        job_id=claimed.job_id,
        fence=claimed.fence,
        number=claimed.attempt,
        worker_id="a" * 32,
        event=event,
        started_at=claimed.claimed_at,
        at=NOW,
        milliseconds=20.0,
    )
    return replace(settlement, **changes)


def job_row(engine: Engine, job_id: str) -> Any:
    """The job as it stands."""
    with engine.connect() as connection:
        return connection.execute(select(jobs).where(jobs.c.id == job_id)).one()


def state_of(engine: Engine, job_id: str) -> State:
    """Where the job stands."""
    return State(job_row(engine, job_id).state)


def all_rows(engine: Engine, table: Table) -> list[Any]:
    """Every row of a table."""
    with engine.connect() as connection:
        return list(connection.execute(select(table)))
