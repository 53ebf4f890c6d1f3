"""Chaos in two sizes: short with every `make test`, full with `make chaos`; figures at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.ground import Ground
from tests.servers import PostgresServer

_FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="chaos in full size")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: left out of the short form of chaos")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    full = config.getoption("--full", default=False)
    for item in items:
        if "tests/chaos" in item.path.as_posix():
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.timeout(1800))
            if item.get_closest_marker("full") and not full:
                item.add_marker(pytest.mark.skip(reason="in full size only: make chaos"))


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether there is time for the full size."""
    return bool(request.config.getoption("--full", default=False))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Note a row of the table in docs/reliability.md."""
    stash = request.config.stash.setdefault(_FIGURES, [])

    def note(what: str, **values: object) -> None:
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
        stash.append(f"| {what} | {said} |")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in terminalreporter.config.stash.get(_FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """On SQLite."""
    with Ground.open(tmp_path) as ground:
        yield ground


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that a test may stop and kill."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_ground(tmp_path: Path, own_postgres: PostgresServer) -> Iterator[Ground]:
    """On PostgreSQL."""
    database = own_postgres.url(own_postgres.create_database())
    with Ground.open(tmp_path, database=database) as ground:
        yield ground
