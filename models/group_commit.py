"""Many threads' small writes, one transaction: the price of durability, shared.

A worker's threads each need three writes a job (claim, disclosure, settle). Committed one
by one they would cost more than the job itself, so every process has one writer thread: whatever
has been handed in while the previous transaction was being committed goes into the next. Nobody
waits for company: an idle writer commits a lone write at once.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models.commit_log import CommitLog, open_log
from models.database import WRITES, plan_by_key, writing_on
from models.errors import DatabaseUnavailable, ZjjError

__all__ = [
    "CLOSED",
    "IN_DOUBT",
    "REFUSED",
    "GroupCommit",
    "Transaction",
    "Write",
    "WriteApart",
    "may_be_lost",
]

IN_DOUBT = "database.in_doubt"
"""Code of a failure after which the write may stand all the same: its COMMIT was cut off."""
REFUSED = "database.refused"
"""Code of a failure that is the write's own: it will be refused again."""
CLOSED = "database.closed"
"""Code of a failure of a process that is about to end."""

P = TypeVar("P")
R = TypeVar("R")

_LARGEST_BATCH = 256
_PATIENCE_SECONDS = 0.02
_RECONNECTS = 3
_RECONNECT_SECONDS = 0.05


class Transaction:
    """A transaction in progress, as the writes of one batch see it.

    Attributes:
        repeated: The same batch was written before and its COMMIT was cut off: it may stand
            already, then as a whole.
    """

    __slots__ = ("_after_commit", "_before_commit", "connection", "repeated")

    def __init__(self, connection: Connection, *, repeated: bool = False) -> None:
        self.connection = connection
        self.repeated = repeated
        self._before_commit: dict[object, Callable[[], None]] = {}
        self._after_commit: dict[object, Callable[[], None]] = {}

    def before_commit(self, key: object, action: Callable[[], None]) -> None:
        """Run ``action`` as the transaction's last write, once for each key."""
        self._before_commit[key] = action

    def after_commit(self, key: object, action: Callable[[], None]) -> None:
        """Run ``action`` once the transaction stands, once for each key."""
        self._after_commit[key] = action

    def finish(self) -> None:
        """Run what waits for the commit."""
        for action in self._before_commit.values():
            action()

    def committed(self) -> None:
        """Run what waited for the transaction to stand."""
        for action in self._after_commit.values():
            action()


Write = Callable[[Transaction, Sequence[P]], Sequence[R]]
"""Stores a batch of items and returns one result for each, in order; a ZjjError among them is raised
to the one who handed that item in.

It must be idempotent for the same items: when the connection dies during COMMIT nobody knows
whether the batch stands, and it is written again (``transaction.repeated``).
"""


class WriteApart(Exception):
    """Raised by a write that cannot tell which of several items it must refuse.

    Nothing of the batch is kept; its items are then written one by one.
    """


_losable: set[object] = set()


def may_be_lost(write: Write[P, R]) -> Write[P, R]:
    """Mark a write that a power cut may undo without harm, as long as no later one stands alone.

    A batch of nothing else does not wait for the disk. Whatever is written for good later brings
    it to the disk as well, since both databases keep their log in order.
    """
    _losable.add(write)
    return write


