"""Forgets on time: keys of past buckets, verdicts, codes, old jobs, workers that are gone."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Engine

from models.allowances import prune_limits
from models.clock import Clock, utc_now
from models.codes import prune_codes
from models.database import writing
from models.identities import prune_verdicts
from models.payments.inbox import prune_notifications
from models.push_cids import CIDS_KEPT, prune_cids
from models.sealing import Sealer
from models.upkeep import destroy_past_buckets, prune_jobs, prune_workers

__all__ = ["Pruner"]

_JOBS_KEPT = dt.timedelta(days=180)
"""Job rows hold no personal data; they serve as network logs (Cybersecurity Law, six months)."""
_WORKERS_KEPT = dt.timedelta(days=7)
_BATCH = 500
_INTERVAL, _SOON = 60.0, 1.0
"""Seconds between rounds, and while there is more."""


class Pruner:
    """Deletes in small batches; disclosures are never pruned here, their term is three years.

    While there is more than a batch, rounds follow one another: the day's key goes first, and what
    else is due is deleted without keeping anybody from the database for long.
    """

    name = "pruner"

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        *,
        verdicts_kept: dt.timedelta = dt.timedelta(days=30),
        clock: Clock = utc_now,
    ) -> None:
        self.interval = _INTERVAL
        self._engine = engine
        self._sealer = sealer
        self._verdicts_kept = verdicts_kept
        self._clock = clock

    def round(self) -> int:
        """Destroy due keys, delete one batch of jobs and the workers nobody remembers."""
        now = self._clock()
        with writing(self._engine) as connection:
            buckets = destroy_past_buckets(connection, now=now)
        for bucket in buckets:
            self._sealer.forget(bucket)
        with writing(self._engine) as connection:
            pruned = prune_jobs(connection, settled_before=now - _JOBS_KEPT, limit=_BATCH)
        full = pruned == _BATCH
        with writing(self._engine) as connection:
            pruned += prune_verdicts(connection, before=now - self._verdicts_kept)
            pruned += prune_notifications(connection, before=now - _JOBS_KEPT)
            pruned += prune_cids(connection, before=now - CIDS_KEPT)
            gone = prune_workers(connection, silent_since=now - _WORKERS_KEPT)
        with writing(self._engine) as connection:
            gone += prune_codes(connection, now=now) + prune_limits(connection, now=now)
        self.interval = _SOON if full or buckets else _INTERVAL
        return len(buckets) + pruned + gone
