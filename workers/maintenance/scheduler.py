"""Promotes scheduled and retrying jobs when their time has come."""

from __future__ import annotations

from sqlalchemy import Engine

from models.clock import Clock, utc_now
from models.database import writing
from models.upkeep import any_due, promote_due
from workers.dispatch import Dispatcher

__all__ = ["Scheduler"]


class Scheduler:
    """Queues what is due and rings for it."""

    name = "scheduler"
    interval = 0.25

    def __init__(self, engine: Engine, dispatcher: Dispatcher, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        self._clock = clock

    def round(self) -> int:
        """Promote a batch; a full one is followed by the next round."""
        now = self._clock()
        with self._engine.connect() as connection:
            if not any_due(connection, now=now):
                return 0
        with writing(self._engine) as connection:
            due = promote_due(connection, now=now)
        for job_id, queue in due:
            self._dispatcher.ring(job_id, queue)
        return len(due)
