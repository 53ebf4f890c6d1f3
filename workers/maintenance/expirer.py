"""Ends what is over: waiting jobs, so that nothing late is sent, and numbers nobody came for."""

from __future__ import annotations

from sqlalchemy import Engine

from models.claims import expire
from models.clock import Clock, utc_now
from models.database import writing
from models.login_phones import any_phone_due, drop_phones
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
            jobs_due = any_expired(connection, now=now)
            phones_due = any_phone_due(connection, now=now)
        if not (jobs_due or phones_due):
            return 0
        with writing(self._engine) as connection:
            dropped = drop_phones(connection, now=now) if phones_due else 0
            return dropped + (expire(connection, now) if jobs_due else 0)
