"""Sends jobs to ask about texts whose delivery nobody reported; ends the wait for a fate."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Connection, Engine

from models.clock import Clock, utc_now
from models.database import writing
from models.deliveries import (
    SilentDelivery,
    any_silent,
    delivery_identity,
    end_deliveries,
    prune_deliveries,
    take_silent,
)
from models.errors import SealBroken
from models.jobs import NewJob, insert_jobs
from models.sealing import Sealer
from tasks.preparation import Preparation
from tasks.sms_report import SmsReport
from workers.dispatch import Dispatcher

__all__ = ["Inquirer"]

_KEPT = dt.timedelta(days=90)
"""Rows hold ids, codes and a pseudonym; figures look back no further."""


class Inquirer:
    """Each question is a job: claimed, disclosed and retried like any other."""

    name = "inquirer"
    interval = 5.0

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        preparation: Preparation,
        dispatcher: Dispatcher,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._engine = engine
        self._sealer = sealer
        self._preparation = preparation
        self._dispatcher = dispatcher
        self._clock = clock

    def round(self) -> int:
        """Send to ask about silent texts, and give up on old ones; returns how many of both."""
        now = self._clock()
        with self._engine.connect() as connection:
            if not any_silent(connection, now=now):
                return 0
        with writing(self._engine) as connection:
            ended = end_deliveries(connection, now=now)
            silent = take_silent(connection, now=now)
            jobs = [job for text in silent if (job := self._question(text, connection))]
            if jobs:
                insert_jobs(connection, jobs)
            prune_deliveries(connection, accepted_before=now - _KEPT)
        for job in jobs:
            self._dispatcher.ring(job.id, job.queue)
        return ended + len(jobs)

    def _question(self, text: SilentDelivery, connection: Connection) -> NewJob | None:
        identity = delivery_identity(text.reference)
        try:
            phone = self._sealer.open(text.sealed, identity=identity, bucket=text.bucket)["phone"]
        except SealBroken:
            return None
        payload = SmsReport(phone=phone, reference=text.reference, accepted_at=text.accepted_at)
        return self._preparation.prepare(payload, backend=text.backend, connection=connection)
