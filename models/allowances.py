"""Permits in the database, which is the truth about them, and the alarms that hang on them.

Whoever takes permits holds the rows of their keys until its transaction ends, so takes of one key
follow one another on both databases, whoever makes them. Keys are locked in one order everywhere.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, delete, select, update

from models.audits import Audit, write_audits
from models.batches import Batch, among, columns_of, insert_into, inserting, upserting
from models.errors import Throttled
from models.group_commit import Transaction
from models.limits import Demand, Rule, Take, Tally, Watch, milliseconds, throttled
from models.tables import alarms, limits

__all__ = [
    "Alarm",
    "Books",
    "announce_alarms",
    "any_alarm",
    "list_alarms",
    "prune_limits",
    "release_alarms",
    "write_takes",
]

_ACTOR = "gateway"


@dataclass(slots=True, kw_only=True)
class Alarm:
    """Far more new keys than usual: newcomers pass slowly until it is over."""

    scope: str
    """``all`` or ``backend:name``."""
    since: dt.datetime
    until: dt.datetime
    """It is over then, unless another newcomer is refused before."""
    refused: int
    """Newcomers so far."""


class Books:
    """The tallies of a batch, read and locked, until they are written back.

    Args:
        connection: A transaction that will write.
        takes: All that will be asked of it.
    """

    def __init__(self, connection: Connection, takes: Sequence[Take]) -> None:
        self._connection = connection
        keys = sorted({key for take in takes for key in _keys(take)})
        self._tallies = self._lock(keys, takes[0].at) if keys else {}
        scopes = sorted({watch.scope for take in takes for watch in take.watches})
        self._alarms = self._alarms_of(scopes) if scopes else {}
        self._changed: set[str] = set()
        self._begun: set[str] = set()

    def take(self, take: Take) -> Throttled | None:
        """Take all permits; or none, and say which was missing for how long."""
        now = milliseconds(take.at)
        refusal: Throttled | None = None
        for demand in take.demands:
            wait = max((self._tallies[demand.key].wait(r, now) for r in demand.rules), default=0)
            if wait > 0 and (refusal is None or wait > (refusal.retry_after or 0)):
                refusal = throttled(demand, wait)
        if refusal is None and take.person and self._tallies[take.person].is_empty(now):
            refusal = self._newcomer(take, now)
        if refusal is None:
            for demand in take.demands:
                for rule in demand.rules:
                    self._tallies[demand.key].add(rule, now)
        return refusal

    def give_back(self, take: Take) -> None:
        """Undo a take of this batch; newcomers stay counted."""
        now = milliseconds(take.at)
        for demand in take.demands:
            for rule in demand.rules:
                self._tallies[demand.key].give_back(rule, now)

    def holds(self, take: Take) -> bool:
        """Whether a take of that very moment stands in every window."""
        now = milliseconds(take.at)
        return all(
            self._tallies[demand.key].holds(rule, now)
            for demand in take.demands
            for rule in demand.rules
        )

    def close(self) -> None:
        """Write back what has changed."""
        rows = [
            {
                "key": key,
                "taken": tally.slots,
                "kept_until": dt.datetime.fromtimestamp(tally.kept_until() / 1000, dt.UTC),
            }
            for key, tally in self._tallies.items()
            if tally.changed
        ]
        if rows:
            _STORE.execute(self._connection, rows)
        for scope in sorted(self._changed):
            self._store(self._alarms[scope])

    def _lock(self, keys: list[str], now: dt.datetime) -> dict[str, Tally]:
        tallies: dict[str, Tally] = {}
        while len(tallies) < len(keys):  # again, if a row was pruned in between
            # First the missing rows, because only a row can be locked.
            _PREPARE.execute(
                self._connection, [{"key": key, "taken": {}, "kept_until": now} for key in keys]
            )
            rows = self._connection.execute(_locking(self._connection.dialect.name), {"keys": keys})
            tallies = {row.key: Tally.read(row.taken) for row in rows}
        return tallies

    def _alarms_of(self, scopes: list[str]) -> dict[str, Alarm]:
        rows = self._connection.execute(
            _alarming(self._connection.dialect.name), {"scopes": scopes}
        )
        return {row.scope: _alarm(row) for row in rows}

    def _newcomer(self, take: Take, now: int) -> Throttled | None:
        """Count a newcomer for every watch, unless an alarm that is on lets no more of them in."""
        steps: list[tuple[str, Rule]] = []
        longest = 0.0
        for watch in take.watches:
            alarm = self._on(watch, take.at) or self._raised(watch, take.at, now)
            if alarm is None:
                steps.append((watch.key, watch.threshold))
                continue
            steps.append((watch.pace_key, watch.pace))
            wait = self._tallies[watch.pace_key].wait(watch.pace, now)
            if wait > 0:
                alarm.refused += 1
                alarm.until = take.at + dt.timedelta(seconds=watch.hold)
                self._changed.add(watch.scope)
                longest = max(longest, wait)
        if longest > 0:
            return throttled(Demand(take.person or "", (), "limit.alarm"), longest)
        for key, rule in steps:
            self._tallies[key].add(rule, now)
        return None

    def _on(self, watch: Watch, at: dt.datetime) -> Alarm | None:
        alarm = self._alarms.get(watch.scope)
        return alarm if alarm is not None and alarm.until > at else None

    def _raised(self, watch: Watch, at: dt.datetime, now: int) -> Alarm | None:
        if self._tallies[watch.key].wait(watch.threshold, now) == 0:
            return None
        alarm = Alarm(
            scope=watch.scope, since=at, until=at + dt.timedelta(seconds=watch.hold), refused=0
        )
        self._alarms[watch.scope] = alarm
        self._changed.add(watch.scope)
        self._begun.add(watch.scope)
        _audit(
            self._connection,
            alarm,
            "alarm.raise",
            f"more than {watch.threshold.permits} new numbers in {watch.threshold.seconds} seconds",
            at,
        )
        return alarm

    def _store(self, alarm: Alarm) -> None:
        statement = insert_into(self._connection.dialect.name, alarms).values(
            scope=alarm.scope,
            since=alarm.since,
            until=alarm.until,
            refused=alarm.refused,
            announced=False,
        )
        # One that has begun may stand in place of one that nobody has released yet.
        begun = ("since", "announced") if alarm.scope in self._begun else ()
        names = ("until", "refused", *begun)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=[alarms.c.scope],
                set_={name: statement.excluded[name] for name in names},
            )
        )


_COLUMNS = columns_of(limits)
_PREPARE = Batch(
    _COLUMNS, lambda dialect, row: inserting(dialect, limits, row).on_conflict_do_nothing()
)
_STORE = Batch(
    _COLUMNS, lambda dialect, row: upserting(dialect, limits, row, ("taken", "kept_until"))
)


@cache
def _locking(dialect: str) -> Select[Any]:
    wanted = select(limits.c.key, limits.c.taken).where(among(dialect, limits.c.key, "keys"))
    return wanted.order_by(limits.c.key).with_for_update()


@cache
def _alarming(dialect: str) -> Select[Any]:
    wanted = select(alarms).where(among(dialect, alarms.c.scope, "scopes"))
    return wanted.order_by(alarms.c.scope).with_for_update()


def write_takes(transaction: Transaction, takes: Sequence[Take]) -> list[Throttled | None]:
    """Take permits, as a group commit write; a refusal is raised to whoever asked."""
    books = Books(transaction.connection, takes)
    answers = [
        None if transaction.repeated and books.holds(take) else books.take(take) for take in takes
    ]
    books.close()
    return answers


def list_alarms(connection: Connection, *, now: dt.datetime) -> list[Alarm]:
    """Alarms that are on, by scope."""
    rows = connection.execute(select(alarms).where(alarms.c.until > now).order_by(alarms.c.scope))
    return [_alarm(row) for row in rows]


def any_alarm(connection: Connection) -> bool:
    """Whether there is one, on or not yet released; a read that locks nothing."""
    return connection.execute(select(alarms.c.scope).limit(1)).first() is not None


def announce_alarms(connection: Connection) -> list[Alarm]:
    """Alarms that nobody has been told of; each is handed out once."""
    rows = connection.execute(
        update(alarms).where(alarms.c.announced.is_(False)).values(announced=True).returning(alarms)
    )
    return [_alarm(row) for row in rows]


def release_alarms(connection: Connection, *, now: dt.datetime) -> list[Alarm]:
    """End the alarms whose time is over, with an audit."""
    rows = connection.execute(
        delete(alarms).where(alarms.c.until <= now, alarms.c.announced.is_(True)).returning(alarms)
    )
    over = [_alarm(row) for row in rows]
    for alarm in over:
        _audit(connection, alarm, "alarm.release", "no new number was refused any more", now)
    return over


def prune_limits(connection: Connection, *, now: dt.datetime, limit: int = 1000) -> int:
    """Forget keys whose windows are all empty."""
    old = select(limits.c.key).where(limits.c.kept_until < now).limit(limit)
    keys = connection.scalars(old.with_for_update(skip_locked=True)).all()
    if keys:
        connection.execute(delete(limits).where(limits.c.key.in_(keys)))
    return len(keys)


def _keys(take: Take) -> Iterable[str]:
    for demand in take.demands:
        yield demand.key
    for watch in take.watches:
        yield watch.key
        yield watch.pace_key


def _alarm(row: Any) -> Alarm:
    return Alarm(scope=row.scope, since=row.since, until=row.until, refused=row.refused)


def _audit(connection: Connection, alarm: Alarm, action: str, reason: str, at: dt.datetime) -> None:
    write_audits(
        connection,
        Audit(
            at=at,
            actor=_ACTOR,
            action=action,
            target=alarm.scope,
            reason=reason,
            detail={"refused": alarm.refused},
        ),
    )
