"""Rings again for queued jobs whose message was lost: Redis was down, flushed, or forgot.

In a queue that still holds messages a job may merely wait its turn. Its message is lost if it was
rung before the one whose turn it is now and yet nobody has begun with it. A message that only waits
in a worker's hands is then rung for a second time, which does no harm and is not repeated for a
while, whatever the clocks say.
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
_OVERTAKEN_AFTER = dt.timedelta(seconds=20)
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
        before = _lost_before(self._dispatcher.head(queue), now)
        with self._engine.connect() as connection:
            if not any_undispatched(connection, queue, before=before):
                return 0
            if is_paused(connection, Scope.QUEUE, queue, now=now):
                return 0
        with writing(self._engine) as connection:
            lost = take_undispatched(connection, queue, before=before, now=now)
        self._dispatcher.ring_now(lost, queue)
        return len(lost)


def _lost_before(head: dt.datetime | None, now: dt.datetime) -> dt.datetime:
    """Jobs that were last rung for before this instant have lost their message."""
    if head is None:
        return now - _LOST_AFTER
    overtaken = min(head - _LOST_AFTER, now - _OVERTAKEN_AFTER)
    return max(overtaken, now - _LOST_FOR_SURE_AFTER)
