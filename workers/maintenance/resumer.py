"""Brings forward what was turned away just as a recipient's pause ended.

Ending a pause brings its waiting jobs forward (:func:`models.pauses.resume`). A worker that had seen
the pause a moment before settles its job a moment later, and that one would wait as if the pause
had no end.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Engine

from models.clock import Clock, utc_now
from models.database import writing
from models.pauses import Scope, bring_forward, list_pauses

__all__ = ["Resumer"]

_ROUNDS = 3
"""For so long after a pause somebody may still settle what was turned away during it."""
_SPREAD = dt.timedelta(seconds=7)
"""Where a pause ends by itself, its jobs come back over so long a time, not all at once."""


class Resumer:
    """Notices when a recipient's pause has ended."""

    name = "resumer"
    interval = 1.0

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock
        self._paused: frozenset[str] = frozenset()
        self._left = 0

    def round(self) -> int:
        """Look which pauses are gone; returns how many jobs were brought forward."""
        now = self._clock()
        with self._engine.connect() as connection:
            pauses = list_pauses(connection, now=now)
        paused = frozenset(each.name for each in pauses if each.scope is Scope.RECIPIENT)
        if self._paused - paused:
            self._left = _ROUNDS
        self._paused = paused
        if not self._left:
            return 0
        self._left -= 1
        with writing(self._engine) as connection:
            return bring_forward(connection, now=now, beyond=_SPREAD)
