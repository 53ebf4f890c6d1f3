"""One measurement: fill the queue, let the workers drain it, then ring once in a while."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import Crew, Memory, cpu_seconds
from benchmarks.responder import Responder
from benchmarks.systems import Parts, Setting, System
from tests.servers import PostgresServer, RedisServer

__all__ = ["Bench", "CpuPerJob", "Measurement", "MeasurementError"]

_WARM_UP = 5
"""First enqueues, which open connections and are not timed."""
_EDGE = 0.1
"""Share of the jobs at both ends that is not counted: workers start one after the other, threads
open their connections, and at the end one process may still be busy while the other is not."""
_START_SECONDS = 30
_DRAIN_SECONDS = 120
_PICK_UP_SECONDS = 10
_SETTLE_SECONDS = 20
_REST_SECONDS = 1.0
_GAP_SECONDS = (0.03, 0.06)


class MeasurementError(RuntimeError):
    """A contestant did not do its work; the message says which, and ends with its log."""


@dataclass(frozen=True, slots=True)
class CpuPerJob:
    """Microseconds of CPU for each job, by whose processes spent them."""

    workers: float
    broker: float
    database: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.workers + self.broker + self.database


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one contestant did at one latency in one round."""

    system: str
    latency_ms: float
    round: int
    setting: str
    jobs_per_second: float
    cpu_us: CpuPerJob
    memory_mb: Memory
    enqueue_ms: list[float] = field(repr=False)
    """One caller, one job after the other; how long each call took."""
    pick_up_ms: list[float] = field(repr=False)
    """One job at a time at rest: from before the call until the provider has read the request."""
    idle_cpu_percent: float | None
    """Of one core, workers and broker and database together, with nothing to do."""


@dataclass(frozen=True, slots=True)
class _Instant:
    at: float
    count: int
    workers: float
    broker: float
    database: float

    def cpu_per_job(self, later: _Instant) -> CpuPerJob:
        jobs = later.count - self.count
        return CpuPerJob(
            workers=(later.workers - self.workers) / jobs * 1e6,
            broker=(later.broker - self.broker) / jobs * 1e6,
            database=(later.database - self.database) / jobs * 1e6,
        )

    def percent_of_core(self, later: _Instant) -> float:
        spent = later.workers + later.broker + later.database
        spent -= self.workers + self.broker + self.database
        return spent / (later.at - self.at) * 100


class Bench:
    """Measures one contestant after the other on the same servers."""

    def __init__(self, redis: RedisServer, postgres: PostgresServer, responder: Responder) -> None:
        self._redis = redis
        self._postgres = postgres
        self._responder = responder

    def measure(
        self,
        kind: type[System],
        setting: Setting,
        *,
        latency_ms: float,
        jobs: int,
        pick_ups: int = 0,
        number: int = 0,
        step: Callable[[str], None] = lambda _: None,
    ) -> Measurement:
        """Measure one contestant.

        Args:
            jobs: How many to drain.
            pick_ups: How many to enqueue one by one afterwards; 0 leaves the idle figures out.
            number: The round, for the record.
            step: Told what is going on.

        Raises:
            MeasurementError: It lost jobs, or took far too long.
        """
        self._redis.flush()
        with tempfile.TemporaryDirectory(prefix="zjj-bench-") as folder:
            parts = Parts(self._redis, self._postgres, self._responder.url, Path(folder))
            system = kind(parts, setting)
            system.open()
            try:
                run = _Run(self, system, self._responder, Path(folder) / "workers.log")
                return run(latency_ms, jobs, pick_ups, number, step)
            finally:
                system.close()

    def instant(self, system: System, crew: Crew, count: int) -> _Instant:
        """Who has spent how much CPU at this moment."""
        at = time.monotonic()
        return _Instant(
            at=at,
            count=count,
            workers=crew.cpu_seconds(),
            broker=cpu_seconds([self._redis.pid]) if system.uses_redis else 0.0,
            database=cpu_seconds([self._postgres.pid]) if system.uses_postgres else 0.0,
        )


