"""The servers that everybody shares: Redis for messages, PostgreSQL for rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import PostgresServer, RedisServer

__all__ = ["open_servers"]


class _DurablePostgres(PostgresServer):
    """Syncs at each commit, as in production; tests do without."""

    def _command(self) -> list[str]:
        options = ("fsync=on", "full_page_writes=on", "shared_buffers=128MB")
        return [*super()._command(), *(word for option in options for word in ("-c", option))]


@contextmanager
def open_servers() -> Iterator[tuple[RedisServer, PostgresServer]]:
    """Both, running; Redis without append-only file, the faster way for those who keep jobs there.

    Raises:
        ServerUnavailableError: One cannot be had here.
    """
    redis = RedisServer()
    try:
        redis.start()
        postgres = _DurablePostgres()
        try:
            postgres.start()
            yield redis, postgres
        finally:
            postgres.close()
    finally:
        redis.close()
