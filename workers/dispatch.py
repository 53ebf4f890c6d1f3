"""Ringing for jobs: job ids go to Redis in the background, in batches, and may fail.

The job's row stands before anybody rings. If Redis does not answer, the failure is noted in the
row and the re-dispatcher (:mod:`workers.maintenance.redispatcher`) rings later.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.database import writing
from models.upkeep import forget_dispatch
from workers.logs import get_logger
from workers.messages import RING_SCRIPT, message_for, queue_keys, read_message

__all__ = ["Dispatcher", "Redis", "connect_redis"]

_log = get_logger()

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 2.0
_PAUSE_SECONDS = 0.5
_LARGEST_BATCH = 200

Redis = redis.Redis


def connect_redis(url: str, *, answer_seconds: float = _ANSWER_SECONDS) -> Redis:
    """A client that fails fast instead of making an enqueue wait."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=0,
    )


class Dispatcher:
    """Rings for jobs from a thread of its own.

    Args:
        client: See :func:`connect_redis`.
        engine: Where failed dispatches are noted.
    """

    def __init__(self, client: Redis, engine: Engine) -> None:
        self._client = client
        self._engine = engine
        self._script = client.register_script(RING_SCRIPT)
        self._queue: SimpleQueue[tuple[str, str] | threading.Event | None] = SimpleQueue()
        self._down_until = 0.0
        self._was_down = False
        self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)
        self._thread.start()

    def ring(self, job_id: str, queue: str) -> None:
        """Have a worker look at a job, soon; never fails and never waits."""
        self._queue.put((job_id, queue))

    def ring_now(self, job_ids: Sequence[str], queue: str) -> None:
        """Ring for many jobs and wait until Redis has them.

        Raises:
            redis.RedisError: It has not.
        """
        for start in range(0, len(job_ids), _LARGEST_BATCH):
            arguments: list[str | bytes] = []
            for job_id in job_ids[start : start + _LARGEST_BATCH]:
                arguments.extend(message_for(job_id, queue))
            self._script(keys=queue_keys(queue), args=arguments)

    def waiting(self, queue: str) -> int:
        """How many messages of a queue no worker has fetched yet.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        length = self._client.llen(queue_keys(queue)[0])
        assert isinstance(length, int)  # noqa: S101 - redis-py types one method for two clients
        return length

    def head(self, queue: str) -> dt.datetime | None:
        """When the message that is next in a queue was rung; None if none waits.

        Whatever was rung before it has been fetched, or is lost.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        names, contents, _ = queue_keys(queue)
        redis_id = self._client.lindex(names, 0)
        if redis_id is None:
            return None
        data = self._client.hget(contents, redis_id)
        message = read_message(data) if isinstance(data, bytes) else None
        # Of a message that is not ours we know nothing; a consumer takes it out soon.
        milliseconds = 0 if message is None else message.message_timestamp
        return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)

    def drain(self) -> None:
        """Wait until what was handed in so far has been rung for, or noted as failed."""
        drained = threading.Event()
        self._queue.put(drained)
        drained.wait()

    def close(self) -> None:
        """Ring for what was handed in, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            batches, last = self._collect()
            for queue, job_ids in batches.items():
                self._ring_or_note(job_ids, queue)
            if isinstance(last, threading.Event):
                last.set()
            elif last is None:
                return

    def _collect(self) -> tuple[dict[str, list[str]], object]:
        """Wait for one, then take what else is there, up to a signal; and that signal."""
        batches: dict[str, list[str]] = {}
        taken = 0
        while isinstance(entry := self._queue.get(), tuple):
            batches.setdefault(entry[1], []).append(entry[0])
            taken += 1
            if taken == _LARGEST_BATCH or self._queue.empty():
                break
        return batches, entry

    def _ring_or_note(self, job_ids: list[str], queue: str) -> None:
        if time.monotonic() >= self._down_until:
            try:
                self.ring_now(job_ids, queue)
            except redis.RedisError as error:
                self._down_until = time.monotonic() + _PAUSE_SECONDS
                if not self._was_down:
                    _log.warning("dispatch.failed", queue=queue, error=type(error).__name__)
                self._was_down = True
            else:
                if self._was_down:
                    _log.info("dispatch.recovered", queue=queue)
                self._was_down = False
                return
        try:
            with writing(self._engine) as connection:
                forget_dispatch(connection, job_ids)
        except SQLAlchemyError as error:
            # The re-dispatcher finds them all the same, only later.
            _log.warning("dispatch.not_noted", queue=queue, error=type(error).__name__)
