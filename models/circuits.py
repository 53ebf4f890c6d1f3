"""One circuit breaker for each recipient, shared by all workers through the database.

Closed, it costs a healthy recipient nothing: only failures, and the first success after one, are
written. ``FAILURES`` in a row (over all workers) open it; while it is open nobody sends. Once its
time is over one worker takes the probe by moving that time on, so that a probe which never comes
back only delays the next one. A probe that succeeds closes the circuit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, or_, select, update

from models.batches import insert_into
from models.group_commit import Transaction
from models.tables import circuits

__all__ = [
    "Circuit",
    "CircuitNote",
    "Turn",
    "list_circuits",
    "rests",
    "take_probe",
    "write_notes",
]

_FAILURES = 5
_FIRST_REST = dt.timedelta(seconds=5)
_LONGEST_REST = dt.timedelta(seconds=30)
_PROBE = dt.timedelta(seconds=20)
"""Longer than any call to a provider takes."""
_MEMORY = dt.timedelta(seconds=30)
"""Failures that lie further apart have nothing to do with each other."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A recipient that has failed lately."""

    recipient: str
    failures: int
    """In a row."""
    trips: int
    """How often it has opened in a row."""
    open_until: dt.datetime | None
    """None while it is closed; in the past when a probe is due."""
    probing: bool = False
    """Somebody is trying; they have until ``open_until``."""
    changed_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class CircuitNote:
    """What came of a call."""

    recipient: str
    failed: bool
    at: dt.datetime


class Turn(StrEnum):
    """What a note did."""

    NONE = "none"
    OPENED = "opened"
    CLOSED = "closed"


def rests(circuit: Circuit, now: dt.datetime) -> bool:
    """Whether its recipient is to be left alone.

    A rest that would last longer than any does was begun by a clock that has been put back since.
    """
    return circuit.open_until is not None and now < circuit.open_until <= now + _LONGEST_REST


def list_circuits(connection: Connection) -> list[Circuit]:
    """All recipients that have failed since they last answered."""
    rows = connection.execute(select(circuits).order_by(circuits.c.recipient))
    return [_circuit(row) for row in rows]


def take_probe(connection: Connection, recipient: str, *, now: dt.datetime) -> bool:
    """Whether the caller may try a recipient whose rest is over; nobody else may meanwhile."""
    return bool(
        connection.execute(
            update(circuits)
            .where(
                circuits.c.recipient == recipient,
                or_(circuits.c.open_until <= now, circuits.c.open_until > now + _LONGEST_REST),
            )
            .values(open_until=now + _PROBE, probing=True, changed_at=now)
        ).rowcount
    )


def write_notes(transaction: Transaction, notes: Sequence[CircuitNote]) -> list[Turn]:
    """Note successes and failures, as a group commit write."""
    return [_note(transaction.connection, note) for note in notes]


def _note(connection: Connection, note: CircuitNote) -> Turn:
    known = _find(connection, note.recipient)
    if not note.failed:
        if known.failures == 0 and known.open_until is None:
            return Turn.NONE
        _store(connection, Circuit(note.recipient, 0, 0, None), note.at)
        return Turn.NONE if known.open_until is None else Turn.CLOSED
    if known.open_until is not None and not known.probing:
        # A call that began before the circuit opened says nothing new.
        return Turn.NONE
    if not known.probing and known.changed_at and note.at - known.changed_at > _MEMORY:
        known = Circuit(note.recipient, 0, 0, None)
    failures = known.failures + 1
    if not known.probing and failures < _FAILURES:
        _store(connection, Circuit(note.recipient, failures, known.trips, None), note.at)
        return Turn.NONE
    rest = min(_FIRST_REST * 2**known.trips, _LONGEST_REST)
    # The longest rest is reached long before.
    trips = min(known.trips + 1, 10)
    _store(connection, Circuit(note.recipient, failures, trips, note.at + rest), note.at)
    return Turn.NONE if known.probing else Turn.OPENED


def _find(connection: Connection, recipient: str) -> Circuit:
    row = connection.execute(
        select(circuits).where(circuits.c.recipient == recipient).with_for_update()
    ).one_or_none()
    return Circuit(recipient, 0, 0, None) if row is None else _circuit(row)


def _circuit(row: Any) -> Circuit:
    return Circuit(
        row.recipient, row.failures, row.trips, row.open_until, row.probing, row.changed_at
    )


def _store(connection: Connection, circuit: Circuit, at: dt.datetime) -> None:
    values = {
        "failures": circuit.failures,
        "trips": circuit.trips,
        "open_until": circuit.open_until,
        "probing": circuit.probing,
        "changed_at": at,
    }
    connection.execute(
        insert_into(connection.dialect.name, circuits)
        .values(recipient=circuit.recipient, **values)
        .on_conflict_do_update(index_elements=[circuits.c.recipient], set_=values)
    )
