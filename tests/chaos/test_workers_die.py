"""Workers that are killed lose nothing and repeat nothing; workers that are asked to end, less."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from integrations.sandbox.faults import Fault
from models.clock import utc_now
from models.states import State
from models.tables import workers
from tests.chaos.ground import Ground, delays

_FULL = pytest.mark.full


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=_FULL)])
def test_random_workers_are_killed_again_and_again(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    full: bool,
    figure: Callable[..., None],
    database: str,
) -> None:
    url = None
    if database == "postgresql":
        server = request.getfixturevalue("own_postgres")
        url = server.url(server.create_database())
    kills, count = (200, 5000) if full else (4, 100)
    # Slow enough that every kill hits jobs in all stages.
    latency = 1000 if full else 300
    with Ground.open(tmp_path, database=url, latency_ms=latency) as ground:
        ground.enqueue(count)
        ground.without_lifetimes()
        for _ in range(3):
            ground.start_worker()
        ground.ready()
        done = 0
        for _ in range(kills):
            time.sleep(random.uniform(0.2, 0.8))
            if ground.unsettled() == 0:
                break
            ground.kill(random.choice(ground.busy()))
            ground.start_worker()
            done += 1
        ground.sandbox.sandbox.latency_ms = 20
        ground.settle(900)
        # What is unknown at first is looked up, so that it says `unknown` only if it was not sent.
        ground.until(lambda: ground.states()[State.UNKNOWN] <= _unsent(ground), "looked up", 600)
        figure(
            f"kill -9 of random workers, {database}",
            kills=done,
            attempts_cut_short=ground.cut_short(),
            **ground.audit(),
        )


def _unsent(ground: Ground) -> int:
    return sum(
        row.state == State.UNKNOWN and not ground.journal.accepted(job_id)
        for job_id, row in ground.rows().items()
    )


def test_a_killed_workers_jobs_are_settled_within_15_seconds(
    ground: Ground, full: bool, figure: Callable[..., None]
) -> None:
    waits: list[float] = []
    # Somebody lives to notice, and leaves the jobs to those who die.
    ground.start_worker("bulk")
    ground.ready()
    for _ in range(5 if full else 1):
        ground.faults.add(Fault(kind="hang", seconds=60, action="SendSms"))
        victim = ground.start_worker()
        ids = ground.enqueue(16)
        ground.until(lambda: sum(map(ground.journal.count, ids)) == 16, "all are under way")  # noqa: B023
        ground.faults.clear()
        time.sleep(random.uniform(0, 2))
        killed_at = utc_now()
        ground.kill(victim)
        ground.settle()
        for job_id in ids:
            lost = ground.view(job_id).attempts[0]
            assert lost.code == "worker.lost"
            waits.append((lost.ended_at - killed_at).total_seconds())
    waits.sort()
    p95 = waits[int(len(waits) * 0.95) - 1]
    figure("crash recovery of a claimed job", p95=f"{p95:.1f} s", most=f"{waits[-1]:.1f} s")
    assert p95 <= 15
    ground.audit()


def test_a_clean_restart_costs_no_attempt_and_little_time(
    tmp_path: Path, full: bool, figure: Callable[..., None]
) -> None:
    with Ground.open(tmp_path, latency_ms=100) as ground:
        first = ground.start_worker()
        ground.ready()
        ids: list[str] = []
        for _ in range(5 if full else 2):
            ids += ground.enqueue(60)
            second = ground.start_worker()
            started = ground.log().count('"event":"worker.started"')
            ids += ground.enqueue(60)
            ground.ready(started + 1)
            ids += ground.enqueue(60)
            ground.terminate(first)
            ids += ground.enqueue(60)
            assert first.wait(30) == 0
            first = second
        ground.settle()
        figures = ground.audit()
        waits = delays(ground.rows(), ids)
        figure("clean restart of a busy worker", **figures, slowest=f"{waits[-1]:.2f} s")
        assert ground.states() == {State.SUCCEEDED: len(ids)}
        assert ground.most_counted_attempts() == 1
        assert waits[-1] < 2


@_FULL
def test_a_busy_workers_second_signal_is_fast_and_strands_nothing(
    ground: Ground, figure: Callable[..., None]
) -> None:
    ends, takeovers = [], []
    stubborn = ground.start_worker()
    ground.ready()
    for _ in range(10):
        fault = Fault(kind="hang", seconds=60, action="SendSms")
        ground.faults.add(fault)
        ids = ground.enqueue(16)
        ground.until(lambda: all(map(ground.journal.count, ids)), "the provider is called")  # noqa: B023
        ground.faults.clear()
        other = ground.start_worker()
        ground.until(lambda: _serves(ground, other), "somebody else serves")  # noqa: B023
        ground.terminate(stubborn)
        time.sleep(0.5)
        began = time.monotonic()
        ground.terminate(stubborn)
        assert stubborn.wait(10) == 128 + signal.SIGTERM
        ends.append(time.monotonic() - began)
        ground.until(lambda: ground.unsettled() == 0, "signed off, not found dead", 5)
        takeovers.append(time.monotonic() - began)
        stubborn = other
    ground.until(lambda: ground.states()[State.UNKNOWN] == 0, "looked up")
    assert ground.states() == {State.SUCCEEDED: 160}
    figure(
        "second SIGTERM",
        rounds=len(ends),
        **ground.audit(),
        slowest_end=f"{max(ends):.2f} s",
        slowest_takeover=f"{max(takeovers):.2f} s",
    )
    assert max(ends) < 2


def _serves(ground: Ground, worker: subprocess.Popen[bytes]) -> bool:
    with ground.engine.connect() as connection:
        return worker.pid in connection.scalars(select(workers.c.pid)).all()
