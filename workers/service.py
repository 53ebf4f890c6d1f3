"""Enqueueing and looking at jobs: the one meaning behind Python, HTTP and the command line."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from models.codes import NewCode
from models.database import answering
from models.errors import raised
from models.group_commit import GroupCommit
from models.jobs import EnqueuedJob, JobView, NewJob, find_job, insert_jobs, write_jobs
from models.limited_jobs import LimitedJob
from models.limits import Take
from models.states import State
from tasks.payload import Payload
from tasks.preparation import Preparation
from tasks.registry import told
from workers.dispatch import Dispatcher
from workers.limited_jobs import LimitedJobs
from workers.limits import Shield
from workers.sms_limits import SmsLimits

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

__all__ = ["AsyncTransaction", "JobService", "SyncTransaction"]

SyncTransaction: TypeAlias = Connection | Session
AsyncTransaction: TypeAlias = "AsyncConnection | AsyncSession"
CodeOf: TypeAlias = "Callable[[NewJob], tuple[NewJob, NewCode]]"
"""Makes of a job the one that is stored, and the code that it sends."""


class JobService:
    """Accepts jobs and shows them.

    A job is accepted once its row is durable; ringing for it may fail and is then made up for.
    """

    def __init__(
        self,
        engine: Engine,
        commits: GroupCommit,
        preparation: Preparation,
        dispatcher: Dispatcher,
        *,
        limits: SmsLimits | None = None,
        shield: Shield | None = None,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._limited = LimitedJobs(engine, commits, shield or Shield(None))
        self._commits = commits
        self._preparation = preparation
        self._dispatcher = dispatcher
        self._after_commit = _AfterCommit()

    def enqueue(
        self,
        payload: Payload,
        *,
        backend: str,
        idempotency_key: str | None = None,
        run_at: dt.datetime | None = None,
        transaction: SyncTransaction | None = None,
        client: str | None = None,
        code: CodeOf | None = None,
    ) -> EnqueuedJob:
        """Store a job, and ring for it.

        Args:
            payload: What to do; its class says which kind of job it is.
            backend: Who enqueues.
            idempotency_key: The same key with the same payload is the same job.
            run_at: Not before this instant.
            transaction: The caller's own, on the same database: the job stands or falls with it,
                and is dispatched after its commit.
            client: Names the backend's own client, where a limit counts for it.
            code: For a job that sends a code which we check; see :mod:`workers.codes`.

        Raises:
            Throttled: A limit is reached; a repeated idempotency key never meets one.
            IdempotencyConflict: The key was used for another payload.
            InvalidValue: The idempotency key is malformed.
            DatabaseUnavailable: Nothing was stored.
        """
        connection = _connection_of(transaction) if transaction is not None else None
        job = self._prepare(payload, backend, idempotency_key, run_at, connection)
        limited = self._limit(job, payload, backend, client, code)
        if connection is None:
            if limited is None:
                enqueued = raised(self._commits.run(write_jobs, job))
            else:
                enqueued = self._limited.store(limited)
            self._ring(enqueued)
            return enqueued
        if limited is None:
            enqueued = raised(insert_jobs(connection, [job])[0])
        else:
            enqueued = self._limited.insert(connection, limited)
        self._after_commit.add(connection, partial(self._ring, enqueued))
        return enqueued

    async def enqueue_async(
        self,
        payload: Payload,
        *,
        backend: str,
        idempotency_key: str | None = None,
        run_at: dt.datetime | None = None,
        transaction: AsyncTransaction | None = None,
        client: str | None = None,
        code: CodeOf | None = None,
    ) -> EnqueuedJob:
        """:meth:`enqueue` for an event loop: nothing here blocks it."""
        if transaction is not None:
            return await transaction.run_sync(
                lambda inner: self.enqueue(
                    payload,
                    backend=backend,
                    idempotency_key=idempotency_key,
                    run_at=run_at,
                    transaction=inner,
                    client=client,
                    code=code,
                )
            )
        job = await asyncio.to_thread(
            self._prepare, payload, backend, idempotency_key, run_at, None
        )
        limited = self._limit(job, payload, backend, client, code)
        if limited is None:
            enqueued = raised(await asyncio.wrap_future(self._commits.submit(write_jobs, job)))
        else:
            enqueued = await self._limited.store_async(limited)
        self._ring(enqueued)
        return enqueued

    def find(self, job_id: str, *, backend: str | None = None) -> JobView | None:
        """One job, or None if there is none, or it is another backend's.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        with answering(), self._engine.connect() as connection:
            job = find_job(connection, job_id, backend=backend)
        return job and replace(job, result=told(job.kind, job.state, job.result))

    async def find_async(self, job_id: str, *, backend: str | None = None) -> JobView | None:
        """:meth:`find` for an event loop."""
        return await asyncio.to_thread(self.find, job_id, backend=backend)

    def _prepare(
        self,
        payload: Payload,
        backend: str,
        idempotency_key: str | None,
        run_at: dt.datetime | None,
        connection: Connection | None,
    ) -> NewJob:
        with answering():
            return self._preparation.prepare(
                payload,
                backend=backend,
                idempotency_key=idempotency_key,
                run_at=run_at,
                connection=connection,
            )

    def _limit(
        self,
        job: NewJob,
        payload: Payload,
        backend: str,
        client: str | None,
        code: CodeOf | None,
    ) -> LimitedJob | None:
        """The job with what it costs; None for one that costs nothing and carries nothing."""
        take = (
            None
            if self._limits is None
            else self._limits.take(payload, backend=backend, client=client)
        )
        if code is not None:
            job, new_code = code(job)
            take = take or Take(at=job.created_at, demands=())
            return LimitedJob(job=job, take=take, code=new_code)
        return None if take is None else LimitedJob(job=job, take=take)

    def _ring(self, job: EnqueuedJob) -> None:
        if job.created and job.state is State.QUEUED:
            self._dispatcher.ring(job.id, job.queue)


def _connection_of(transaction: SyncTransaction) -> Connection:
    return transaction.connection() if isinstance(transaction, Session) else transaction


class _AfterCommit:
    """Actions that wait for the commit of somebody else's connection; a rollback drops them."""

    def __init__(self) -> None:
        self._waiting: WeakKeyDictionary[Connection, list[Callable[[], None]]] = WeakKeyDictionary()

    def add(self, connection: Connection, action: Callable[[], None]) -> None:
        if connection not in self._waiting:
            self._waiting[connection] = []
            event.listen(connection, "commit", self._run)
            event.listen(connection, "rollback", self._drop)
        self._waiting[connection].append(action)

    def _run(self, connection: Connection) -> None:
        actions = self._waiting[connection][:]
        self._waiting[connection].clear()
        for action in actions:
            action()

    def _drop(self, connection: Connection) -> None:
        self._waiting[connection].clear()
