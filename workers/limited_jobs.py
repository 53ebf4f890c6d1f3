"""Storing jobs that cost permits: first who was refused lately, then the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar, cast

from sqlalchemy import Connection, Engine

from models.allowances import write_takes
from models.codes import insert_codes
from models.errors import Throttled, raised
from models.group_commit import GroupCommit, Write
from models.jobs import EnqueuedJob, insert_jobs
from models.limited_jobs import LimitedJob, insert_limited_jobs, is_known, write_limited_jobs
from workers.limits import Shield

__all__ = ["LimitedJobs"]

T = TypeVar("T")


class LimitedJobs:
    """Stores them; a repeated idempotency key costs nothing and is never refused."""

    def __init__(self, engine: Engine, commits: GroupCommit, shield: Shield) -> None:
        self._engine = engine
        self._commits = commits
        self._shield = shield

    def store(
        self, item: LimitedJob, *, seen: Callable[[EnqueuedJob], object] | None = None
    ) -> EnqueuedJob:
        """Store a job.

        Args:
            seen: Called with it as soon as others see it, which may be before it is durable.

        Raises:
            Throttled: A limit is reached.
            IdempotencyConflict: The key was used for another payload.
            DatabaseUnavailable: Nothing was stored.
        """
        return self._remembering(self._submitted(item, seen))

    async def store_async(
        self, item: LimitedJob, *, seen: Callable[[EnqueuedJob], object] | None = None
    ) -> EnqueuedJob:
        """:meth:`store` for an event loop."""
        submitted = await asyncio.to_thread(self._submitted, item, seen)
        try:
            return await asyncio.wrap_future(submitted)
        except Throttled as refusal:
            await asyncio.to_thread(self._shield.remember, refusal)
            raise

    def insert(self, connection: Connection, item: LimitedJob) -> EnqueuedJob:
        """Store a job in the caller's transaction.

        On PostgreSQL the permits are taken apart from it, because everybody else would wait for
        the caller's commit otherwise: after a rollback they stay taken.
        """
        if connection.dialect.name == "sqlite":
            return raised(insert_limited_jobs(connection, [item])[0])
        if not _is_known(connection, item):
            if refusal := self._shield.refusal(item.take.demands):
                raise refusal
            if item.take.demands:
                self._remembering(self._commits.submit(write_takes, item.take))
        job = raised(insert_jobs(connection, [item.job])[0])
        if job.created and item.code is not None:
            insert_codes(connection, [item.code], open_ended=True)
        return job

    def _submitted(
        self, item: LimitedJob, seen: Callable[[EnqueuedJob], object] | None
    ) -> Future[EnqueuedJob]:
        if refusal := self._shield.refusal(item.take.demands):
            with self._engine.connect() as connection:
                if not _is_known(connection, item):
                    raise refusal
        return self._commits.submit(_write, item, seen=seen)

    def _remembering(self, submitted: Future[T]) -> T:
        try:
            return submitted.result()
        except Throttled as refusal:
            self._shield.remember(refusal)
            raise


# A group commit raises the refusals among the answers.
_write = cast("Write[LimitedJob, EnqueuedJob]", write_limited_jobs)


def _is_known(connection: Connection, item: LimitedJob) -> bool:
    key = item.job.idempotency
    return key is not None and is_known(connection, key)
