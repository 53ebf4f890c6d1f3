"""dramatiq's Redis broker, made to carry job ids and nothing else.

What differs from the stock broker (facts run against dramatiq 2.2.1, see ``docs/queue.md``):

* no middleware: retries, delays, time limits and results live in the database;
* no delay queues, so no consumer threads for them;
* an idle consumer blocks on a wake token instead of sleeping, and one with a full prefetch waits
  for an acknowledgement, so a job is picked up within a few milliseconds at no idle cost;
* a message that we did not write is taken out, noted and forgotten; it never stops the consumer
  or its neighbours;
* every command may do maintenance, and a dead worker's messages return after 10 s instead of
  minutes;
* a Redis time-out counts as a lost connection.
"""

from __future__ import annotations

import threading
from typing import Any

import redis
from dramatiq import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed

from workers.logs import get_logger
from workers.messages import NAMESPACE, queue_keys, read_message, wake_key

__all__ = ["JobBroker"]

_log = get_logger()

_HEARTBEAT_TIMEOUT_MS = 10_000
_ALWAYS = 1_000_000
_POLL_SECONDS = 1
"""Longest wait without looking: covers a wake token that another consumer took in vain."""
_SOCKET_SECONDS = 5.0

_TAKE_OUT_SCRIPT = """
for _, id in ipairs(redis.call('smembers', KEYS[1])) do
    if redis.call('hget', KEYS[2], id) == ARGV[1] then
        redis.call('hdel', KEYS[2], id)
        redis.call('srem', KEYS[1], id)
    end
end
"""
"""Forget fetched messages of this content. In one call: a flood of them must keep nobody waiting."""


class JobBroker(RedisBroker):
    """The broker of a worker process; enqueueing goes through :mod:`workers.dispatch`."""

    def __init__(self, url: str) -> None:
        client = redis.Redis.from_url(
            url, socket_connect_timeout=2.0, socket_timeout=_SOCKET_SECONDS
        )
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            middleware=[],
            namespace=NAMESPACE,
            maintenance_chance=_ALWAYS,
            heartbeat_timeout=_HEARTBEAT_TIMEOUT_MS,
        )
        self.take_out = client.register_script(_TAKE_OUT_SCRIPT)
        self.leaving = threading.Event()
        """Set when the worker ends: consumers fetch nothing more, so that what is handed back goes
        to others."""

    @property
    def consumer_class(self) -> type[Consumer]:
        """Consumers that wait for events."""
        return _WakingConsumer

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue, without a delay queue beside it."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)


class _WakingConsumer(Consumer):
    def __init__(self, broker: JobBroker, queue_name: str, prefetch: int, _timeout: int) -> None:
        self._broker = broker
        self._queue = queue_name
        self._prefetch = prefetch
        self._fetched: list[bytes | None] = []
        self._outstanding = 0
        self._emptied = False
        self._lock = threading.Lock()
        self._room = threading.Event()

    def __next__(self) -> MessageProxy | None:
        """The next message; None after a while without one."""
        try:
            while self._fetched:
                data = self._fetched.pop(0)
                if data is None:
                    continue
                message = read_message(data)
                if message is None:
                    self._quarantine(data)
                    continue
                with self._lock:
                    self._outstanding += 1
                return MessageProxy(message)
            self._fill()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise _closed(error) from None
        return None

    def _fill(self) -> None:
        """Fetch what fits; with nothing to fetch or no room, wait for a reason to look again."""
        if self._broker.leaving.is_set():
            return
        with self._lock:
            room = self._prefetch - self._outstanding
            if room <= 0:
                self._room.clear()
        if room <= 0:
            if not self._room.wait(_POLL_SECONDS):
                # Any command is a heartbeat; without one, peers would run our messages again.
                self._broker.do_qsize(self._queue)
            return
        # Whatever came after a fetch that left nothing behind has put a token.
        if self._emptied:
            woken = self._broker.client.blpop([wake_key(self._queue)], timeout=_POLL_SECONDS)
            if self._broker.leaving.is_set():
                if woken:
                    # The token was for somebody who stays.
                    self._broker.client.rpush(wake_key(self._queue), "1")
                return
        self._fetched = self._broker.do_fetch(self._queue, room)
        self._emptied = len(self._fetched) < room

    def ack(self, message: MessageProxy) -> None:
        """The message is done with."""
        try:
            self._broker.do_ack(self._queue, message.options["redis_message_id"])
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise _closed(error) from None
        finally:
            with self._lock:
                self._outstanding -= 1
                if self._outstanding <= self._prefetch // 2:
                    self._room.set()

    nack = ack
    """Nothing is dead-lettered in Redis: the job's row knows what became of it."""

    def requeue(self, messages: Any) -> None:
        """Hand messages back that nobody began."""
        ids = [message.options["redis_message_id"] for message in messages]
        if ids:
            self._broker.do_requeue(self._queue, *ids)
            self._broker.client.rpush(wake_key(self._queue), "1")

    def close(self) -> None:
        """Hand back what was fetched and not yet given out."""
        fetched, self._fetched = self._fetched, []
        self.requeue([message for data in fetched if data and (message := read_message(data))])

    def _quarantine(self, data: bytes) -> None:
        """Take a message out that we did not write; its content stays unseen."""
        acks = f"{NAMESPACE}:__acks__.{self._broker.broker_id}.{self._queue}"
        contents = queue_keys(self._queue)[1]
        self._broker.take_out(keys=[acks, contents], args=[data])
        _log.error("message.quarantined", queue=self._queue, bytes=len(data))


def _closed(error: redis.RedisError) -> ConnectionClosed:
    return ConnectionClosed(type(error).__name__)  # type: ignore[no-untyped-call]