class _Run:
    def __init__(self, bench: Bench, system: System, responder: Responder, log: Path) -> None:
        self._bench = bench
        self._system = system
        self._responder = responder
        self._log = log

    def __call__(
        self,
        latency_ms: float,
        jobs: int,
        pick_ups: int,
        number: int,
        step: Callable[[str], None],
    ) -> Measurement:
        system = self._system
        self._responder.reset(latency_ms)
        step("enqueue")
        ids, enqueue_ms = self._fill(jobs)
        with Crew(system.commands(), system.environment(), self._log) as crew:
            try:
                step("drain")
                first, last = self._drain(crew, jobs)
                self._settle()
                memory = crew.memory()
                self._verify(ids)
                step("rest")
                picked, idle = self._rest(crew, pick_ups, latency_ms, jobs)
            except MeasurementError as error:
                raise MeasurementError(f"{system.title}: {error}\n{crew.log_tail()}") from None
            system.check([*ids[:: max(1, jobs // 50)], ids[-1]])
        return Measurement(
            system=system.name,
            latency_ms=latency_ms,
            round=number,
            setting=str(system.setting),
            jobs_per_second=(last.count - first.count) / (last.at - first.at),
            cpu_us=first.cpu_per_job(last),
            memory_mb=memory,
            enqueue_ms=enqueue_ms,
            pick_up_ms=picked,
            idle_cpu_percent=idle,
        )

    def _fill(self, jobs: int) -> tuple[list[str], list[float]]:
        ids, took = [], []
        for number in range(jobs):
            before = time.perf_counter()
            ids.append(self._system.enqueue(number))
            took.append((time.perf_counter() - before) * 1000)
        return ids, took[_WARM_UP:]

    def _drain(self, crew: Crew, jobs: int) -> tuple[_Instant, _Instant]:
        first = self._when(crew, int(jobs * _EDGE), _START_SECONDS)
        last = self._when(crew, int(jobs * (1 - _EDGE)), _DRAIN_SECONDS)
        self._await(crew, jobs, _DRAIN_SECONDS)
        if first.count >= last.count:
            raise MeasurementError("all ran between two looks: measure more jobs")
        return first, last

    def _await(self, crew: Crew, count: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._responder.wait(count, 1.0):
            if ended := crew.ended():
                raise MeasurementError(f"worker processes ended with {ended}")
            if time.monotonic() > deadline:
                seen = self._responder.count()
                raise MeasurementError(f"{seen} of {count} requests after {seconds:.0f} s")

    def _when(self, crew: Crew, count: int, seconds: float) -> _Instant:
        self._await(crew, count, seconds)
        return self._bench.instant(self._system, crew, self._responder.count())

    def _settle(self) -> None:
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not self._system.finished():
            if time.monotonic() > deadline:
                raise MeasurementError("jobs remain unsettled")
            time.sleep(0.05)

    def _verify(self, ids: list[str]) -> None:
        if self._responder.arrivals().keys() != set(ids):
            raise MeasurementError("the provider saw other jobs")
        if self._responder.count() != len(ids):
            raise MeasurementError("the provider saw a job twice")

    def _rest(
        self, crew: Crew, pick_ups: int, latency_ms: float, jobs: int
    ) -> tuple[list[float], float | None]:
        if not pick_ups:
            return [], None
        self._responder.reset(latency_ms)
        time.sleep(_REST_SECONDS / 2)
        before = self._bench.instant(self._system, crew, 0)
        time.sleep(_REST_SECONDS)
        idle = before.percent_of_core(self._bench.instant(self._system, crew, 0))
        called: dict[str, float] = {}
        for number in range(pick_ups):
            at = time.monotonic()
            called[self._system.enqueue(jobs + number)] = at
            self._await(crew, number + 1, _PICK_UP_SECONDS)
            time.sleep(random.uniform(*_GAP_SECONDS))
        arrived = self._responder.arrivals()
        return [(arrived[job_id] - at) * 1000 for job_id, at in called.items()], idle
