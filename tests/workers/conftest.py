"""A migrated database of each kind, and what hangs on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from integrations.sandbox.app import create_sandbox
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.server import SandboxServer
from models.database import migrate, open_database
from tests.workers.tills import Shop
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


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(create_sandbox(SandboxConfig(limits=False))) as running:
        yield running


@pytest.fixture
def shop(engine: Engine, server: SandboxServer, tmp_path: Path) -> Iterator[Shop]:
    server.sandbox.reset()
    with Shop.open(engine, server, tmp_path) as shop:
        yield shop
