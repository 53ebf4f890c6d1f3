"""SQLite's log, brought to the disk apart from the commits that wrote it.

A commit with ``synchronous=FULL`` waits for the disk with the only write lock in its hands, and
every other process waits with it: whoever writes much makes a person wait for a code. With
``NORMAL`` it leaves the log to the operating system: the database stays consistent, but what was
committed may be undone by a power cut (sqlite.org, "PRAGMA synchronous"). So a group commit
writes with ``NORMAL``, lets go of the lock, syncs the log itself, and answers nobody before.

The log is one file, written in order: what is on the disk stands on everything that was committed
before it, by whatever process. What a checkpoint takes out of the log is synced by SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Connection

from models.errors import DatabaseUnavailable

__all__ = ["CommitLog", "open_log"]

_CHECKPOINT_SECONDS = 5.0
_sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)

Told = Callable[[OSError | sqlite3.Error | None], object]


def open_log(connection: Connection) -> CommitLog | None:
    """Have a connection commit without waiting for the disk, and open the log that it writes.

    Returns:
        None for a database whose commits are on the disk when they return.

    Raises:
        DatabaseUnavailable: The log cannot be opened.
    """
    if connection.dialect.name != "sqlite":
        return None
    # Not within a transaction, and without beginning one.
    raw: Any = connection.connection.dbapi_connection
    raw.execute("PRAGMA synchronous=NORMAL")
    (_, _, path) = raw.execute("PRAGMA database_list").fetchone()
    try:
        return CommitLog(path)
    except OSError as error:
        raise DatabaseUnavailable(
            f"the database's log cannot be opened ({type(error).__name__})"
        ) from None


class CommitLog:
    """The log of a database to which this process holds a connection open.

    Without one, the last to close the database removes the file.

    Args:
        database: Path of the database.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._file = os.open(f"{database}-wal", os.O_RDONLY)
        self._whole = True
        self._waiting: SimpleQueue[Told | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="commit-log", daemon=True)
        self._thread.start()

    def when_synced(self, tell: Told) -> None:
        """Call ``tell`` once all that is committed by now is on the disk, or with what failed.

        It is called in another thread; whatever waits at the same time shares one sync.
        """
        self._waiting.put(tell)

    def close(self) -> None:
        """Sync and tell what was handed in, then let go of the file."""
        self._waiting.put(None)
        self._thread.join()
        os.close(self._file)

    def _work(self) -> None:
        told: Told | None
        while (told := self._waiting.get()) is not None:
            waiting = [told]
            while not self._waiting.empty():
                if (told := self._waiting.get()) is None:
                    self._waiting.put(None)
                    break
                waiting.append(told)
            failure = self._sync()
            for told in waiting:
                told(failure)

    def _sync(self) -> OSError | sqlite3.Error | None:
        try:
            if self._whole:
                self._whole = False
                _sync_data(self._file)
            else:
                self._move_into_database()
        except (OSError, sqlite3.Error) as error:
            return error
        self._whole = True
        return None

    def _move_into_database(self) -> None:
        """Empty a log that could not be synced once: the next sync would only seem to succeed."""
        with closing(sqlite3.connect(self._database, timeout=_CHECKPOINT_SECONDS)) as connection:
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the log is being read")
