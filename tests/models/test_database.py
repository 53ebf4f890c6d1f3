"""Opening a database, either kind, with the same promises."""

from __future__ import annotations

import datetime as dt
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.exc import DBAPIError, OperationalError, StatementError

from models.database import VERSION_TABLE, is_current, migrate, open_database, plan_by_key, writing
from models.errors import ConfigurationError, DatabaseUnavailable
from models.tables import jobs, metadata
from tests.models.rows import NOW, a_job, job_row, store


@pytest.fixture
def fresh(database_url: str) -> Iterator[Engine]:
    """A database in which nothing is yet."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


# URLs.


@pytest.mark.parametrize(
    "url",
    [
        "",
        "not a url",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "mysql://secret@host/db",
        "oracle+cx_oracle://secret@host/db",
        "postgresql://secret@host:port/db",
        "://secret",
    ],
)
def test_what_is_no_database_of_ours_is_refused_by_name_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ZJJ_DATABASE_URL") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///zjj.db", "pysqlite"),
        ("sqlite+aiosqlite:///zjj.db", "pysqlite"),
        ("postgresql://u@h/d", "psycopg"),
        ("postgresql+psycopg2://u@h/d", "psycopg"),
        ("postgresql+asyncpg://u@h/d", "psycopg"),
    ],
)
def test_the_driver_is_ours_to_choose(url: str, driver: str) -> None:
    assert open_database(url).dialect.driver == driver


def test_a_password_does_not_show(tmp_path: Path) -> None:
    assert "secret" not in repr(open_database("postgresql://zjj:secret@h/d"))


# What an error tells.


def test_an_error_never_quotes_a_parameter(engine: Engine) -> None:
    with pytest.raises(DBAPIError) as caught, writing(engine) as connection:
        connection.execute(
            jobs.insert().values(id="SECRET-1", kind=None, queue="SECRET-2", sealed=b"SECRET-3")
        )
    # PostgreSQL's own detail quotes the row; models/group_commit.py keeps it from travelling.
    told = [line for line in str(caught.value).splitlines() if not line.startswith("DETAIL")]
    assert "SECRET" not in "".join(told)


def test_a_datetime_without_a_zone_has_no_place(engine: Engine) -> None:
    with pytest.raises(StatementError, match="naive"), writing(engine) as connection:
        connection.execute(select(jobs).where(jobs.c.run_at <= NOW.replace(tzinfo=None)))


@pytest.mark.parametrize("hours", [-11, 0, 8, 14])
def test_an_instant_comes_back_the_same_in_utc(engine: Engine, hours: int) -> None:
    elsewhere = NOW.astimezone(dt.timezone(dt.timedelta(hours=hours)))
    (job_id,) = store(engine, a_job(run_at=elsewhere))
    read = job_row(engine, job_id).run_at
    assert read == NOW
    assert read.utcoffset() == dt.timedelta(0)


# SQLite.


def test_sqlite_writes_ahead_and_waits_for_its_turn(sqlite: Engine) -> None:
    with sqlite.connect() as connection:
        told = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    assert told == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 5000}


def test_a_reader_sees_one_state_while_somebody_writes(sqlite: Engine) -> None:
    with sqlite.connect() as reader:
        assert _count(reader) == 0
        store(sqlite, a_job())
        assert _count(reader) == 0
    with sqlite.connect() as reader:
        assert _count(reader) == 1


def test_writers_take_turns_from_the_first_moment(engine: Engine) -> None:
    """A transaction that reads before it writes is not told to go away midway."""
    (job_id,) = store(engine, a_job())
    start = threading.Barrier(6)

    def count_up() -> None:
        start.wait()
        for _ in range(10):
            with writing(engine) as connection:
                query = select(jobs.c.attempts).where(jobs.c.id == job_id).with_for_update()
                attempts = connection.execute(query).scalar_one()
                connection.execute(jobs.update().values(attempts=attempts + 1))

    with ThreadPoolExecutor(6) as pool:
        for task in [pool.submit(count_up) for _ in range(6)]:
            task.result()
    assert job_row(engine, job_id).attempts == 60


def test_a_writer_gets_its_turn_soon_though_another_writes_again_and_again(sqlite: Engine) -> None:
    over = threading.Event()

    def write_on() -> None:
        while not over.is_set():
            with writing(sqlite) as connection:
                connection.exec_driver_sql("UPDATE jobs SET attempts = attempts")
                time.sleep(0.003)
            # A group commit hands its answers out before it writes again.
            time.sleep(0.001)

    waits = []
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(write_on)
        try:
            for _ in range(20):
                began = time.monotonic()
                with writing(sqlite):
                    waits.append(time.monotonic() - began)
                time.sleep(0.005)
        finally:
            over.set()
        busy.result()
    assert sorted(waits)[len(waits) // 2] < 0.05


def test_a_writer_that_never_gets_its_turn_is_told_so(
    sqlite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.database._BUSY_SECONDS", 0.05)
    with writing(sqlite), pytest.raises(OperationalError), writing(sqlite):
        pass


def _count(connection: Connection) -> int:
    return len(connection.execute(select(jobs.c.id)).all())


# PostgreSQL.


def test_nobody_waits_for_a_lock_for_ever(postgres: Engine) -> None:
    with postgres.connect() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "5s"
        assert connection.exec_driver_sql("SHOW timezone").scalar() == "UTC"


def test_planning_by_key_lasts_as_long_as_the_connection(postgres: Engine) -> None:
    with postgres.connect() as connection:
        plan_by_key(connection)
        connection.rollback()
        assert connection.exec_driver_sql("SHOW plan_cache_mode").scalar() == "force_generic_plan"
        connection.invalidate()


def test_sqlite_needs_no_planning_by_key(sqlite: Engine) -> None:
    with sqlite.connect() as connection:
        plan_by_key(connection)
        assert not connection.in_transaction()


# Migrations.


def test_a_fresh_database_becomes_current(fresh: Engine) -> None:
    assert not is_current(fresh)
    migrate(fresh)
    assert is_current(fresh)
    assert set(metadata.tables) < set(inspect(fresh).get_table_names())
    migrate(fresh)
    assert is_current(fresh)


def test_the_migrations_make_the_tables_that_the_code_knows(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "version_table": VERSION_TABLE}
        )
        assert compare_metadata(context, metadata) == []


def test_the_live_indexes_cover_unsettled_rows_only(engine: Engine) -> None:
    with engine.connect() as connection:
        indexes = {i["name"]: i for i in inspect(connection).get_indexes("jobs")}
    for name in ("ix_jobs_due", "ix_jobs_expiring", "ix_jobs_claimed_by"):
        options = indexes[name]["dialect_options"]
        assert "state" in str(options[f"{engine.dialect.name}_where"]), name


_MIGRATE = """
import sys
from models.database import is_current, migrate, open_database

