"""Clocks that jump, and a hundred thousand jobs for next year."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

import pytest

from models.claims import ClaimRequest, Worker, beat, write_claims
from models.clock import utc_now
from models.database import migrate, open_database, writing
from models.group_commit import GroupCommit, Transaction
from models.identifiers import new_id
from models.jobs import insert_jobs
from models.ledger import LedgerWriter
from models.states import State
from models.tables import jobs
from tests.models.rows import a_job
from tests.workers.rows import read_job, store_job
from workers.dispatch import Dispatcher, connect_redis
from workers.maintenance import Rescuer, Scheduler

_HOUR = dt.timedelta(hours=1)


def test_a_clock_that_jumps_ahead_sends_early_by_no_more_than_the_jump(
    database_url: str, redis_url: str
) -> None:
    engine = open_database(database_url)
    migrate(engine)
    soon = store_job(engine, run_at=utc_now() + _HOUR / 2)
    later = store_job(engine, run_at=utc_now() + 2 * _HOUR)
    dispatcher = Dispatcher(connect_redis(redis_url), engine)
    Scheduler(engine, dispatcher, clock=lambda: utc_now() + _HOUR).round()
    dispatcher.close()
    assert read_job(engine, soon).state == State.QUEUED
    assert read_job(engine, later).state == State.SCHEDULED
    # A worker whose clock is right does not take it before its time.
    with writing(engine) as connection:
        request = ClaimRequest(job_id=soon, worker_id=new_id(), at=utc_now())
        assert write_claims(Transaction(connection), [request]) == [None]
    assert read_job(engine, soon).state == State.QUEUED
    engine.dispose()


@pytest.mark.parametrize("jump", [-_HOUR, _HOUR], ids=["back", "ahead"])
def test_a_job_claimed_under_a_wrong_clock_is_rescued_all_the_same(
    database_url: str, jump: dt.timedelta
) -> None:
    engine = open_database(database_url)
    migrate(engine)
    job_id = store_job(engine, run_at=None)
    wrong = utc_now() + jump
    worker = Worker(id=new_id(), host="h", pid=1, queues=("urgent",), started_at=wrong)
    with writing(engine) as connection:
        connection.execute(jobs.update().values(run_at=wrong, expires_at=None))
        beat(connection, worker, now=wrong)
        request = ClaimRequest(job_id=job_id, worker_id=worker.id, at=wrong)
        assert write_claims(Transaction(connection), [request]) != [None]
    commits = GroupCommit(engine)
    watch = [0.0]
    rescuer = Rescuer(
        engine,
        commits,
        LedgerWriter(bytes(32)),
        worker_id=new_id(),
        monotonic=lambda: watch[0],
    )
    rescued = 0
    for _ in range(12):
        rescued += rescuer.round()
        watch[0] += 1
    commits.close()
    assert rescued == 1
    assert read_job(engine, job_id).state == State.RETRYING
    engine.dispose()


def test_a_hundred_thousand_jobs_for_later_do_not_delay_those_that_are_due(
    database_url: str, redis_url: str, full: bool, figure: Callable[..., None]
) -> None:
    engine = open_database(database_url)
    migrate(engine)
    count = 100_000 if full else 5_000
    next_year = utc_now() + dt.timedelta(days=365)
    for _ in range(count // 1000):
        with writing(engine) as connection:
            insert_jobs(
                connection,
                [
                    a_job(state=State.SCHEDULED, run_at=next_year, expires_at=None)
                    for _ in range(1000)
                ],
            )
    dispatcher = Dispatcher(connect_redis(redis_url), engine)
    scheduler = Scheduler(engine, dispatcher)
    waits = []
    for _ in range(20):
        due = store_job(engine, run_at=next_year)
        with writing(engine) as connection:
            soon = utc_now() + dt.timedelta(milliseconds=50)
            connection.execute(jobs.update().where(jobs.c.id == due).values(run_at=soon))
        time.sleep(0.06)
        began = time.monotonic()
        assert scheduler.round() == 1
        waits.append((time.monotonic() - began) * 1000)
        assert read_job(engine, due).state == State.QUEUED
    dispatcher.close()
    waits.sort()
    figure(
        f"{count:,} jobs for next year, {engine.dialect.name}",
        promoted_within=f"{waits[-1]:.1f} ms",
    )
    assert waits[len(waits) // 2] < 1000
    engine.dispose()
