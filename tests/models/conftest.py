"""The core's databases: one of each kind, migrated once and empty for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from models.database import migrate, open_database, writing
from models.group_commit import GroupCommit
from models.ledger import LedgerWriter
from models.tables import metadata
from tests.models.rows import KEY
from tests.servers import PostgresServer


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "zjj.db"
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def _migrated_postgres(postgres_server: PostgresServer) -> Iterator[Engine]:
    engine = open_database(postgres_server.url(postgres_server.create_database()))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite(_migrated_sqlite: Path, tmp_path: Path) -> Iterator[Engine]:
    """A migrated, empty SQLite database."""
    engine = open_database(f"sqlite:///{shutil.copy(_migrated_sqlite, tmp_path)}")
    yield engine
    engine.dispose()


@pytest.fixture
def postgres(_migrated_postgres: Engine) -> Engine:
    """A migrated, empty PostgreSQL database."""
    with writing(_migrated_postgres) as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
    return _migrated_postgres


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """A migrated, empty database, once for each kind."""
    database: Engine = request.getfixturevalue(request.param)
    return database


@pytest.fixture
def another_engine(engine: Engine) -> Iterator[Callable[[], Engine]]:
    """Opens the same database as another process would."""
    opened: list[Engine] = []

    def open_another() -> Engine:
        opened.append(open_database(engine.url.render_as_string(hide_password=False)))
        return opened[-1]

    yield open_another
    for other in opened:
        other.dispose()


@pytest.fixture
def commits(engine: Engine) -> Iterator[GroupCommit]:
    """The writer of one process."""
    commits = GroupCommit(engine)
    yield commits
    commits.close()


@pytest.fixture
def ledger() -> LedgerWriter:
    """One process's chain."""
    return LedgerWriter(KEY)
