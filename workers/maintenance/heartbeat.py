"""Shows that a worker lives, and settles the claims that it has lost sight of.

A claim can stand under the name of a worker that does not work on it: its COMMIT was cut off and
nobody heard of it, or the outcome was refused by the database. The worker lives, so no rescuer
looks after those.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from sqlalchemy import Engine

from models.claims import Worker, beat
from models.clock import Clock, utc_now
from models.database import writing
from models.group_commit import GroupCommit
from models.ledger import LedgerWriter
from models.upkeep import Orphan, lost_claims
from workers.logs import get_logger
from workers.maintenance.rescuer import settlement_of

__all__ = ["Heartbeat"]

_log = get_logger()


class Heartbeat:
    """Beats for one worker.

    Args:
        active: Ids of the jobs that the worker works on at this moment.
    """

    name = "heartbeat"
    interval = 2.0

    def __init__(
        self,
        worker: Worker,
        engine: Engine,
        commits: GroupCommit,
        ledger: LedgerWriter,
        active: Callable[[], Collection[str]],
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._worker = worker
        self._engine = engine
        self._commits = commits
        self._ledger = ledger
        self._active = active
        self._clock = clock
        self._last = clock()

    def round(self) -> int:
        """Beat once; returns how many claims nobody worked on."""
        began = self._clock()
        with writing(self._engine) as connection:
            beat(connection, self._worker, now=began)
        active = self._active()
        with self._engine.connect() as connection:
            lost = lost_claims(connection, self._worker.id, active, before=self._last)
        for orphan in lost:
            self._settle(orphan)
        self._last = began
        return len(lost)

    def _settle(self, orphan: Orphan) -> None:
        settlement = settlement_of(orphan, self._clock(), code="claim.stray", rescued=False)
        if self._commits.run(self._ledger.write_settlements, settlement):
            _log.warning("claim.stray", job_id=orphan.job_id, outcome=settlement.event.value)
