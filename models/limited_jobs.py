"""Jobs that cost permits: job, permits and code stand or fall together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from models.allowances import Books
from models.codes import NewCode, insert_codes
from models.errors import IdempotencyConflict, Throttled
from models.group_commit import Transaction
from models.jobs import EnqueuedJob, NewJob, insert_jobs
from models.limits import Take
from models.tables import jobs

__all__ = ["LimitedJob", "insert_limited_jobs", "is_known", "write_limited_jobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedJob:
    """A job about to be stored, with what it takes.

    Attributes:
        take: Counted only if this job is stored; not for a repeated idempotency key.
        code: The code that it sends, if we check it.
    """

    job: NewJob
    take: Take
    code: NewCode | None = None


def insert_limited_jobs(
    connection: Connection, new: Sequence[LimitedJob], *, repeated: bool = False
) -> list[EnqueuedJob | IdempotencyConflict | Throttled]:
    """:func:`~models.jobs.insert_jobs` for jobs that cost permits.

    Args:
        repeated: The batch may stand already; see :class:`~models.group_commit.Transaction`.
    """
    books = Books(connection, [item.take for item in new])
    # Read under the lock of the books: a job under the same key that was in progress is seen.
    known = _known(connection, new, ids=repeated)
    refused: dict[str, Throttled] = {}
    taken: set[str] = set()
    for item in new:
        # The same key again is the same job: nothing is counted, and nothing refused.
        key = item.job.idempotency or item.job.id
        if key not in known and item.job.id not in known and key not in refused:
            known.add(key)
            if refusal := books.take(item.take):
                refused[key] = refusal
            else:
                taken.add(item.job.id)
    admitted = [item for item in new if (item.job.idempotency or item.job.id) not in refused]
    inserted = insert_jobs(connection, [item.job for item in admitted]) if admitted else []
    answers = dict(zip((item.job.id for item in admitted), inserted, strict=True))
    stored = []
    for item in admitted:
        answer = answers[item.job.id]
        if isinstance(answer, EnqueuedJob) and answer.created:
            stored.append(item)
        elif item.job.id in taken:
            books.give_back(item.take)
    books.close()
    insert_codes(connection, [item.code for item in stored if item.code is not None])
    return [
        answers[item.job.id]
        if item.job.id in answers
        else refused[item.job.idempotency or item.job.id]
        for item in new
    ]


def write_limited_jobs(
    transaction: Transaction, new: Sequence[LimitedJob]
) -> list[EnqueuedJob | IdempotencyConflict | Throttled]:
    """:func:`insert_limited_jobs` as a group commit write."""
    return insert_limited_jobs(transaction.connection, new, repeated=transaction.repeated)


def is_known(connection: Connection, idempotency: str) -> bool:
    """Whether a job was accepted under that digest of a key."""
    found = select(jobs.c.id).where(jobs.c.idempotency == idempotency)
    return connection.execute(found).first() is not None


def _known(connection: Connection, new: Sequence[LimitedJob], *, ids: bool) -> set[str]:
    keys = [item.job.idempotency for item in new if item.job.idempotency]
    known = [jobs.c.idempotency.in_(keys)] if keys else []
    if ids:
        known.append(jobs.c.id.in_([item.job.id for item in new]))
    if not known:
        return set()
    rows = connection.execute(select(jobs.c.id, jobs.c.idempotency).where(or_(*known)))
    return {value for row in rows for value in row if value}
