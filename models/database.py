"""Opening a database, SQLite or PostgreSQL, with the same promises."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models.errors import ConfigurationError, DatabaseUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "NO_ANSWER",
    "VERSION_TABLE",
    "WRITES",
    "address",
    "answering",
    "is_current",
    "migrate",
    "open_database",
    "plan_by_key",
    "writing",
    "writing_on",
]

VERSION_TABLE = "zjj_schema"
"""Where Alembic notes our revision; a backend's own Alembic may live in the same schema."""

WRITES = {"zjj_writes": True}
"""Execution options of a connection that will write: SQLite then locks at BEGIN, not midway."""

NO_ANSWER = (DBAPIError, PoolTimeout)
"""What SQLAlchemy raises when the database does not answer; the second, when others wait for it."""

_BUSY_SECONDS = 5
_LOOK_SECONDS = 0.0003
"""A commit takes some milliseconds, the pause to the same writer's next one a part of one."""

_POSTGRES = {"timezone": "UTC", "lock_timeout": f"{_BUSY_SECONDS}s"}
# libpq: a server that vanishes without a word is given up within half a minute.
_SILENCE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_BY_KEY = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


def open_database(url: str) -> Engine:
    """An engine for ``sqlite:///file`` or ``postgresql://…`` (psycopg 3).

    SQLite runs in WAL mode with foreign keys on. Statement parameters never show in errors.

    Raises:
        ConfigurationError: The URL is neither.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("ZJJ_DATABASE_URL is not a database URL") from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            hide_parameters=True,
            pool_pre_ping=False,
            connect_args={
                "connect_timeout": 3,
                **_SILENCE,
                "options": " ".join(f"-c {name}={value}" for name, value in _POSTGRES.items()),
            },
        )
    if backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigurationError(
            "ZJJ_DATABASE_URL must be sqlite:///path/to/file or postgresql://user@host/name"
        )
    engine = create_engine(
        parsed.set(drivername="sqlite"),
        hide_parameters=True,
        connect_args={"timeout": _BUSY_SECONDS},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def address(url: str) -> str:
    """A database URL as it may be shown: without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "?"


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not open transactions on its own: _begin_sqlite does, with the right lock.
    connection.isolation_level = None
    _write_ahead(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    """Switch a file to WAL; where several begin together SQLite does not queue them, so we do."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get("zjj_writes"):
        connection.exec_driver_sql("BEGIN")
    elif not _took_turn(connection.connection.dbapi_connection):
        # Once more, for an error that SQLAlchemy knows.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _took_turn(connection: Any) -> bool:
    """Wait to be the one who writes, looking often.

    SQLite's own waiting sleeps longer and longer, up to 100 ms, so whoever writes all the time
    keeps everybody else out; a worker of bulk jobs would make a person wait for a code.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    connection.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return True
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    return False
            time.sleep(_LOOK_SECONDS)
    finally:
        connection.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A short transaction that will write."""
    with engine.connect().execution_options(**WRITES) as connection, connection.begin():
        yield connection


@contextmanager
def answering() -> Iterator[None]:
    """Whatever the driver reports inside means that the database does not answer.

    Raises:
        DatabaseUnavailable: Names the driver's error, and nothing of the statement.
    """
    try:
        yield
    except NO_ANSWER as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseUnavailable(
            f"the database does not answer ({type(cause).__name__})"
        ) from None


def plan_by_key(connection: Connection) -> None:
    """Make PostgreSQL find rows by key on this connection, whatever its statistics say.

    A queue's statistics are never right: with a plan made while it was empty, one job of a backlog
    would be found by reading all of it.
    """
    if connection.dialect.name == "postgresql":
        for name, value in _BY_KEY.items():
            connection.exec_driver_sql(f"SET {name} = {value}")
        connection.commit()


@contextmanager
def writing_on(connection: Connection, *, synced: bool) -> Iterator[None]:
    """A transaction of a connection that writes, and whether PostgreSQL's commit waits for the disk.

    For SQLite that is a matter of :mod:`models.commit_log`.
    """
    with connection.begin():
        if not synced and connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        yield


def _alembic() -> Config:
    # Late: a worker never migrates, and a seventh of what it takes to start would be for this.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision; several processes may try at once.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
    """
    from alembic import command

    config = _alembic()
    try:
        with engine.connect().execution_options(**WRITES) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7077001)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise DatabaseUnavailable(
            f"cannot migrate the database ({type(error.orig).__name__})"
        ) from None


def is_current(engine: Engine) -> bool:
    """Whether the schema is at the newest revision."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    newest = ScriptDirectory.from_config(_alembic()).get_current_head()
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        return context.get_current_revision() == newest
