"""Carries out the replays that backends asked for over HTTP."""

from __future__ import annotations

from sqlalchemy import Engine

from models.replays import unfinished_replays
from workers.replays import Replays

__all__ = ["Replayer"]

_AT_ONCE = 10


class Replayer:
    """Replays a few jobs a round, so that a batch is no burst; whoever comes next goes on."""

    name = "replayer"
    interval = 0.5

    def __init__(self, engine: Engine, replays: Replays) -> None:
        self._engine = engine
        self._replays = replays

    def round(self) -> int:
        """Go on with the oldest unfinished batch."""
        with self._engine.connect() as connection:
            unfinished = unfinished_replays(connection)
        return sum(
            self._replays.advance(replay_id, at_most=_AT_ONCE) for replay_id in unfinished[:1]
        )
