"""Asks about payments of which nothing was heard, and fetches the bills: callbacks do get lost."""

from __future__ import annotations

import datetime as dt
from typing import get_args

from sqlalchemy import Engine

from models.clock import BEIJING, Clock, utc_now
from models.database import writing
from models.jobs import EnqueuedJob, NewJob, insert_jobs
from models.payments.asking import any_to_ask, expected_before, take_to_ask
from tasks.payload import Payload
from tasks.payment_bill import BilledChannel, PaymentBill
from tasks.payment_query import PaymentQuery
from tasks.preparation import Preparation
from workers.dispatch import Dispatcher
from workers.merchants import Merchant, Merchants

__all__ = ["Bills", "PaymentAsker"]

_WRITTEN_AT = 10
"""Hour in Beijing; by then both providers have written the bill of the day before."""
_DAYS = 7
"""So far back: a standstill of workers leaves no day without its comparison."""


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
    """Has each merchant's daily bills compared, each once, whichever worker comes first.

    Usually that is yesterday's; after a standstill also those of the days before, as far as
    payments were expected then.
    """

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
        """Have the bills compared that are written and were not compared yet."""
        here = self._clock().astimezone(BEIJING)
        yesterday = here.date() - dt.timedelta(days=1)
        if here.hour < _WRITTEN_AT or self._done == yesterday:
            return 0
        wanted = [
            _wanted(merchant, date)
            for merchant in self._merchants
            if merchant.channel in get_args(BilledChannel)
            for date in self._dates(merchant, yesterday)
        ]
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

    def _dates(self, merchant: Merchant, yesterday: dt.date) -> list[dt.date]:
        """Oldest first."""
        with self._engine.connect() as connection:
            missed = [
                date
                for date in (yesterday - dt.timedelta(days=back) for back in range(1, _DAYS))
                if expected_before(connection, merchant.number, _end_of(date))
            ]
        return [*reversed(missed), yesterday]


def _end_of(date: dt.date) -> dt.datetime:
    return dt.datetime.combine(date + dt.timedelta(days=1), dt.time(), BEIJING)


def _wanted(merchant: Merchant, date: dt.date) -> tuple[Payload, str, str]:
    """The bill, whom its differences concern, and what makes it one."""
    bill = PaymentBill.model_validate(
        {
            "channel": merchant.channel,
            "merchant": merchant.number,
            "bill_date": date.isoformat(),
        }
    )
    return bill, merchant.backend, f"{merchant.channel}:{merchant.number}:{date}"
