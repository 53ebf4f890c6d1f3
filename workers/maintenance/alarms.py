"""Tells of alarms, once each, when they begin and when they are over."""

from __future__ import annotations

from sqlalchemy import Engine

from models.allowances import announce_alarms, any_alarm, release_alarms
from models.clock import Clock, utc_now
from models.database import writing
from workers.logs import get_logger

__all__ = ["Alarms"]

_log = get_logger()


class Alarms:
    """Looks for alarms that nobody was told of, and for those that are over."""

    name = "alarms"
    interval = 2.0

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def round(self) -> int:
        """Tell of what has changed; of several workers one does."""
        with self._engine.connect() as connection:
            if not any_alarm(connection):
                return 0
        with writing(self._engine) as connection:
            begun = announce_alarms(connection)
            over = release_alarms(connection, now=self._clock())
        for alarm in begun:
            _log.error("alarm.raised", scope=alarm.scope, until=alarm.until.isoformat())
        for alarm in over:
            _log.warning("alarm.released", scope=alarm.scope, refused=alarm.refused)
        return len(begun) + len(over)
