"""How long a person waits while the bulk queue is full: enqueue to provider request, under load.

The embedded default as ``zjj run`` starts it: SQLite, the bundled Redis, one worker process for
urgent jobs and one for the rest. The bulk queue is filled first and drains all the while, as fast
as it can; urgent jobs come at a steady mean rate, at random moments.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from rich.table import Table

from benchmarks.measuring import MeasurementError
from benchmarks.processes import Crew
from benchmarks.report import percentile
from benchmarks.request import code_of, phone_of
from benchmarks.responder import Responder
from benchmarks.systems import AS_DELIVERED, OursOnSqlite, Parts
from integrations.policy import load_policy
from models.database import writing
from models.jobs import NewJob, insert_jobs
from tasks import SmsCode
from tasks.preparation import Preparation
from tests.servers import PostgresServer, RedisServer

__all__ = ["AIMS", "Urgency", "measure_urgency", "urgency_table"]

AIMS = {50: 15.0, 99: 60.0}
"""Milliseconds by percentile."""

_BATCH = 2000
_WARM_UP_SECONDS = 3.0
_SETTLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Urgency:
    """What urgent jobs saw."""

    latency_ms: float
    """The provider's."""
    waits_ms: list[float] = field(repr=False)
    """From before the enqueue call until the provider has read the request."""
    enqueue_ms: list[float] = field(repr=False)
    bulk_per_second: float
    bulk_left: int


class _House(OursOnSqlite):
    """Worker processes as ``zjj run`` has them, and codes as a backend asks for them: made here,
    counted against every limit. The limits are set so high that they refuse nobody."""

    limits: ClassVar = {
        "sms_limit_backend": "100000/minute 1000000/hour 1000000/day",
        "sms_alarm_backend": "1000000/10minutes",
        "sms_alarm_all": "1000000/10minutes",
    }

    def enqueue(self, number: int) -> str:
        return self.entrance.codes.issue(phone_of(number), "register", backend="bench").id

    def commands(self) -> list[list[str]]:
        worker = [sys.executable, "-m", "workers.cli", "worker", "--queues"]
        return [[*worker, "urgent"], [*worker, "standard,bulk"]]

    def fill(self, count: int) -> None:
        """Put jobs into the bulk queue."""
        entrance = self.entrance
        preparation = Preparation(
            entrance.sealer, entrance.pseudonyms, policy_version=load_policy().version
        )
        for start in range(0, count, _BATCH):
            batch = list(_bulk(preparation, start, min(start + _BATCH, count)))
            with writing(entrance.engine) as connection:
                insert_jobs(connection, batch)
            entrance.dispatcher.ring_now([job.id for job in batch], "bulk")


def _bulk(preparation: Preparation, first: int, last: int) -> Iterator[NewJob]:
    for number in range(first, last):
        payload = SmsCode.model_validate(
            {"phone": phone_of(number), "code": code_of(number), "scene": "register"}
        )
        job = preparation.prepare(payload, backend="bench")
        # A code's lifetime would end long before the queue does.
        yield replace(job, queue="bulk", expires_at=None)


def measure_urgency(
    redis: RedisServer,
    postgres: PostgresServer,
    responder: Responder,
    *,
    bulk: int,
    seconds: float,
    per_second: float = 50.0,
    latency_ms: float = 20.0,
) -> Urgency:
    """Measure.

    Raises:
        MeasurementError: The bulk queue ran empty, or urgent jobs were lost.
    """
    redis.flush()
    responder.reset(latency_ms)
    with tempfile.TemporaryDirectory(prefix="zjj-bench-") as folder:
        parts = Parts(redis, postgres, responder.url, Path(folder))
        house = _House(parts, AS_DELIVERED)
        house.open()
        try:
            house.fill(bulk)
            log = Path(folder) / "workers.log"
            with Crew(house.commands(), house.environment(), log) as crew:
                if not responder.wait(100, 30.0):
                    raise MeasurementError(f"the workers do not begin\n{crew.log_tail()}")
                _call(house, _WARM_UP_SECONDS, per_second, bulk)
                before, at = responder.count(), time.monotonic()
                called = _call(house, seconds, per_second, bulk + 100_000)
                rate = (responder.count() - before - len(called)) / (time.monotonic() - at)
                arrivals = _arrivals(responder, called)
                left = house.entrance.dispatcher.waiting("bulk")
        finally:
            house.close()
    if not left:
        raise MeasurementError("the bulk queue ran empty: fill it with more jobs")
    return Urgency(
        latency_ms=latency_ms,
        waits_ms=[(arrivals[job] - began) * 1000 for job, (began, _) in called.items()],
        enqueue_ms=[(ended - began) * 1000 for began, ended in called.values()],
        bulk_per_second=rate,
        bulk_left=left,
    )


def _call(
    house: _House, seconds: float, per_second: float, first: int
) -> dict[str, tuple[float, float]]:
    """Enqueue for so long; when each call began and ended, by job."""
    called: dict[str, tuple[float, float]] = {}
    due = time.monotonic()
    end = due + seconds
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.monotonic()
        job_id = house.enqueue(first + len(called))
        called[job_id] = (began, time.monotonic())
        due += random.expovariate(per_second)
    return called


def _arrivals(responder: Responder, called: dict[str, tuple[float, float]]) -> dict[str, float]:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while not called.keys() <= (arrived := responder.arrivals()).keys():
        if time.monotonic() > deadline:
            raise MeasurementError("urgent jobs did not reach the provider")
        time.sleep(0.2)
    return arrived


def urgency_table(measured: Urgency) -> Table:
    """For a terminal."""
    table = Table(
        title=f"Enqueue to provider request, {len(measured.waits_ms)} urgent jobs while "
        f"{measured.bulk_per_second:,.0f} bulk jobs/s drain ({measured.bulk_left:,} left)"
    )
    for heading in ("", "p50", "p90", "p99", "longest"):
        table.add_column(heading, justify="right")
    for name, values in (("enqueue call", measured.enqueue_ms), ("whole wait", measured.waits_ms)):
        parts = (percentile(values, 0.5), percentile(values, 0.9), percentile(values, 0.99))
        table.add_row(name, *(f"{part:.1f} ms" for part in (*parts, max(values))))
    table.add_row("aim", f"{AIMS[50]:.0f} ms", "", f"{AIMS[99]:.0f} ms", "")
    return table
