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
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine

from models.errors import DatabaseUnavailable

__all__ = ["CommitLog", "open_log", "shorten_log"]

_CHECKPOINT_SECONDS = 5.0
_LONG_FRAMES = 8_000
"""A frame is a page of 4 KiB; a log twice as long is shortened by whoever commits."""
_PATIENCE_SECONDS = 0.05
_THREADS = 2
"""Who comes while a sync is under way needs another, and does not wait for the first."""

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
    # Who has just committed must not make his callers wait for a checkpoint as well.
    raw.execute(f"PRAGMA wal_autocheckpoint={2 * _LONG_FRAMES}")
    (_, _, path) = raw.execute("PRAGMA database_list").fetchone()
    try:
        return CommitLog(path)
    except OSError as error:
        raise DatabaseUnavailable(
            f"the database's log cannot be opened ({type(error).__name__})"
        ) from None


def shorten_log(engine: Engine) -> None:
    """Bring what SQLite's log holds into the database, beside everybody's work.

    While somebody always writes, a checkpoint never comes to the log's end, and the file would
    grow on and on: once it is long, everybody waits for the last few pages, and the next commit
    begins the file anew. To be called once in a while; does nothing for another database.
    """
    if engine.dialect.name != "sqlite" or engine.url.database is None:
        return
    with closing(sqlite3.connect(engine.url.database, timeout=_PATIENCE_SECONDS)) as connection:
        (_, frames, _) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if frames > _LONG_FRAMES:
            connection.execute("PRAGMA wal_checkpoint(RESTART)")


class CommitLog:
    """The log of a database to which this process holds a connection open.

    Without one, the last to close the database removes the file.

    Args:
        database: Path of the database.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._waiting: SimpleQueue[Told | None] = SimpleQueue()
        # The system tells of a failed sync once to each who has the file open.
        files = [os.open(f"{database}-wal", os.O_RDONLY) for _ in range(_THREADS)]
        self._threads = [
            threading.Thread(target=self._work, args=(file,), name="commit-log", daemon=True)
            for file in files
        ]
        for thread in self._threads:
            thread.start()

    def when_synced(self, tell: Told) -> None:
        """Call ``tell`` once all that is committed by now is on the disk, or with what failed.

        It is called in another thread; whatever waits at the same time shares one sync.
        """
        self._waiting.put(tell)

    def close(self) -> None:
        """Sync and tell what was handed in, then let go of the file."""
        self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, file: int) -> None:
        failure: OSError | sqlite3.Error | None = None
        while waiting := self._collect():
            try:
                if failure is None:
                    _sync_data(file)
                else:
                    # What the system could not write it forgets, and a sync seems to succeed.
                    self._move_into_database()
                    failure = None
            except (OSError, sqlite3.Error) as error:
                failure = error
            for tell in waiting:
                tell(failure)
        os.close(file)

    def _collect(self) -> list[Told]:
        """Wait for one, then take what else is there; nothing at the end."""
        waiting = [self._waiting.get()]
        with suppress(Empty):
            while waiting[-1] is not None:
                waiting.append(self._waiting.get_nowait())
        if waiting[-1] is None:
            self._waiting.put(waiting.pop())  # for the other threads, and for our next look
        return [tell for tell in waiting if tell is not None]

    def _move_into_database(self) -> None:
        """Empty the log, all of which SQLite syncs elsewhere."""
        with closing(sqlite3.connect(self._database, timeout=_CHECKPOINT_SECONDS)) as connection:
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the log is being read")
