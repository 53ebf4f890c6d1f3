"""Everything that a database holds, as bytes to search."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from models.tables import metadata

__all__ = ["dump_rows"]


def dump_rows(connection: Connection) -> Iterator[bytes]:
    """Each value of each row of each table, on a line of its own."""
    for table in metadata.sorted_tables:
        for row in connection.execute(select(table)):
            for value in row:
                yield value if isinstance(value, bytes) else str(value).encode()
                yield b"\n"
