"""Settles waiting jobs whose lifetime is over, so that nothing late is ever sent."""

from __future__ import annotations

from sqlalchemy import Engine

from models.claims import expire
from models.clock import Clock, utc_now
from models.database import writing
from models.upkeep import any_expired

__all__ = ["Expirer"]


class Expirer:
    """Expires in batches; a claim checks the lifetime too, so a late round does no harm."""

    name = "expirer"
    interval = 2.0

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def round(self) -> int:
        """Expire one batch."""
        now = self._clock()
        with self._engine.connect() as connection:
            if not any_expired(connection, now=now):
                return 0
        with writing(self._engine) as connection:
            return expire(connection, now)
