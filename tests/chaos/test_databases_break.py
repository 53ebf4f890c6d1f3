"""The database is the truth: what it did not take was not accepted, what it took is done once."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event

from integrations.sandbox.faults import Fault
from models.states import State
from tests.chaos.ground import Ground
from tests.servers import PostgresServer

_Break = Callable[[PostgresServer, bool], None]
_FULL = pytest.mark.full


def _restart(server: PostgresServer, _full: bool) -> None:
    server.stop()
    server.start()


def _crash(server: PostgresServer, _full: bool) -> None:
    server.kill()
    server.start()


def _vanish(server: PostgresServer, full: bool) -> None:
    server.stop()
    time.sleep(10 if full else 3)
    server.start()


def _freeze(server: PostgresServer, _full: bool) -> None:
    """Its connections stand, and nobody answers: as behind a network that swallows everything."""
    frozen = [server.pid, *server.children()]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(10)
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)


def _cut(server: PostgresServer, full: bool) -> None:
    url = server.url().replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(30 if full else 6):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            time.sleep(0.3)


@pytest.mark.parametrize(
    ("name", "breakage"),
    [
        pytest.param("restart", _restart, marks=_FULL),
        ("kill -9", _crash),
        pytest.param("outage", _vanish, marks=_FULL),
        pytest.param("frozen", _freeze, marks=_FULL),
        ("connections cut", _cut),
    ],
)
def test_whatever_postgresql_does_what_was_accepted_is_done_once(
    postgres_ground: Ground,
    own_postgres: PostgresServer,
    full: bool,
    figure: Callable[..., None],
    name: str,
    breakage: _Break,
) -> None:
    ground = postgres_ground
    ground.start_worker()
    ground.ready()
    ground.enqueue(20)
    over = threading.Event()

    def keep_enqueueing() -> None:
        while not over.is_set():
            ground.enqueue(1)
            time.sleep(0.01)

    enqueueing = threading.Thread(target=keep_enqueueing)
    enqueueing.start()
    try:
        time.sleep(1)
        breakage(own_postgres, full)
        time.sleep(1)
    finally:
        over.set()
        enqueueing.join()
    ground.settle()
    ground.until(lambda: ground.states()[State.UNKNOWN] == 0, "what was in doubt is looked up")
    figure(f"PostgreSQL: {name}", **ground.audit())
    assert ground.states() == {State.SUCCEEDED: len(ground.accepted)}


@_FULL
def test_outcomes_outlast_minutes_without_a_database(
    postgres_ground: Ground, own_postgres: PostgresServer, figure: Callable[..., None]
) -> None:
    ground = postgres_ground
    ground.faults.add(Fault(kind="hang", seconds=4, action="SendSms"))
    worker = ground.start_worker()
    ground.ready()
    ids = ground.enqueue(16)
    ground.until(lambda: all(map(ground.journal.count, ids)), "the provider is called")
    own_postgres.stop()
    time.sleep(150)
    ground.faults.clear()
    own_postgres.start()
    ground.settle(30)
    assert worker.poll() is None
    figure("PostgreSQL: 150 s away while 16 calls hang", **ground.audit())
    assert ground.states() == {State.SUCCEEDED: 16}
    assert ground.most_counted_attempts() == 1


def test_a_full_disk_refuses_new_jobs_clearly_and_loses_none(
    tmp_path: Path, full: bool, figure: Callable[..., None]
) -> None:
    before, meanwhile = (500, 2000) if full else (20, 200)
    with Ground.open(tmp_path) as ground:
        if full:
            # Beside one who still finds room.
            ground.start_worker()
            ground.ready()
        ground.enqueue(before)
        # A limit on the database's pages, in this process only: SQLite answers as it does when
        # the disk is full (SQLITE_FULL).
        entrance = ground.entrance.engine
        entrance.dispose()

        def limit(connection: object, _record: object) -> None:
            connection.execute("PRAGMA max_page_count=1")  # type: ignore[attr-defined]

        event.listen(entrance, "connect", limit)
        ground.entrance.close()
        ground.entrance = ground._entrance()
        event.listen(ground.entrance.engine, "connect", limit)
        ground.enqueue(meanwhile)
        assert ground.refused > 0
        ground.entrance.close()
        ground.entrance = ground._entrance()
        ground.enqueue(before)
        ground.without_lifetimes()
        if not full:
            ground.start_worker()
        ground.settle()
        figure("SQLite: disk full", **ground.audit())
        assert ground.states() == {State.SUCCEEDED: len(ground.accepted)}


@_FULL
def test_a_worker_on_a_full_disk_sends_nothing_that_it_cannot_record(
    tmp_path: Path, figure: Callable[..., None]
) -> None:
    with Ground.open(tmp_path) as ground:
        ground.enqueue(300)
        ground.without_lifetimes()
        worker = ground.start_worker()
        ground.ready()
        # The worker may make no file longer than what stands: its log of changes (WAL) is full.
        size = max(path.stat().st_size for path in tmp_path.glob("zjj.db*"))
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size + 4096, resource.RLIM_INFINITY))
        time.sleep(5)
        resource.prlimit(
            worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
        if worker.poll() is not None:
            ground.start_worker()
        ground.settle()
        figures = ground.audit()
        figure("SQLite: disk full under a worker", **figures)
