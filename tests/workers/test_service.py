"""Enqueueing means the same in a transaction of one's own, in an event loop, and alone."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from models.clock import utc_now
from models.database import migrate, open_database
from models.errors import DatabaseUnavailable, IdempotencyConflict, InvalidValue
from models.group_commit import GroupCommit
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from models.states import State
from tasks.preparation import Preparation
from tests.workers.rows import KEYS, PSEUDONYM_KEY, a_code
from workers.dispatch import Dispatcher, connect_redis
from workers.service import JobService


@pytest.fixture
def service(engine: Engine, dispatcher: Dispatcher) -> Iterator[JobService]:
    commits = GroupCommit(engine)
    preparation = Preparation(
        Sealer(engine, KEYS), Pseudonyms(PSEUDONYM_KEY), policy_version="2023-01-01"
    )
    yield JobService(engine, commits, preparation, dispatcher)
    commits.close()


def _rung(dispatcher: Dispatcher) -> int:
    dispatcher.drain()
    return dispatcher.waiting("urgent")


def test_a_job_is_stored_and_rung_for(service: JobService, dispatcher: Dispatcher) -> None:
    job = service.enqueue(a_code(), backend="shop")
    assert job.created
    assert job.state is State.QUEUED
    assert _rung(dispatcher) == 1
    found = service.find(job.id, backend="shop")
    assert found is not None
    assert service.find(job.id, backend="another") is None


def test_a_job_for_later_is_scheduled_and_not_rung_for(
    service: JobService, dispatcher: Dispatcher
) -> None:
    later = utc_now() + dt.timedelta(hours=1)
    job = service.enqueue(a_code(), backend="shop", run_at=later)
    assert job.state is State.SCHEDULED
    assert _rung(dispatcher) == 0


def test_the_same_key_is_the_same_job_and_rung_for_once(
    service: JobService, dispatcher: Dispatcher
) -> None:
    first = service.enqueue(a_code(), backend="shop", idempotency_key="k")
    again = service.enqueue(a_code(), backend="shop", idempotency_key="k")
    assert (again.id, again.created) == (first.id, False)
    assert service.enqueue(a_code(), backend="other", idempotency_key="k").created
    assert _rung(dispatcher) == 2
    with pytest.raises(IdempotencyConflict):
        service.enqueue(a_code("16400009876"), backend="shop", idempotency_key="k")


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "中文", "tab\t"])
def test_a_malformed_key_is_refused(service: JobService, key: str) -> None:
    with pytest.raises(InvalidValue, match="1 to 255 visible ASCII"):
        service.enqueue(a_code(), backend="shop", idempotency_key=key)


def test_in_a_session_the_job_is_rung_for_after_the_commit(
    engine: Engine, service: JobService, dispatcher: Dispatcher
) -> None:
    with Session(engine.execution_options(zjj_writes=True)) as session:
        job = service.enqueue(a_code(), backend="shop", transaction=session)
        assert _rung(dispatcher) == 0
        session.commit()
    assert _rung(dispatcher) == 1
    assert service.find(job.id) is not None


def test_in_a_savepoint_the_job_waits_for_the_outermost_commit(
    engine: Engine, service: JobService, dispatcher: Dispatcher
) -> None:
    with Session(engine.execution_options(zjj_writes=True)) as session:
        with session.begin_nested():
            service.enqueue(a_code(), backend="shop", transaction=session)
        assert _rung(dispatcher) == 0
        session.commit()
    assert _rung(dispatcher) == 1


def test_a_rollback_takes_the_job_along(
    engine: Engine, service: JobService, dispatcher: Dispatcher
) -> None:
    with engine.connect().execution_options(zjj_writes=True) as connection:
        job = service.enqueue(a_code(), backend="shop", transaction=connection)
        connection.rollback()
        # The connection may go on to commit something else.
        connection.execute(text("SELECT 1"))
        connection.commit()
    assert service.find(job.id) is None
    assert _rung(dispatcher) == 0
    # The data key, made in that transaction, went with it; the next job makes another.
    kept = service.enqueue(a_code(), backend="shop")
    assert service.find(kept.id) is not None


def test_an_event_loop_enqueues_without_being_blocked(
    service: JobService, dispatcher: Dispatcher
) -> None:
    async def many() -> set[str]:
        jobs = await asyncio.gather(
            *(service.enqueue_async(a_code(), backend="shop") for _ in range(50))
        )
        return {job.id for job in jobs}

    assert len(asyncio.run(many())) == 50
    assert _rung(dispatcher) == 50


def test_an_async_session_carries_a_job_too(
    postgres_url: str, redis_url: str, request: pytest.FixtureRequest
) -> None:
    service, dispatcher = _service_on(postgres_url, redis_url, request)

    async def enqueue() -> None:
        engine = create_async_engine(postgres_url)
        async with AsyncSession(engine) as session:
            await service.enqueue_async(a_code(), backend="shop", transaction=session)
            assert _rung(dispatcher) == 0
            await session.commit()
        await engine.dispose()

    asyncio.run(enqueue())
    assert _rung(dispatcher) == 1


def _service_on(
    database: str, redis: str, request: pytest.FixtureRequest
) -> tuple[JobService, Dispatcher]:
    engine = open_database(database)
    migrate(engine)
    commits = GroupCommit(engine)
    dispatcher = Dispatcher(connect_redis(redis), engine)
    preparation = Preparation(
        Sealer(engine, KEYS), Pseudonyms(PSEUDONYM_KEY), policy_version="2023-01-01"
    )
    for close in (engine.dispose, dispatcher.close, commits.close):
        request.addfinalizer(close)
    return JobService(engine, commits, preparation, dispatcher), dispatcher


def test_without_a_database_nothing_is_accepted(dispatcher: Dispatcher) -> None:
    engine = open_database("postgresql://nobody@127.0.0.1:1/none")
    commits = GroupCommit(engine)
    preparation = Preparation(
        Sealer(engine, KEYS), Pseudonyms(PSEUDONYM_KEY), policy_version="2023-01-01"
    )
    with pytest.raises(DatabaseUnavailable):
        JobService(engine, commits, preparation, dispatcher).enqueue(a_code(), backend="shop")
    commits.close()


def test_importing_the_way_in_pulls_in_no_way_out() -> None:
    forbidden = "httpx jpush wechatpy alipay wechatpayv3 integrations.gate integrations.aliyun"
    code = (
        "import sys, tasks, workers.enqueueing;"
        f"print([m for m in {forbidden.split()!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
