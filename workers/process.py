"""One worker process: consumers, job threads, heartbeat, maintenance, and a graceful end."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import redis
from dramatiq import Worker as DramatiqWorker
from dramatiq import actor
from dramatiq.errors import ConnectionClosed

from models.claims import Worker, beat, sign_off
from models.clock import utc_now
from models.database import NO_ANSWER, open_database, writing
from models.errors import DatabaseUnavailable
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.ledger import LedgerWriter, SqlLedger
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from tasks.preparation import Preparation
from workers.broker import JobBroker
from workers.circuits import Circuits
from workers.dispatch import Dispatcher, connect_redis
from workers.egress import lock_network
from workers.execution import Execution
from workers.logs import get_logger
from workers.maintenance import (
    Alarms,
    Expirer,
    Heartbeat,
    Herald,
    Inquirer,
    Pruner,
    Reconciler,
    Redispatcher,
    Replayer,
    Rescuer,
    Resumer,
    Rounds,
    Scheduler,
    Shortener,
)
from workers.maintenance.payments import Bills, PaymentAsker
from workers.messages import ACTOR
from workers.outlet import open_outlet
from workers.promptness import spare_what_stays, take_short_turns
from workers.replays import Replays
from workers.settings import Settings
from workers.webhooks import Announcer

__all__ = ["WorkerProcess", "run_worker"]

_log = get_logger()

_SOMEBODY_WAITS = "urgent"
"""The queue of jobs whose end a person or a provider waits for."""
_YIELDS_TO_THE_DOOR, _YIELDS_TO_ALL = 5, 10
"""Niceness: on one machine the gateway goes first, and what nobody waits for goes last."""
_IDLE_MS = 500
"""How long an idle job thread sleeps before it looks whether to stop."""
_PREFETCH_PER_THREAD = 4
_CONSUMER_SECONDS = 2.0
"""Longer than a consumer waits for its next message."""
_FAREWELL_SECONDS = 1.0
_PATIENCE_SECONDS = 0.005
"""Where nobody waits for a code, writes wait for company and leave the database to who does."""


class WorkerProcess:
    """Builds a worker from settings, runs it, and stops it.

    Args:
        queues: Which queues to serve.
    """

    def __init__(self, settings: Settings, queues: Sequence[str]) -> None:
        self._settings = settings
        self._engine = open_database(settings.database)
        self._me = Worker(
            id=new_id(),
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=tuple(queues),
            started_at=utc_now(),
        )
        self._ledger = LedgerWriter(settings.pseudonym)
        self._commits = GroupCommit(
            self._engine,
            on_doubt=self._ledger.start_afresh,
            patience=0.0 if "urgent" in queues else _PATIENCE_SECONDS,
        )
        sealer = Sealer(self._engine, settings.keys)
        self._dispatcher = Dispatcher(connect_redis(settings.redis), self._engine)
        self._integrations = open_outlet(
            settings, SqlLedger(self._commits, self._ledger), self._engine
        )
        policy = self._integrations.gate.policy
        circuits = Circuits(self._engine, self._commits, policy)
        preparation = Preparation(
            sealer, Pseudonyms(settings.pseudonym), policy_version=policy.version
        )
        announcer = Announcer(self._engine, preparation)
        self._execution = Execution(
            worker_id=self._me.id,
            commits=self._commits,
            ledger=self._ledger,
            sealer=sealer,
            context=self._integrations,
            circuits=circuits,
            announcer=announcer,
            ring=self._dispatcher.ring,
        )
        heartbeat = Heartbeat(
            self._me,
            self._engine,
            self._commits,
            self._ledger,
            lambda: self._execution.active,
        )
        self._heartbeat = Rounds([heartbeat])
        self._maintenance = Rounds(
            [
                Shortener(self._engine),
                Scheduler(self._engine, self._dispatcher),
                Redispatcher(self._engine, self._dispatcher, queues),
                Resumer(self._engine),
                Expirer(self._engine),
                Inquirer(self._engine, sealer, preparation, self._dispatcher),
                Herald(self._engine, announcer, self._dispatcher),
                Replayer(
                    self._engine, Replays(self._engine, sealer, policy, roads=settings.sms_roads)
                ),
                Pruner(
                    self._engine,
                    sealer,
                    verdicts_kept=dt.timedelta(days=settings.identity_valid_days),
                ),
                Alarms(self._engine),
                PaymentAsker(
                    self._engine,
                    preparation,
                    self._dispatcher,
                    pause=dt.timedelta(seconds=settings.payment_query_seconds),
                ),
                Bills(
                    self._engine,
                    preparation,
                    self._dispatcher,
                    self._integrations.payments.merchants,
                ),
            ]
        )
        # No slower service may keep it from watching.
        self._rescue = Rounds(
            [Rescuer(self._engine, self._commits, self._ledger, worker_id=self._me.id)]
        )
        # It waits for providers, so it has a thread of its own.
        self._reconciliation = Rounds(
            [
                Reconciler(
                    self._engine,
                    self._commits,
                    self._ledger,
                    sealer,
                    self._integrations,
                    circuits,
                    worker_id=self._me.id,
                    policy_version=policy.version,
                    announcer=announcer,
                )
            ]
        )
        self._worker = self._consumers(queues)

    def _consumers(self, queues: Sequence[str]) -> DramatiqWorker:
        broker = self._broker = JobBroker(self._settings.redis)
        for queue in queues:
            # One actor a queue would be dramatiq's way; ours is the same for all of them.
            broker.declare_queue(queue)
        actor(broker=broker, actor_name=ACTOR, queue_name=queues[0])(self._execution.run)
        worker = DramatiqWorker(
            broker,
            queues=set(queues),
            worker_timeout=_IDLE_MS,
            worker_threads=self._settings.worker_threads,
        )
        worker.queue_prefetch = self._settings.worker_threads * _PREFETCH_PER_THREAD
        return worker

    def start(self) -> None:
        """Begin to work."""
        with writing(self._engine) as connection:
            beat(connection, self._me, now=utc_now())
        self._heartbeat.start()
        self._worker.start()
        self._maintenance.start()
        self._rescue.start()
        self._reconciliation.start()
        _log.info(
            "worker.started",
            worker_id=self._me.id,
            queues=list(self._me.queues),
            threads=self._settings.worker_threads,
        )

    def stop(self, *, grace: float) -> None:
        """Hand back what nobody began, let running jobs settle, sign off.

        Args:
            grace: Seconds; jobs that run longer are left to the rescuer, which at once hands
                back those whose provider was not called and calls the others unknown.
        """
        _log.info("worker.stopping", worker_id=self._me.id, running=len(self._execution.active))
        deadline = time.monotonic() + grace
        self._hand_back()
        for rounds in (self._maintenance, self._rescue):
            rounds.stop(timeout=_milliseconds_until(deadline) / 1000)
        self._worker.stop(timeout=_milliseconds_until(deadline))
        self._reconciliation.stop(timeout=_milliseconds_until(deadline) / 1000)
        self._heartbeat.stop(timeout=_FAREWELL_SECONDS)
        left = len(self._execution.active)
        self._sign_off()
        self._dispatcher.close()
        if not left:
            self._commits.close()
            self._integrations.close()
        _log.info("worker.stopped", worker_id=self._me.id, left=left)

    def abandon(self) -> None:
        """End within a second: whoever lives takes over at once, and nothing more is done here."""
        farewell = threading.Thread(target=self._sign_off, daemon=True)
        farewell.start()
        farewell.join(_FAREWELL_SECONDS)

    def _hand_back(self) -> None:
        """Give prefetched messages to other workers now, not after the last running job."""
        worker = self._worker
        for runner in worker.workers:
            runner.stop()
        for thread in worker.consumers.values():
            thread.stop()
        self._broker.leaving.set()
        # Before the consumers have ended: an idle one waits up to a second for its next message.
        self._requeue()
        for thread in worker.consumers.values():
            thread.join(_CONSUMER_SECONDS)
        self._requeue(close=True)

    def _requeue(self, *, close: bool = False) -> None:
        """Hand back what no thread has begun; ``close`` also what consumers hold themselves."""
        worker = self._worker
        waiting: dict[str, list[Any]] = {}
        while not worker.work_queue.empty():
            message = worker.work_queue.get_nowait().message
            waiting.setdefault(message.queue_name, []).append(message)
        for queue, thread in worker.consumers.items():
            consumer = thread.consumer
            if consumer is None:
                continue
            try:
                consumer.requeue(waiting.get(queue, []))
                if close:
                    consumer.close()
            except (redis.RedisError, ConnectionClosed) as error:
                # Redis forgets us after a while, and the re-dispatcher knows the jobs.
                _log.warning("worker.not_handed_back", queue=queue, error=type(error).__name__)

    def _sign_off(self) -> None:
        try:
            with writing(self._engine) as connection:
                sign_off(connection, self._me.id, now=utc_now())
        except NO_ANSWER as error:
            _log.warning("worker.not_signed_off", error=type(error).__name__)


def _milliseconds_until(deadline: float) -> int:
    return max(1, int((deadline - time.monotonic()) * 1000))


def run_worker(settings: Settings, queues: Sequence[str]) -> int:
    """Run a worker until SIGTERM or SIGINT; a second signal ends the grace period.

    Returns:
        The process's exit code.
    """
    take_short_turns()
    os.nice(_YIELDS_TO_THE_DOOR if _SOMEBODY_WAITS in queues else _YIELDS_TO_ALL)
    lock_network(settings)
    process = WorkerProcess(settings, queues)
    stopping = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            process.abandon()
            os._exit(128 + number)
        stopping.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    while not stopping.is_set():
        try:
            process.start()
            break
        except (*NO_ANSWER, DatabaseUnavailable) as error:
            _log.warning("worker.waiting", error=type(error).__name__)
            stopping.wait(1.0)
    else:
        return 0
    spare_what_stays()
    stopping.wait()
    process.stop(grace=settings.grace_seconds)
    return 0
