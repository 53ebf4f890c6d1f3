"""How often something may happen: rolling windows, counted exactly, without a database.

A window rolls: at no moment have more than its permits been taken in the seconds before, whichever
moment one picks. A stamp is never earlier than the take it stands for, so rounding can only refuse
more. SQL is in :mod:`models.allowances`.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.errors import InvalidValue, Throttled

__all__ = [
    "Demand",
    "Rule",
    "Take",
    "Tally",
    "Watch",
    "milliseconds",
    "parse_rules",
    "throttled",
]

_FINE = 100
"""Up to so many permits every take keeps its own stamp; above, a hundredth of the window."""
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RULE = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,3})?(second|minute|hour|day)s?")
_LONGEST = 7 * 86400


@dataclass(frozen=True, slots=True)
class Rule:
    """At most ``permits`` in any ``seconds``."""

    permits: int
    seconds: int

    @property
    def grain(self) -> int:
        """Milliseconds that stamps are rounded up to."""
        return 1 if self.permits <= _FINE else self.seconds * 1000 // _FINE


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Read ``1/minute 5/hour 10/day`` or ``100/10minutes``; ``none`` is no rule at all.

    Raises:
        InvalidValue: Something else, a window twice, or one longer than a week.
    """
    if text.strip() == "none":
        return ()
    rules = []
    for part in text.split():
        match = _RULE.fullmatch(part)
        if match is None:
            raise InvalidValue("must be rules such as 1/minute 5/hour 100/10minutes, or none")
        rules.append(Rule(int(match[1]), int(match[2] or 1) * _UNITS[match[3]]))
    windows = [rule.seconds for rule in rules]
    if not rules or len(set(windows)) < len(windows) or max(windows) > _LONGEST:
        raise InvalidValue("must name each window once, and none longer than seven days")
    return tuple(rules)


@dataclass(frozen=True, slots=True)
class Demand:
    """One permit of every rule of one key.

    Attributes:
        key: A keyed digest; what it stands for is not kept.
        rules: All of them must have a permit left.
        code: Static reason of a refusal.
    """

    key: str
    rules: tuple[Rule, ...]
    code: str = "limit.exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """An alarm over keys that have not been seen lately.

    Attributes:
        scope: What it watches, such as ``backend:shop``; a name that people read.
        key: Digest under which newcomers are counted.
        threshold: More newcomers than that raise it.
        pace_key: Digest under which newcomers are counted while it is on.
        pace: How many newcomers may pass while it is on.
        hold: Seconds without a refused newcomer after which it is over.
    """

    scope: str
    key: str
    threshold: Rule
    pace_key: str
    pace: Rule
    hold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Permits that are taken together or not at all.

    Attributes:
        at: The present.
        demands: From every key of these.
        person: The demand's key that tells newcomers: nothing is on record for it.
        watches: The alarms that a newcomer counts for.
    """

    at: dt.datetime
    demands: tuple[Demand, ...]
    person: str | None = None
    watches: tuple[Watch, ...] = ()


def milliseconds(moment: dt.datetime) -> int:
    """Since 1970."""
    return int(moment.timestamp() * 1000)


Slots = list[list[int]]
"""Pairs of stamp (milliseconds) and count, the oldest first."""


@dataclass(slots=True)
class Tally:
    """What was taken from one key, by window; the form in which a row keeps it."""

    slots: dict[str, Slots] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Tally:
        """From a row."""
        return cls({window: [list(slot) for slot in slots] for window, slots in stored.items()})

    def is_empty(self, now: int) -> bool:
        """Whether no window holds anything any more."""
        return not any(
            stamp > now - int(window) * 1000
            for window, slots in self.slots.items()
            for stamp, _ in slots
        )

    def holds(self, rule: Rule, now: int) -> bool:
        """Whether a take of that very moment is on record."""
        stamp = _stamp(rule, now)
        return any(slot[0] == stamp for slot in self.slots.get(str(rule.seconds), []))

    def wait(self, rule: Rule, now: int) -> float:
        """Seconds until the rule has a permit; 0 when it has one."""
        window = rule.seconds * 1000
        live = [slot for slot in self.slots.get(str(rule.seconds), []) if slot[0] > now - window]
        surplus = sum(count for _, count in live) + 1 - rule.permits
        for stamp, count in live:
            if surplus <= 0:
                break
            surplus -= count
            if surplus <= 0:
                return (stamp + window - now) / 1000
        return 0.0

    def add(self, rule: Rule, now: int) -> None:
        """Take one permit, whether or not there is one."""
        stamp, window = _stamp(rule, now), rule.seconds * 1000
        live = [s for s in self.slots.get(str(rule.seconds), []) if s[0] > now - window]
        for slot in live:
            if slot[0] == stamp:
                slot[1] += 1
                break
        else:
            live.append([stamp, 1])
            live.sort()
        self.slots[str(rule.seconds)] = live
        self.changed = True

    def give_back(self, rule: Rule, now: int) -> None:
        """Undo :meth:`add` of the same moment."""
        stamp = _stamp(rule, now)
        for slot in self.slots.get(str(rule.seconds), []):
            if slot[0] == stamp:
                slot[1] -= 1
        self.slots[str(rule.seconds)] = [s for s in self.slots[str(rule.seconds)] if s[1]]

    def kept_until(self) -> int:
        """When the last slot has left its window."""
        return max(
            (slots[-1][0] + int(window) * 1000 for window, slots in self.slots.items() if slots),
            default=0,
        )


def throttled(demand: Demand, seconds: float) -> Throttled:
    """The refusal of a demand."""
    return Throttled(
        f"{demand.code}: no permit left; there is one in {math.ceil(seconds)} seconds",
        code=demand.code,
        retry_after=seconds,
        key=demand.key,
    )


def _stamp(rule: Rule, now: int) -> int:
    return -(-now // rule.grain) * rule.grain
