"""A migrated database of each kind, and what hangs on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from models.database import migrate, open_database
from workers.dispatch import Dispatcher, connect_redis


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def dispatcher(redis_url: str, engine: Engine) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(connect_redis(redis_url), engine)
    yield dispatcher
    dispatcher.close()