class GroupCommit:
    """The writer thread of one process.

    Args:
        engine: Where to write; one of its connections is kept for the writer.
        name: Name of the thread, for debuggers.
        on_doubt: Called when a batch was given up without knowing whether it stands.
        patience: Seconds for which a write waits for company: where throughput counts, fewer and
            larger transactions leave the database to others.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        name: str = "group-commit",
        on_doubt: Callable[[], None] = lambda: None,
        patience: float = 0.0,
    ) -> None:
        self._patience = patience
        self._engine = engine
        self._on_doubt = on_doubt
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._connection: Connection | None = None
        self._log: CommitLog | None = None
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(
        self,
        write: Write[P, R],
        item: P,
        *,
        seen: Callable[[Any], object] | None = None,
        patient: bool = False,
    ) -> Future[R]:
        """Hand in one item; the future holds its result once it is durable.

        The future raises what ``write`` raised for this item, or DatabaseUnavailable.

        Args:
            seen: Called with a result that is no error, in the writer's thread, as soon as others
                see the write. They may build upon it before it is durable: nothing of theirs
                becomes durable without it.
            patient: Nobody waits for it, so it may wait for the next one's transaction.
        """
        future: Future[R] = Future()
        with self._closing:
            if self._closed:
                raise DatabaseUnavailable("this process no longer writes", code=CLOSED)
            patience = _PATIENCE_SECONDS if patient else self._patience
            self._queue.put(_Entry(write, item, future, seen, patience))
        return future

    def run(self, write: Write[P, R], item: P, *, seen: Callable[[Any], object] | None = None) -> R:
        """:meth:`submit`, and wait for the result."""
        return self.submit(write, item, seen=seen).result()

    def close(self) -> None:
        """Write what has been handed in, then stop. Safe to call twice."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        while batch := self._collect():
            # Whoever has stopped waiting (a cancelled request) is not written any more.
            self._settle([e for e in batch if e.future.set_running_or_notify_cancel()])
        self._disconnect()

    def _collect(self) -> list[_Entry]:
        """Wait for one, then for as long as all are patient; nothing at the end."""
        batch: list[_Entry] = []
        entry = self._queue.get()
        until = math.inf
        while entry is not None:
            batch.append(entry)
            until = min(until, entry.until)
            if len(batch) == _LARGEST_BATCH:
                return batch
            try:
                entry = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return batch
        if batch:
            self._queue.put(None)
        return batch

    def _settle(self, batch: list[_Entry]) -> None:
        try:
            if batch:
                self._write_reconnecting(batch)
        except DatabaseUnavailable as error:
            for entry in batch:
                entry.future.set_exception(DatabaseUnavailable(error.message, code=error.code))
        except Exception as error:  # noqa: BLE001 - whoever handed the item in gets it
            if len(batch) == 1:
                batch[0].future.set_exception(_without_parameters(error))
            else:
                # One bad item must not take its neighbours along.
                for entry in batch:
                    self._settle([entry])
        else:
            self._answer(batch)

    def _answer(self, batch: list[_Entry]) -> None:
        """Tell everybody as soon as what they wrote is as safe as it must be."""
        waiting = [e for e in batch if self._log is not None and e.write not in _losable]
        for entry in batch:
            if entry.seen is not None and not isinstance(entry.result, ZjjError):
                entry.seen(entry.result)
            if entry not in waiting:
                entry.resolve()
        if waiting and self._log is not None:
            self._log.when_synced(partial(_resolve_synced, waiting))

    def _write_reconnecting(self, batch: list[_Entry]) -> None:
        in_doubt = False
        for remaining in reversed(range(_RECONNECTS)):
            committing = False
            failure: Exception
            try:
                connection = self._connect()
                synced = any(entry.write not in _losable for entry in batch)
                with writing_on(connection, synced=synced):
                    transaction = Transaction(connection, repeated=in_doubt)
                    for write, entries in _by_write(batch):
                        results = write(transaction, [entry.item for entry in entries])
                        for entry, result in zip(entries, results, strict=True):
                            entry.result = result
                    transaction.finish()
                    committing = True
                transaction.committed()
                return
            except Exception as error:  # noqa: BLE001 - it goes to whoever waits
                if isinstance(error, DBAPIError) and _is_outage(error):
                    self._disconnect()
                    in_doubt = in_doubt or committing
                    if remaining and _may_pass(error):
                        time.sleep(_RECONNECT_SECONDS)
                        continue
                    failure = DatabaseUnavailable(
                        f"the database did not take the write ({type(error.orig).__name__})",
                        code=IN_DOUBT if in_doubt else None,
                    )
                elif isinstance(error, PoolTimeout):
                    failure = DatabaseUnavailable("others wait for the database already")
                else:
                    failure = error
                if in_doubt:
                    self._on_doubt()
            raise failure

    def _connect(self) -> Connection:
        if self._connection is None:
            connection = self._engine.connect().execution_options(**WRITES)
            plan_by_key(connection)
            self._log = open_log(connection)
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close()  # before the connection, with which the file may go
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except DBAPIError:
                pass


class _Entry:
    __slots__ = ("future", "item", "result", "seen", "until", "write")

    def __init__(
        self,
        write: Write[Any, Any],
        item: object,
        future: Future[Any],
        seen: Callable[[Any], object] | None,
        patience: float,
    ) -> None:
        self.write = write
        self.item = item
        self.future = future
        self.seen = seen
        self.until = time.monotonic() + patience
        self.result: object = None

    def resolve(self) -> None:
        if isinstance(self.result, ZjjError):
            self.future.set_exception(self.result)
        else:
            self.future.set_result(self.result)


def _resolve_synced(entries: list[_Entry], failure: Exception | None) -> None:
    for entry in entries:
        if failure is None:
            entry.resolve()
        else:
            entry.future.set_exception(
                DatabaseUnavailable(
                    f"the disk did not take the write ({type(failure).__name__})", code=IN_DOUBT
                )
            )


def _by_write(batch: list[_Entry]) -> list[tuple[Write[Any, Any], list[_Entry]]]:
    groups: dict[Write[Any, Any], list[_Entry]] = {}
    for entry in batch:
        groups.setdefault(entry.write, []).append(entry)
    return list(groups.items())


def _is_outage(error: DBAPIError) -> bool:
    """Whether the database is at fault, not the statement."""
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def _may_pass(error: DBAPIError) -> bool:
    """Whether a fresh connection could help at once: a lost one, a deadlock, a restart."""
    if error.connection_invalidated:
        return True
    return getattr(error.orig, "sqlstate", None) in {"40001", "40P01", "57P01", "57P02", "57P03"}


def _without_parameters(error: Exception) -> Exception:
    """A database error keeps its driver's class but loses the text, which may quote values."""
    if isinstance(error, StatementError):
        return DatabaseUnavailable(
            f"the database refused the write ({type(error.orig).__name__})", code=REFUSED
        )
    return error
