"""Chains of rows: each row's MAC covers its content and the MAC before it.

A chain belongs to one writer (a process), and its end is kept beside under a MAC of its own, so
that a cut tail shows too. The key is not in the database: whoever can write rows cannot make them
look untouched. What does not show from within is a chain that is gone as a whole, or a database
put back as it was before; for that, the ends of all chains are kept elsewhere and compared later.
"""

from __future__ import annotations

import datetime as dt
import heapq
import hmac
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, RowMapping, Table, select

from models.keys import derive_key
from models.tables import disclosure_results, disclosures, ledger_heads

__all__ = [
    "GENESIS",
    "ChainEnd",
    "Fault",
    "chain_ends",
    "chain_key",
    "head_mac",
    "row_mac",
    "verify_ledger",
]

GENESIS = "0" * 64
"""The MAC before the first row."""

_CHAINED = (disclosures, disclosure_results)
_PAGE = 1000
_CHAIN = ("writer", "seq", "mac")
# Columns younger than the first rows. Empty they are no part of what the MAC covers, so that rows
# verify that were written before; filled or emptied later they change it like any other.
_YOUNGER = ("guardian_ref",)


def chain_key(key: bytes) -> bytes:
    """The key of all chains, from the deployment's."""
    return derive_key(key, "ledger")


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """How long a writer's chain was at some moment, under a MAC."""

    writer: str
    seq: int
    mac: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where the ledger is not what its writers wrote."""

    writer: str
    seq: int
    what: str
    """``removed``, ``altered`` or ``tail cut``."""


def chain_ends(connection: Connection) -> list[ChainEnd]:
    """Where every chain ends now; kept elsewhere, they show later that nothing of it is gone."""
    heads = select(ledger_heads.c.writer, ledger_heads.c.seq, ledger_heads.c.mac)
    return [ChainEnd(*row) for row in connection.execute(heads.order_by(ledger_heads.c.writer))]


def verify_ledger(
    connection: Connection,
    key: bytes,
    *,
    known: Iterable[ChainEnd] = (),
    walked: Callable[[int], object] = lambda _: None,
) -> Iterator[Fault]:
    """Walk every chain and yield what does not fit; an intact ledger yields nothing.

    One fault a chain: behind it nothing can be said. Writers may go on writing meanwhile.

    Args:
        known: Ends from an earlier moment; each chain must still be there, at least as long.
        walked: Told now and then how many more rows were read.
    """
    key = chain_key(key)
    writers: set[str] = set()
    for table in (*_CHAINED, ledger_heads):
        writers.update(connection.scalars(select(table.c.writer).distinct()))
    earlier = {end.writer: end for end in known}
    for writer in sorted(writers | earlier.keys()):
        if writer not in writers:
            yield Fault(writer, 1, "removed")
            continue
        # The end is read before the rows, so that there may be more rows than it knows of.
        head = connection.execute(
            select(ledger_heads).where(ledger_heads.c.writer == writer)
        ).one_or_none()
        ends = [ChainEnd(writer, head.seq, head.mac) if head else ChainEnd(writer, 0, "")]
        ends += [earlier[writer]] if writer in earlier else []
        fault = _verify_chain(key, writer, _chain(connection, writer, walked), ends)
        if fault is not None:
            yield fault


def _chain(
    connection: Connection, writer: str, walked: Callable[[int], object]
) -> Iterator[RowMapping]:
    """A writer's rows of both tables, in order."""
    tables = (_pages(connection, table, writer, walked) for table in _CHAINED)
    return heapq.merge(*tables, key=lambda row: row["seq"])


def _pages(
    connection: Connection, table: Table, writer: str, walked: Callable[[int], object]
) -> Iterator[RowMapping]:
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
        walked(len(rows))
        after = rows[-1]["seq"]


def _verify_chain(
    key: bytes, writer: str, rows: Iterable[RowMapping], ends: Iterable[ChainEnd]
) -> Fault | None:
    due: dict[int, list[str]] = {}
    for end in ends:
        due.setdefault(end.seq, []).append(end.mac)
    seq, mac = 0, GENESIS

    def fits() -> bool:
        expected = head_mac(key, mac, writer, seq)
        return all(hmac.compare_digest(expected, each) for each in due.get(seq, ()))

    begun = fits()
    for row in rows:
        seq += 1
        if row["seq"] != seq:
            return Fault(writer, seq, "removed")
        # The names are a subclass of str, which orjson does not take for a key.
        content = {str(name): row[name] for name in row if name not in _CHAIN}
        mac = row_mac(key, mac, writer, seq, content)
        if not hmac.compare_digest(mac, row["mac"]):
            return Fault(writer, seq, "altered")
        if seq in due and not fits():
            return Fault(writer, seq, "altered")
    if seq < max(due):
        return Fault(writer, seq + 1, "tail cut")
    return None if begun else Fault(writer, 0, "altered")


def row_mac(key: bytes, previous: str, writer: str, seq: int, row: dict[str, Any]) -> str:
    """Over a row's content and the MAC before it."""
    absent = {name for name in _YOUNGER if row.get(name) is None}
    content = {name: row[name] for name in row if name not in absent}
    return _mac(key, previous, writer, seq, content)


def _mac(key: bytes, previous: str, writer: str, seq: int, content: object) -> str:
    text = orjson.dumps(
        [previous, writer, seq, content],
        default=_plain,
        option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME,
    )
    return hmac.digest(key, text, "sha256").hex()


def head_mac(key: bytes, mac: str, writer: str, seq: int) -> str:
    """Over the end of a chain."""
    return _mac(key, mac, writer, seq, "head")


def _plain(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")
    raise TypeError(f"{type(value).__name__} has no place in the ledger")