engine = open_database(sys.stdin.readline().strip())
print("ready", flush=True)
sys.stdin.readline()
migrate(engine)
assert is_current(engine)
"""


def test_several_processes_may_migrate_at_once(database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MIGRATE],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{database_url}\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            _, errors = process.communicate(timeout=30)
            assert (process.returncode, errors) == (0, "")
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    engine = open_database(database_url)
    try:
        assert is_current(engine)
    finally:
        engine.dispose()


def test_a_new_file_that_somebody_just_begins_with_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself does not wait when it is to switch to WAL."""
    path = tmp_path / "new.db"
    somebody = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    somebody.execute("BEGIN IMMEDIATE")
    threading.Timer(0.2, somebody.rollback).start()
    engine = open_database(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()
    somebody.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(fresh: Engine) -> None:
    with writing(fresh) as connection:
        connection.execute(text("CREATE TABLE workers (id INTEGER)"))
    with pytest.raises(DatabaseUnavailable):
        migrate(fresh)
    assert not is_current(fresh)
    assert set(inspect(fresh).get_table_names()) - {VERSION_TABLE} == {"workers"}


def test_a_migration_without_a_database_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=OperationalError.__name__):
        migrate(open_database(f"sqlite:///{tmp_path / 'no' / 'folder.db'}"))


def test_a_postgresql_that_vanishes_without_a_word_is_given_up(postgres: Engine) -> None:
    with postgres.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        with socket.socket(fileno=os.dup(driver.fileno())) as wire:
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
