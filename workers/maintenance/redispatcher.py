"""Rings again for queued jobs whose message was lost: Redis was down, flushed, or forgot.

A queue whose Redis list still holds messages is merely long, so its jobs are left alone, unless
their dispatch is known to have failed or is older than anything reasonable.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import Engine

from models.clock import Clock, utc_now
from models.database import writing
from models.pauses import Scope, is_paused
from models.upkeep import any_undispatched, take_undispatched
from workers.dispatch import Dispatcher

__all__ = ["Redispatcher"]

_LOST_AFTER = dt.timedelta(seconds=2)
_LOST_FOR_SURE_AFTER = dt.timedelta(minutes=10)


class Redispatcher:
    """Compares what the database has queued with what Redis remembers."""

    name = "redispatcher"
    interval = 1.0

    def __init__(
        self,
        engine: Engine,
        dispatcher: Dispatcher,
        queues: Sequence[str],
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        self._queues = queues
        self._clock = clock

    def round(self) -> int:
        """Ring for lost jobs of every queue."""
        return sum(self._redispatch(queue) for queue in self._queues)

    def _redispatch(self, queue: str) -> int:
        now = self._clock()
        # Asking Redis first also keeps the rows as they are while it is down.
        busy = self._dispatcher.waiting(queue) > 0
        before = now - (_LOST_FOR_SURE_AFTER if busy else _LOST_AFTER)
        with self._engine.connect() as connection:
            if not any_undispatched(connection, queue, before=before):
                return 0
            if is_paused(connection, Scope.QUEUE, queue, now=now):
                return 0
        with writing(self._engine) as connection:
            lost = take_undispatched(connection, queue, before=before, now=now)
        self._dispatcher.ring_now(lost, queue)
        return len(lost)
