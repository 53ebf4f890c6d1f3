"""Limits for anybody: permits that are taken atomically, and refusals that cost next to nothing.

The database decides, under a lock, so a Redis that is away, was flushed, or lost a failover lets
nothing through. Redis keeps the refusals: for as long as a key has no permit left, whoever asks
again is turned away without a transaction. (Libraries that count in Redis, such as ``limits``,
check one window of one key in each call and lose their counts with the server.)
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import redis

from models.allowances import write_takes
from models.clock import Clock, utc_now
from models.errors import Throttled
from models.group_commit import GroupCommit
from models.limits import Demand, Rule, Take, throttled
from models.pseudonyms import Pseudonyms
from workers.logs import get_logger
from workers.messages import NAMESPACE

__all__ = ["Limiter", "Shield"]

_log = get_logger()

_PAUSE_SECONDS = 2.0
_VIGILANT_SECONDS = 60.0
"""For so long after a refusal Redis is asked first; where nobody is refused, it knows nothing."""

_LONGEST_WAIT = """
local longest, place = 0, 0
for i, key in ipairs(KEYS) do
    local left = redis.call('pttl', key)
    if left > longest then
        longest, place = left, i
    end
end
return {longest, place, place > 0 and redis.call('get', KEYS[place])}
"""
"""Milliseconds until all of some keys have a permit again, which is the last, and why."""


class Shield:
    """Refusals that Redis remembers; without Redis there is none, and the database decides alone.

    Args:
        client: See :func:`workers.dispatch.connect_redis`; None for no shield.
    """

    def __init__(self, client: redis.Redis | None) -> None:
        self._client = client
        self._script = client.register_script(_LONGEST_WAIT) if client is not None else None
        self._vigilant_until = 0.0
        self._down_until = 0.0
        self._was_down = False

    def refusal(self, demands: Sequence[Demand]) -> Throttled | None:
        """The refusal that one of these keys got before, from whichever process, if it still holds.

        While this process has refused nobody, Redis is not asked: that would make everybody wait
        for an answer that nearly nobody needs.
        """
        now = time.monotonic()
        if (
            self._script is None
            or not demands
            or not self._down_until <= now < self._vigilant_until
        ):
            return None
        try:
            left, place, code = self._script(keys=[_name(demand.key) for demand in demands])
        except redis.RedisError as error:
            self._failed(error)
            return None
        self._answered()
        if left <= 0:
            return None
        # A newcomer is refused under the key of its phone, but not for its phone's sake.
        return throttled(replace(demands[place - 1], code=code.decode()), left / 1000)

    def remember(self, refusal: Throttled) -> None:
        """Keep a refusal of the database's."""
        self._vigilant_until = time.monotonic() + _VIGILANT_SECONDS
        seconds = refusal.retry_after or 0
        if self._client is None or not refusal.key or time.monotonic() < self._down_until:
            return
        try:
            milliseconds = max(1, math.ceil(seconds * 1000))
            self._client.set(_name(refusal.key), refusal.code or "", px=milliseconds)
        except redis.RedisError as error:
            self._failed(error)

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()

    def _failed(self, error: redis.RedisError) -> None:
        self._down_until = time.monotonic() + _PAUSE_SECONDS
        if not self._was_down:
            _log.warning("limits.unshielded", error=type(error).__name__)
        self._was_down = True

    def _answered(self) -> None:
        if self._was_down:
            _log.info("limits.shielded")
        self._was_down = False


class Limiter:
    """Takes permits; for whatever costs money or annoys people.

    Args:
        commits: Where takes are written.
        pseudonyms: Makes digests of keys.
        shield: Remembers refusals.
    """

    def __init__(
        self,
        commits: GroupCommit,
        pseudonyms: Pseudonyms,
        shield: Shield,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._commits = commits
        self._pseudonyms = pseudonyms
        self._shield = shield
        self._clock = clock

    def take(self, key: str, rules: Sequence[Rule], *, code: str = "limit.exceeded") -> None:
        """Take one permit of every rule, or none.

        Args:
            key: What is limited, such as ``"identity:" + subject``; kept as a keyed digest only.
            rules: For example ``parse_rules("1/minute 10/day")``.
            code: Static reason of the refusal.

        Raises:
            Throttled: A rule has no permit left; ``retry_after`` says for how long.
            DatabaseUnavailable: Nothing was counted.
        """
        demand = Demand(self._pseudonyms.limit("key", key), tuple(rules), code)
        if refusal := self._shield.refusal([demand]):
            raise refusal
        try:
            self._commits.run(write_takes, Take(at=self._clock(), demands=(demand,)))
        except Throttled as refusal:
            self._shield.remember(refusal)
            raise

    async def take_async(
        self, key: str, rules: Sequence[Rule], *, code: str = "limit.exceeded"
    ) -> None:
        """:meth:`take` for an event loop."""
        await asyncio.to_thread(self.take, key, rules, code=code)


def _name(key: str) -> str:
    return f"{NAMESPACE}:full:{key}"
