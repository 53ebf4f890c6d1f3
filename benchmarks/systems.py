"""The contestants: how each is set up, fed and run. Two worker processes for everybody."""

from __future__ import annotations

import importlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.request import DATABASE, PROVIDER, REDIS, code_of, new_id, phone_of
from models.database import migrate
from models.states import State
from models.upkeep import count_waiting
from tasks import SmsCode
from tests.servers import PostgresServer, RedisServer
from workers.entrance import Entrance, open_entrance
from workers.settings import Settings, load_settings

__all__ = ["AS_DELIVERED", "PROCESSES", "SYSTEMS", "OursOnSqlite", "Parts", "Setting", "System"]

PROCESSES = 2
"""Worker processes, one for each core."""

_IDLE_MS = 20
"""``dramatiq_worker_timeout``: its default of 1000 makes an idle worker 150 ms late at the median;
at 20 it is 5 ms late and an idle process takes a few percent of a core."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a contestant's workers are run."""

    concurrency: int
    pool: str = "threads"
    prefetch: int = 0
    """Messages that a process fetches ahead; 0 leaves it to the contestant."""

    def __str__(self) -> str:
        ahead = f", prefetch {self.prefetch}" if self.prefetch else ""
        return f"{PROCESSES} × {self.concurrency} {self.pool}{ahead}"


AS_DELIVERED = Setting(Settings.model_fields["worker_threads"].default)
"""Ours, as whoever sets nothing gets it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What all contestants share."""

    redis: RedisServer
    postgres: PostgresServer
    provider: str
    folder: Path


class System(ABC):
    """One contestant, open for one measurement.

    Args:
        parts: Empty servers, and a folder that is empty too.
        setting: How to run the workers.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    uses_redis: ClassVar[bool] = True
    uses_postgres: ClassVar[bool] = False
    best: ClassVar[Mapping[int, Setting]]
    """The best setting found so far, by the provider's latency in ms."""
    candidates: ClassVar[Mapping[int, Sequence[Setting]]]
    """What ``--tune`` tries."""

    def __init__(self, parts: Parts, setting: Setting) -> None:
        self.parts = parts
        self.setting = setting

    @classmethod
    def at(cls, latency_ms: float, table: Mapping[int, Any]) -> Any:
        """The entry of ``best`` or ``candidates`` for the nearest latency that has one."""
        return table[min(table, key=lambda known: abs(known - latency_ms))]

    @abstractmethod
    def open(self) -> None:
        """Make what the contestant keeps, and get ready to enqueue."""

    @abstractmethod
    def enqueue(self, number: int) -> str:
        """Enqueue one job as this contestant's users do; returns the id that the provider sees."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Stop enqueueing."""

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """What to run, one command for each process (or one that makes several)."""

    def environment(self) -> dict[str, str]:
        """What the workers find in their environment."""
        return {REDIS: self.parts.redis.url, PROVIDER: self.parts.provider}

    def finished(self) -> bool:
        """Whether nothing is left to do once the provider has seen every job."""
        return True

    def check(self, ids: Sequence[str]) -> None:  # noqa: B027 - most forget
        """Look whether these jobs ended well, where the contestant remembers.

        Raises:
            RuntimeError: One did not.
        """

    def _peer(self, module: str) -> Any:
        """A peer's module, for the harness to enqueue with."""
        os.environ.update(self.environment())
        return importlib.import_module(f"benchmarks.peers.{module}")


def _threads(*counts: int, prefetch: int = 0) -> list[Setting]:
    return [Setting(count, prefetch=prefetch) for count in counts]


def _gevent_or(threads: int) -> Setting:
    """Celery's greenlets where gevent is installed, which this project does not ask for."""
    return Setting(100, pool="gevent") if find_spec("gevent") else Setting(threads)


class _Ours(System):
    best: ClassVar = {0: Setting(16), 20: Setting(64), 100: Setting(64)}
    candidates: ClassVar = {0: _threads(8, 16, 32), 20: _threads(32, 64), 100: _threads(64, 128)}

    limits: ClassVar[Mapping[str, Any]] = {"sms_limits": False}
    """Settings: the peers count nothing either."""

    def __init__(self, parts: Parts, setting: Setting) -> None:
        super().__init__(parts, setting)
        self._database = self._make_database()
        self._entrance: Entrance | None = None

    @abstractmethod
    def _make_database(self) -> str: ...

    @property
    def entrance(self) -> Entrance:
        """Ours, open."""
        assert self._entrance is not None, "open() comes first"
        return self._entrance

    def open(self) -> None:
        settings = load_settings(
            data=self.parts.folder,
            database_url=self._database,
            redis_url=self.parts.redis.url,
            sandbox_url=self.parts.provider,
            **self.limits,
        )
        _ = settings.keys, settings.pseudonym  # made before the workers look for them
        self._entrance = open_entrance(settings)
        migrate(self._entrance.engine)

    def enqueue(self, number: int) -> str:
        payload = SmsCode.model_validate(
            {"phone": phone_of(number), "code": code_of(number), "scene": "register"}
        )
        return self.entrance.service.enqueue(payload, backend="bench").id

    def close(self) -> None:
        if self._entrance is not None:
            self._entrance.close()

    def commands(self) -> list[list[str]]:
        return [[sys.executable, "-m", "workers.cli", "worker", "--queues", "urgent"]] * PROCESSES

    def environment(self) -> dict[str, str]:
        return {
            "ZJJ_DATA": str(self.parts.folder),
            "ZJJ_DATABASE_URL": self._database,
            "ZJJ_REDIS_URL": self.parts.redis.url,
            "ZJJ_SANDBOX_URL": self.parts.provider,
            "ZJJ_WORKER_THREADS": str(self.setting.concurrency),
            "ZJJ_LOG_FORMAT": "json",
        }

    def finished(self) -> bool:
        with self.entrance.engine.connect() as connection:
            return not count_waiting(connection)

    def check(self, ids: Sequence[str]) -> None:
        for job_id in ids:
            job = self.entrance.service.find(job_id)
            if job is None or job.state is not State.SUCCEEDED or len(job.disclosures) != 1:
                raise RuntimeError(f"a job of {self.name} ended as {job and job.state}")


