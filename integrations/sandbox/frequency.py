"""Rolling limits on how often something may happen to one key."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Frequency", "Limit"]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``permits`` in any ``seconds``; ``word`` is the provider's name for the window."""

    word: str
    seconds: float
    permits: int


class Frequency:
    """Counts per key in memory; old entries are dropped as the key is seen again."""

    def __init__(self, *limits: Limit, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._longest = max(limit.seconds for limit in limits)
        self._clock = clock
        self._seen: defaultdict[Hashable, list[float]] = defaultdict(list)

    def exceeded(self, key: Hashable) -> Limit | None:
        """The limit that one more would break, the shortest window first."""
        now, seen = self._clock(), self._seen.get(key, [])
        for limit in self._limits:
            if len(seen) - bisect_right(seen, now - limit.seconds) >= limit.permits:
                return limit
        return None

    def count(self, key: Hashable) -> None:
        """One more has happened."""
        now, seen = self._clock(), self._seen[key]
        del seen[: bisect_right(seen, now - self._longest)]
        seen.append(now)

    def clear(self) -> None:
        """Forget every key."""
        self._seen.clear()
