"""A proving ground: real worker processes between a database, a Redis and the sandbox, all ours to
break. What was sent is counted in the sandbox's journal, not in our own tables."""

from __future__ import annotations

import base64
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from integrations.sandbox.app import create_sandbox
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.server import SandboxServer
from models.database import migrate, open_database, writing
from models.errors import DatabaseUnavailable
from models.jobs import JobView
from models.pii import Phone, PushToken, VerificationCode
from models.states import SETTLED, State
from models.tables import attempts, jobs, push_cids, workers
from tasks import Push, SmsCode
from tests.servers import RedisServer
from workers.entrance import Entrance, open_entrance
from workers.settings import Settings

__all__ = ["Ground", "delays"]

_PATIENCE_SECONDS = 120.0

_MADE = jobs.c.kind.in_(("sms_code", "push"))
"""What a test made. Two minutes later the product itself makes jobs that ask about silent texts."""


class Ground:
    """The product in pieces.

    Args:
        folder: For logs, and for the database if it is SQLite.
        database: URL; default: a SQLite file.
        latency_ms: How long the provider takes.
        threads: Of each worker.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database: str | None = None,
        latency_ms: float = 20,
        threads: int = 16,
    ) -> None:
        self.folder = folder
        self.database = database or f"sqlite:///{folder / 'zjj.db'}"
        self.redis = RedisServer()
        self.sandbox = SandboxServer(
            create_sandbox(SandboxConfig(limits=False, latency_ms=latency_ms))
        )
        self.journal = self.sandbox.sandbox.journal
        self.faults = self.sandbox.sandbox.faults
        self.workers: list[subprocess.Popen[bytes]] = []
        self.accepted: list[str] = []
        self.refused = 0
        self._threads = threads
        self._secrets = {
            "ZJJ_MASTER_KEYS": "chaos:"
            + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "ZJJ_PSEUDONYM_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        self.engine = open_database(self.database)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, **options: Any) -> Iterator[Ground]:
        """A ground with nothing left running afterwards."""
        ground = cls(folder, **options)
        with ground.sandbox:
            try:
                ground.redis.start()
                migrate(ground.engine)
                ground.entrance = ground._entrance()
                yield ground
            finally:
                for worker in ground.workers:
                    worker.kill()
                for worker in ground.workers:
                    worker.wait()
                ground.redis.close()
                if "entrance" in vars(ground):
                    ground.entrance.close()
                ground.engine.dispose()

    entrance: Entrance

    def _entrance(self) -> Entrance:
        return open_entrance(
            Settings(
                data=self.folder,
                database_url=self.database,
                redis_url=self.redis.url,
                sms_limits=False,
                master_keys=SecretStr(self._secrets["ZJJ_MASTER_KEYS"]),
                pseudonym_key=SecretStr(self._secrets["ZJJ_PSEUDONYM_KEY"]),
            )
        )

    def start_worker(self, queues: str = "urgent", **changes: str) -> subprocess.Popen[bytes]:
        """Start one, without waiting for it; ``changes`` to its environment."""
        environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            **self._secrets,
            "ZJJ_DATA": str(self.folder),
            "ZJJ_DATABASE_URL": self.database,
            "ZJJ_REDIS_URL": self.redis.url,
            "ZJJ_SANDBOX_URL": self.sandbox.url,
            "ZJJ_WORKER_THREADS": str(self._threads),
            "ZJJ_GRACE_SECONDS": "20",
            "ZJJ_LOG_FORMAT": "json",
            **changes,
        }
        with (self.folder / "workers.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "workers.cli", "worker", "--queues", queues],
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def ready(self, workers: int = 1) -> None:
        """Wait until that many workers have begun."""
        self.until(lambda: self.log().count('"event":"worker.started"') >= workers, "workers run")

    def log(self) -> str:
        """What the workers said."""
        path = self.folder / "workers.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """``kill -9``."""
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def busy(self) -> list[subprocess.Popen[bytes]]:
        """The workers that have jobs in hand, once there is one."""
        found: list[subprocess.Popen[bytes]] = []

        def look() -> bool:
            in_hand = select(workers.c.pid).where(
                workers.c.id.in_(select(jobs.c.claimed_by).where(jobs.c.state == State.RUNNING))
            )
            with self.engine.connect() as connection:
                pids = set(connection.scalars(in_hand))
            found[:] = [worker for worker in self.workers if worker.pid in pids]
            return bool(found) or self.unsettled() == 0

        self.until(look, "a worker has jobs in hand")
        return found or list(self.workers)

    def cut_short(self) -> int:
        """How many attempts a rescuer had to end for a worker that was gone."""
        with self.engine.connect() as connection:
            query = select(func.count()).where(attempts.c.code == "worker.lost")
            count: int = connection.execute(query).scalar_one()
        return count

    def terminate(self, worker: subprocess.Popen[bytes]) -> None:
        """Ask it to end, without waiting."""
        worker.send_signal(signal.SIGTERM)

    def enqueue(self, count: int = 1) -> list[str]:
        """Enqueue codes; what the entrance refuses is counted, and was clearly not accepted."""
        made = []
        for _ in range(count):
            phone = Phone(f"164{random.randrange(10**8):08d}")
            payload = SmsCode(phone=phone, code=VerificationCode("246810"), scene="login")
            try:
                made.append(self.entrance.service.enqueue(payload, backend="chaos").id)
            except DatabaseUnavailable:
                self.refused += 1
        self.accepted += made
        return made

    def push(self, count: int) -> list[str]:
        """Enqueue push notices."""
        made = []
        for _ in range(count):
            payload = Push(push_token=PushToken(secrets.token_hex(10)), notice="order_update")
            made.append(self.entrance.service.enqueue(payload, backend="chaos").id)
        return made

    def cids(self) -> list[str]:
        """Under which each push left: its reference in the journal."""
        with self.engine.connect() as connection:
            return list(connection.scalars(select(push_cids.c.cid)))

    def without_lifetimes(self) -> None:
        """Let nothing hide behind an expiry."""
        with writing(self.engine) as connection:
            connection.execute(jobs.update().values(expires_at=None))

    def unsettled(self) -> int:
        """How many jobs somebody still has to bring to an end."""
        with self.engine.connect() as connection:
            query = select(func.count()).where(_MADE, jobs.c.state.not_in(SETTLED))
            count: int = connection.execute(query).scalar_one()
        return count

    def settle(self, seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until every job is settled."""
        self.until(lambda: self.unsettled() == 0, "every job settles", seconds)

    def until(
        self, condition: Callable[[], bool], what: str, seconds: float = _PATIENCE_SECONDS
    ) -> None:
        """Wait until something holds; a database that is away has no opinion."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except DBAPIError:
                pass
            assert time.monotonic() < deadline, (
                f"not within {seconds} s: {what}; {self.states()}\n{self.log()[-3000:]}"
            )
            time.sleep(0.05)

    def states(self) -> Counter[str]:
        """How many jobs stand where."""
        with self.engine.connect() as connection:
            return Counter(connection.scalars(select(jobs.c.state).where(_MADE)))

    def rows(self) -> dict[str, Any]:
        """Every job by id."""
        with self.engine.connect() as connection:
            return {row.id: row for row in connection.execute(select(jobs).where(_MADE))}

    def view(self, job_id: str) -> JobView:
        """One job."""
        view = self.entrance.service.find(job_id)
        assert view is not None
        return view

    def audit(self) -> dict[str, int]:
        """Hold the promise: none lost, none done twice, and no answer that was not true.

        Returns:
            Figures: jobs, refused, unknown, sent twice, lost.
        """
        rows = self.rows()
        twice = [job_id for job_id in rows if self.journal.accepted(job_id) > 1]
        lost = [job_id for job_id in self.accepted if job_id not in rows]
        both = len(rows) - len(self.accepted)
        untrue = [
            job_id
            for job_id, row in rows.items()
            if (row.state == State.SUCCEEDED and self.journal.accepted(job_id) != 1)
            or (row.state in {State.FAILED, State.EXPIRED} and self.journal.accepted(job_id) != 0)
        ]
        assert twice == []
        assert lost == []
        assert untrue == []
        assert both == 0, "accepted and said not to be"
        states = self.states()
        return {
            "jobs": len(rows),
            "not accepted": self.refused,
            "unknown": states[State.UNKNOWN],
            "lost": len(lost),
            "double": len(twice),
        }

    def most_counted_attempts(self) -> int:
        """The largest number of counted attempts that a job took."""
        with self.engine.connect() as connection:
            query = select(func.count()).where(attempts.c.counted).group_by(attempts.c.job_id)
            return max(connection.scalars(query), default=0)


def delays(rows: dict[str, Any], ids: list[str]) -> list[float]:
    """Seconds from enqueue to settle, sorted."""
    return sorted((rows[i].settled_at - rows[i].created_at).total_seconds() for i in ids)