class OursOnSqlite(_Ours):
    """This system's embedded default."""

    name = "zjj-sqlite"
    title = "zjj, SQLite"

    def _make_database(self) -> str:
        return f"sqlite:///{self.parts.folder / 'zjj.db'}"


class OursOnPostgres(_Ours):
    """This system's production shape."""

    name = "zjj-postgres"
    title = "zjj, PostgreSQL"
    uses_postgres = True

    def _make_database(self) -> str:
        return self.parts.postgres.url(self.parts.postgres.create_database())


class BareDramatiq(System):
    """The yardstick's unit: the queue that we build on, with nothing of ours."""

    name = "dramatiq"
    title = "dramatiq, bare"
    best: ClassVar = {
        0: Setting(4, prefetch=128),
        20: Setting(64, prefetch=256),
        100: Setting(128, prefetch=512),
    }
    candidates: ClassVar = {
        0: _threads(4, 8, prefetch=128),
        20: [*_threads(32, 64, prefetch=256), Setting(128, prefetch=512)],
        100: [Setting(128, prefetch=512), Setting(192, prefetch=768)],
    }

    def open(self) -> None:
        self._actor = self._peer("bare_dramatiq").send

    def enqueue(self, number: int) -> str:
        job_id = new_id()
        self._actor.send(job_id, phone_of(number), code_of(number))
        return job_id

    def commands(self) -> list[list[str]]:
        options = ["-p", str(PROCESSES), "-t", str(self.setting.concurrency)]
        return [[sys.executable, "-m", "dramatiq", "benchmarks.peers.bare_dramatiq", *options]]

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "dramatiq_worker_timeout": str(_IDLE_MS),
            "dramatiq_queue_prefetch": str(self.setting.prefetch),
        }


class Celery(System):
    """The best known one."""

    name = "celery"
    title = "Celery"
    best: ClassVar = {
        0: _gevent_or(8),
        20: Setting(128),
        100: _gevent_or(128),
    }
    candidates: ClassVar = {
        0: [*_threads(4, 8), Setting(4, pool="processes"), _gevent_or(16)],
        20: [*_threads(64, 128), _gevent_or(32)],
        100: [*_threads(128, 192), _gevent_or(64)],
    }

    def open(self) -> None:
        self._task = self._peer("plain_celery").send

    def enqueue(self, number: int) -> str:
        job_id = new_id()
        self._task.delay(job_id, phone_of(number), code_of(number))
        return job_id

    def commands(self) -> list[list[str]]:
        pool = "prefork" if self.setting.pool == "processes" else self.setting.pool
        options = ["-P", pool, "-c", str(self.setting.concurrency), "-l", "WARNING"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        app = ["-A", "benchmarks.peers.plain_celery", "worker"]
        return [
            [sys.executable, "-m", "celery", *app, "-n", f"bench{n}", *options, *quiet]
            for n in range(PROCESSES)
        ]

    def environment(self) -> dict[str, str]:
        prefetch = {"BENCH_PREFETCH": str(self.setting.prefetch)} if self.setting.prefetch else {}
        return super().environment() | prefetch


class Procrastinate(System):
    """The nearest relative: its jobs are durable too, rows in PostgreSQL."""

    name = "procrastinate"
    title = "procrastinate"
    uses_redis = False
    uses_postgres = True
    best: ClassVar = {
        0: Setting(8, pool="coroutines"),
        20: Setting(32, pool="coroutines"),
        100: Setting(128, pool="coroutines"),
    }
    candidates: ClassVar = {
        0: [Setting(4, pool="coroutines"), Setting(8, pool="coroutines")],
        20: [Setting(32, pool="coroutines"), Setting(64, pool="coroutines")],
        100: [Setting(64, pool="coroutines"), Setting(128, pool="coroutines")],
    }

    def __init__(self, parts: Parts, setting: Setting) -> None:
        super().__init__(parts, setting)
        url = parts.postgres.url(parts.postgres.create_database())
        self._conninfo = url.replace("+psycopg", "")
        self._open = ExitStack()

    def open(self) -> None:
        import procrastinate

        peer = self._peer("plain_procrastinate")
        connector = procrastinate.SyncPsycopgConnector(conninfo=self._conninfo)
        app = self._open.enter_context(peer.app.replace_connector(connector))
        self._open.enter_context(app.open())
        app.schema_manager.apply_schema()
        self._task = peer.send

    def enqueue(self, number: int) -> str:
        job_id = new_id()
        self._task.defer(job_id=job_id, phone=phone_of(number), code=code_of(number))
        return job_id

    def close(self) -> None:
        self._open.close()

    def commands(self) -> list[list[str]]:
        app = ["-a", "benchmarks.peers.plain_procrastinate.app", "worker"]
        options = ["-c", str(self.setting.concurrency)]
        return [[sys.executable, "-m", "procrastinate", *app, *options]] * PROCESSES

    def environment(self) -> dict[str, str]:
        return super().environment() | {DATABASE: self._conninfo}


SYSTEMS: dict[str, type[System]] = {
    system.name: system
    for system in (OursOnSqlite, OursOnPostgres, BareDramatiq, Celery, Procrastinate)
}
"""In the order in which a round runs them."""
