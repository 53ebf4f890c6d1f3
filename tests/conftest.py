"""What every test may ask for: real servers, empty for each test, and nothing of the developer's.

Sockets reach loopback only; pytest-socket is told so in ``pyproject.toml``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.servers import PostgresServer, RedisServer

# A developer's own settings and credentials must not reach a test, or a provider.
for _name in [name for name in os.environ if name.startswith(("ZJJ_", "ALIBABA_CLOUD_"))]:
    del os.environ[_name]

# In CI the examples follow from the test alone: red means that the change broke something, and it
# is red for everybody. Elsewhere they are fresh on each run, which is where new faults are found.
# No deadlines: on a shared machine they measure the neighbours.
settings.register_profile("fresh", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("thorough", deadline=None, print_blob=True, max_examples=2000)
# Where it matters that a test fails, not why: the same examples, and no search for a simpler one.
settings.register_profile(
    "hasty",
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("ci" if os.environ.get("CI") else "fresh")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for all tests; those that stop or kill one make their own."""
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests; those that stop or kill one make their own."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of an empty PostgreSQL database."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'zjj.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database, once for each kind that we support."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
