"""Asks about payments of which nothing was heard, and fetches the bills: callbacks do get lost."""

from __future__ import annotations

import datetime as dt
from typing import get_args

from sqlalchemy import Engine

from models.clock import BEIJING, Clock, utc_now
from models.database import writing
from models.jobs import EnqueuedJob, NewJob, insert_jobs
from models.payments.asking import any_to_ask, take_to_ask
from tasks.payload import Payload
from tasks.payment_bill import BilledChannel, PaymentBill
from tasks.payment_query import PaymentQuery
from tasks.preparation import Preparation
from workers.dispatch import Dispatcher
from workers.merchants import Merchants

__all__ = ["Bills", "PaymentAsker"]

_WRITTEN_AT = 10
"""Hour in Beijing; by then both providers have written the bill of the day before."""


class PaymentAsker:
    """Turns what is due on the payments' calendar into jobs that ask; a question is one job.

    Args:
        pause: Before the second question about one payment; it doubles from there.
    """

    name = "payment_asker"
    interval = 0.5

    def __init__(
        self,
        engine: Engine,
        preparation: Preparation,
        dispatcher: Dispatcher,
        *,
        pause: dt.timedelta,
        clock: Clock = utc_now,
    ) -> None:
        self._engine = engine
        self._preparation = preparation
        self._dispatcher = dispatcher
        self._pause = pause
        self._clock = clock

    def round(self) -> int:
        """Ask about one batch."""
        now = self._clock()
        with self._engine.connect() as connection:
            if not any_to_ask(connection, now=now):
                return 0
        jobs: list[NewJob] = []
        with writing(self._engine) as connection:
            for due in take_to_ask(connection, now=now, pause=self._pause):
                payload = PaymentQuery.model_validate(
                    {
                        "channel": due.channel,
                        "merchant": due.merchant,
                        "order_no": due.order_no,
                    }
                )
                jobs.append(
                    self._preparation.prepare(payload, backend=due.backend, connection=connection)
                )
            if jobs:
                insert_jobs(connection, jobs)
        for job in jobs:
            self._dispatcher.ring(job.id, job.queue)
        return len(jobs)


class Bills:
    """Has each merchant's bill of yesterday compared, once a day, whichever worker comes first."""

    name = "bills"
    interval = 600.0

    def __init__(
        self,
        engine: Engine,
        preparation: Preparation,
        dispatcher: Dispatcher,
        merchants: Merchants,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._engine = engine
        self._preparation = preparation
        self._dispatcher = dispatcher
        self._merchants = merchants
        self._clock = clock
        self._done: dt.date | None = None

    def round(self) -> int:
        """Have yesterday's bills compared, if they are written."""
        here = self._clock().astimezone(BEIJING)
        yesterday = here.date() - dt.timedelta(days=1)
        if here.hour < _WRITTEN_AT or self._done == yesterday:
            return 0
        wanted: list[tuple[Payload, str, str]] = []
        for merchant in self._merchants:
            if merchant.channel not in get_args(BilledChannel):
                continue
            bill = PaymentBill.model_validate(
                {
                    "channel": merchant.channel,
                    "merchant": merchant.number,
                    "bill_date": yesterday.isoformat(),
                }
            )
            key = f"{merchant.channel}:{merchant.number}:{yesterday}"
            wanted.append((bill, merchant.backend, key))
        created = 0
        if wanted:
            with writing(self._engine) as connection:
                jobs = [
                    self._preparation.prepare(
                        bill, backend=backend, idempotency_key=key, connection=connection
                    )
                    for bill, backend, key in wanted
                ]
                answers = insert_jobs(connection, jobs)
            for answer in answers:
                if isinstance(answer, EnqueuedJob) and answer.created:
                    self._dispatcher.ring(answer.id, answer.queue)
                    created += 1
        self._done = yesterday
        return created
