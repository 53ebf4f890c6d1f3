"""The ledger in the database: append-only rows, chained by a keyed MAC for each writer.

A chain belongs to one writer (a process). Every row's MAC covers its content and the MAC before
it; the writer's newest MAC is kept beside, so that a cut tail shows too. The key is not in the
database: whoever can write rows still cannot make them look untouched.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import heapq
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, RowMapping, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from models.clock import Clock, utc_now
from models.disclosures import Disclosure, DisclosureResult
from models.group_commit import GroupCommit, Transaction
from models.identifiers import new_id
from models.keys import derive_key
from models.settlement import Settlement, settle_jobs
from models.tables import disclosure_results, disclosures, ledger_heads

__all__ = ["Fault", "LedgerWriter", "SqlLedger", "verify_ledger"]

_GENESIS = "0" * 64
_CHAINED = (disclosures, disclosure_results)
_PAGE = 1000
_CHAIN = ("writer", "seq", "mac")


class LedgerWriter:
    """One process's chain. Its methods are group commit writes."""

    def __init__(self, key: bytes, *, clock: Clock = utc_now) -> None:
        self._key = derive_key(key, "ledger")
        self._clock = clock
        self.start_afresh()

    def start_afresh(self) -> None:
        """Begin a new chain, when nobody knows whether the old one's last rows stand."""
        self._writer = new_id()
        self._head = (0, _GENESIS)
        self._pending: tuple[Transaction, tuple[int, str]] | None = None

    def write_disclosures(
        self, transaction: Transaction, items: Sequence[Disclosure]
    ) -> list[None]:
        """Store disclosures, before their bytes leave."""
        self._append(transaction, disclosures, items)
        return [None] * len(items)

    def write_results(
        self, transaction: Transaction, items: Sequence[DisclosureResult]
    ) -> list[None]:
        """Store how disclosures ended."""
        self._append(transaction, disclosure_results, items)
        return [None] * len(items)

    def write_settlements(
        self, transaction: Transaction, items: Sequence[Settlement]
    ) -> list[bool]:
        """Settle jobs together with their disclosures' results."""
        return settle_jobs(transaction, items, self.write_results)

    def _append(
        self,
        transaction: Transaction,
        table: Table,
        items: Sequence[Disclosure] | Sequence[DisclosureResult],
    ) -> None:
        seq, mac = self._head_in(transaction)
        rows: list[dict[str, Any]] = []
        for item in items:
            row = asdict(item)
            seq, mac = seq + 1, _mac(self._key, mac, self._writer, seq + 1, row)
            rows.append(row | {"writer": self._writer, "seq": seq, "mac": mac})
        insert = _insert(transaction.connection, table)
        transaction.connection.execute(insert.on_conflict_do_nothing(), rows)
        head = _insert(transaction.connection, ledger_heads).values(
            writer=self._writer, seq=seq, mac=mac, updated_at=self._clock()
        )
        transaction.connection.execute(
            head.on_conflict_do_update(
                index_elements=[ledger_heads.c.writer],
                set_={name: head.excluded[name] for name in ("seq", "mac", "updated_at")},
            )
        )
        self._pending = (transaction, (seq, mac))
        transaction.after_commit(self, self._advance)

    def _head_in(self, transaction: Transaction) -> tuple[int, str]:
        if self._pending is not None and self._pending[0] is transaction:
            return self._pending[1]
        return self._head

    def _advance(self) -> None:
        if self._pending is not None:
            self._head = self._pending[1]
            self._pending = None


class SqlLedger:
    """The gate's ledger: a disclosure is durable before :meth:`record` returns."""

    def __init__(self, commits: GroupCommit, writer: LedgerWriter) -> None:
        self._commits = commits
        self._writer = writer

    def record(self, disclosure: Disclosure) -> None:
        """Store it.

        Raises:
            DatabaseUnavailable: It is not stored, so the bytes must not leave.
        """
        self._commits.run(self._writer.write_disclosures, disclosure)


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where the ledger is not what its writers wrote."""

    writer: str
    seq: int
    what: str
    """``removed``, ``altered`` or ``tail cut``."""


def verify_ledger(connection: Connection, key: bytes) -> Iterator[Fault]:
    """Walk every chain and yield what does not fit; an intact ledger yields nothing.

    One fault a chain: behind it nothing can be said.
    """
    key = derive_key(key, "ledger")
    heads: dict[str, tuple[int, str]] = {
        row.writer: (row.seq, row.mac) for row in connection.execute(select(ledger_heads))
    }
    writers = set(heads)
    for table in _CHAINED:
        writers.update(connection.scalars(select(table.c.writer).distinct()))
    for writer in sorted(writers):
        last, head = heads.get(writer, (0, None))
        fault = _verify_chain(key, writer, _chain(connection, writer), last, head)
        if fault is not None:
            yield fault


def _chain(connection: Connection, writer: str) -> Iterator[RowMapping]:
    """A writer's rows of both tables, in order."""
    tables = (_pages(connection, table, writer) for table in _CHAINED)
    return heapq.merge(*tables, key=lambda row: row["seq"])


def _pages(connection: Connection, table: Table, writer: str) -> Iterator[RowMapping]:
    after = 0
    while rows := (
        connection.execute(
            select(table)
            .where(table.c.writer == writer, table.c.seq > after)
            .order_by(table.c.seq)
            .limit(_PAGE)
        )
        .mappings()
        .all()
    ):
        yield from rows
        after = rows[-1]["seq"]


def _verify_chain(
    key: bytes, writer: str, rows: Iterable[RowMapping], last: int, head: str | None
) -> Fault | None:
    seq, mac = 0, _GENESIS
    for row in rows:
        seq += 1
        if row["seq"] != seq:
            return Fault(writer, seq, "removed")
        # The names are a subclass of str, which orjson does not take for a key.
        content = {str(name): row[name] for name in row if name not in _CHAIN}
        mac = _mac(key, mac, writer, seq, content)
        if not hmac.compare_digest(mac, row["mac"]):
            return Fault(writer, seq, "altered")
    if seq < last:
        return Fault(writer, seq + 1, "tail cut")
    if seq > last or mac != head:
        return Fault(writer, seq, "altered")
    return None


def _mac(key: bytes, previous: str, writer: str, seq: int, row: Mapping[str, Any]) -> str:
    content = orjson.dumps(
        [previous, writer, seq, row],
        default=_plain,
        option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME,
    )
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _plain(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")
    raise TypeError(f"{type(value).__name__} has no place in the ledger")


def _insert(connection: Connection, table: Table) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)
