"""Finds jobs whose worker has gone silent, and settles their claims.

Silence is measured, not read: each rescuer watches whether a worker's heartbeat counter moves, by
its own monotonic clock. No clock of another machine is believed, and a clock that jumps rescues
nobody. While the database is away no counter moves, so a time in which a rescuer could not look
counts for little.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence

from sqlalchemy import Engine

from models.clock import Clock, utc_now
from models.disclosures import DisclosureResult, SendResult
from models.group_commit import GroupCommit
from models.ledger import LedgerWriter
from models.settlement import Settlement
from models.states import Event
from models.upkeep import Orphan, WorkerRow, find_orphans, list_workers
from workers.execution import FIRST_QUESTION
from workers.logs import get_logger

__all__ = ["LEASE_SECONDS", "Rescuer", "settlement_of"]

_log = get_logger()

LEASE_SECONDS = 10.0
"""A worker that has not shown itself for so long has lost its claims."""

_BLIND_SECONDS = 5.0
"""Who has not looked for longer saw nobody's silence, as when the database was away."""


class Rescuer:
    """Settles orphans: back to the queue, or unknown when bytes may have left."""

    name = "rescuer"
    interval = 1.0

    def __init__(
        self,
        engine: Engine,
        commits: GroupCommit,
        ledger: LedgerWriter,
        *,
        worker_id: str,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._commits = commits
        self._ledger = ledger
        self._worker_id = worker_id
        self._clock = clock
        self._monotonic = monotonic
        self._watched: dict[str, tuple[int, float]] = {}
        """By worker: its heartbeats, and for how many seconds they have not moved."""
        self._looked_at: float | None = None

    def round(self) -> int:
        """Look at all workers, then settle what nobody alive holds."""
        with self._engine.connect() as connection:
            live = self._live_workers(list_workers(connection))
            orphans = find_orphans(connection, live)
        settlements = [
            settlement_of(orphan, self._clock(), code="worker.lost", rescued=True)
            for orphan in orphans
        ]
        # Together: a machine that is gone leaves hundreds, and each commit waits for the disk.
        written = [
            self._commits.submit(self._ledger.write_settlements, settlement)
            for settlement in settlements
        ]
        for settlement, counted in zip(settlements, written, strict=True):
            if counted.result():
                _log.warning(
                    "job.rescued",
                    job_id=settlement.job_id,
                    lost_worker=settlement.worker_id,
                    outcome=settlement.event.value,
                )
        return len(orphans)

    def _live_workers(self, rows: Sequence[WorkerRow]) -> set[str]:
        now = self._monotonic()
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        if passed > _BLIND_SECONDS:
            passed = self.interval
        self._looked_at = now
        live = {self._worker_id}
        seen: dict[str, tuple[int, float]] = {}
        for row in rows:
            beats, silent = self._watched.get(row.id, (-1, 0.0))
            silent = silent + passed if beats == row.beats else 0.0
            seen[row.id] = (row.beats, silent)
            if row.stopped_at is None and silent < LEASE_SECONDS:
                live.add(row.id)
        self._watched = seen
        return live


def settlement_of(orphan: Orphan, now: dt.datetime, *, code: str, rescued: bool) -> Settlement:
    """What becomes of a job that nobody works on: back to the queue, or unknown.

    Args:
        rescued: Its worker is gone, so that the claim goes on counting against the job.
    """
    left = bool(orphan.open_disclosures)
    return Settlement(
        job_id=orphan.job_id,
        fence=orphan.fence,
        number=orphan.attempt,
        worker_id=orphan.worker_id,
        # Nothing happened, so it was no attempt; that the claim counts stops poison.
        event=Event.LOSE if left else Event.WAIT,
        started_at=orphan.claimed_at,
        at=now,
        milliseconds=max(0.0, (now - orphan.claimed_at).total_seconds() * 1000),
        code=code,
        run_at=now + FIRST_QUESTION if left else now,
        disclosure_results=tuple(
            DisclosureResult(
                disclosure_id=disclosure_id,
                result=SendResult.UNKNOWN,
                http_status=None,
                provider_code=None,
                provider_request_id=None,
                at=now,
                milliseconds=0.0,
            )
            for disclosure_id in orphan.open_disclosures
        ),
        rescued=rescued,
    )
