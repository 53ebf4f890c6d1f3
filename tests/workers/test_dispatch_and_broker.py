"""Job ids reach a worker's consumer through a real Redis, whatever else lies there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from dramatiq import MessageProxy
from dramatiq.errors import ConnectionClosed
from sqlalchemy import Engine

from models.identifiers import new_id
from tests.servers import RedisServer
from tests.workers.rows import read_job, store_job
from workers.broker import JobBroker
from workers.dispatch import Dispatcher, connect_redis
from workers.messages import NAMESPACE, job_id_of, queue_keys, wake_key


@pytest.fixture
def broker(redis_url: str) -> Iterator[JobBroker]:
    broker = JobBroker(redis_url)
    broker.declare_queue("urgent")
    yield broker
    broker.client.close()


def _next(consumer: Iterator[MessageProxy | None], seconds: float = 5) -> MessageProxy:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        message = next(consumer)
        if message is not None:
            return message
    raise AssertionError("no message came")


def test_what_is_rung_for_is_consumed_in_order(dispatcher: Dispatcher, broker: JobBroker) -> None:
    ids = [new_id() for _ in range(500)]
    dispatcher.ring_now(ids, "urgent")
    consumer = broker.consume("urgent", prefetch=64)
    seen = []
    for _ in ids:
        message = _next(consumer)
        seen.append(job_id_of(message))
        consumer.ack(message)
    assert seen == ids
    assert broker.client.hlen(queue_keys("urgent")[1]) == 0


def test_a_full_prefetch_gets_nothing_until_something_is_acknowledged(
    dispatcher: Dispatcher, broker: JobBroker
) -> None:
    dispatcher.ring_now([new_id() for _ in range(3)], "urgent")
    consumer = broker.consume("urgent", prefetch=2)
    first, _ = _next(consumer), _next(consumer)
    assert next(consumer) is None
    consumer.ack(first)
    assert _next(consumer) is not None


def test_closing_a_consumer_hands_back_what_it_had_fetched(
    dispatcher: Dispatcher, broker: JobBroker
) -> None:
    ids = [new_id() for _ in range(5)]
    dispatcher.ring_now(ids, "urgent")
    consumer = broker.consume("urgent", prefetch=5)
    _next(consumer)
    consumer.close()
    other = JobBroker.consume(broker, "urgent", prefetch=5)
    assert {job_id_of(_next(other)) for _ in range(4)} == set(ids[1:])


def test_a_consumer_that_leaves_takes_nothing_and_wakes_whoever_stays(
    dispatcher: Dispatcher, broker: JobBroker, redis_url: str
) -> None:
    staying = JobBroker(redis_url)
    staying.declare_queue("urgent")
    leaving, other = broker.consume("urgent", prefetch=4), staying.consume("urgent", prefetch=4)
    assert next(leaving) is None
    waiting = threading.Thread(target=lambda: next(leaving))
    waiting.start()
    time.sleep(0.2)
    broker.leaving.set()
    job_id = new_id()
    dispatcher.ring_now([job_id], "urgent")
    waiting.join()
    assert next(leaving) is None
    assert job_id_of(_next(other)) == job_id
    assert staying.client.llen(wake_key("urgent")) == 1, "the token is still there"
    staying.client.close()


@pytest.mark.parametrize(
    "junk", [b"", b"\xff", b"{}", b'{"actor_name": "x"}', b"x" * 10_000], ids=len
)
def test_a_strange_message_is_taken_out_and_its_neighbours_are_served(
    dispatcher: Dispatcher, broker: JobBroker, junk: bytes
) -> None:
    before, after = new_id(), new_id()
    queue, contents, _ = queue_keys("urgent")
    dispatcher.ring_now([before], "urgent")
    broker.client.hset(contents, "strange", junk)
    broker.client.rpush(queue, "strange")
    dispatcher.ring_now([after], "urgent")
    consumer = broker.consume("urgent", prefetch=16)
    messages = [_next(consumer), _next(consumer)]
    assert [job_id_of(message) for message in messages] == [before, after]
    for message in messages:
        consumer.ack(message)
    assert broker.client.keys(f"{NAMESPACE}:__acks__*") == []
    assert broker.client.hlen(contents) == 0


def test_an_id_without_content_stops_nobody(dispatcher: Dispatcher, broker: JobBroker) -> None:
    broker.client.rpush(queue_keys("urgent")[0], "ghost")
    job_id = new_id()
    dispatcher.ring_now([job_id], "urgent")
    assert job_id_of(_next(broker.consume("urgent", prefetch=4))) == job_id


def test_an_idle_consumer_is_woken_instead_of_polling(
    dispatcher: Dispatcher, broker: JobBroker
) -> None:
    consumer = broker.consume("urgent", prefetch=4)
    assert next(consumer) is None
    waits = []
    for _ in range(20):
        began = time.monotonic()
        dispatcher.ring(new_id(), "urgent")
        message = _next(consumer)
        waits.append(time.monotonic() - began)
        consumer.ack(message)
    # A polling consumer would take up to a second; this asks only that it does not poll.
    assert sorted(waits)[len(waits) // 2] < 0.5


def test_a_failed_dispatch_is_noted_in_the_row(engine: Engine) -> None:
    job_id = store_job(engine)
    dispatcher = Dispatcher(connect_redis("redis://127.0.0.1:1/0"), engine)
    dispatcher.ring(job_id, "urgent")
    dispatcher.close()
    assert read_job(engine, job_id).dispatched_at is None


def test_ringing_never_waits_for_redis(engine: Engine) -> None:
    dispatcher = Dispatcher(connect_redis("redis://127.0.0.1:1/0"), engine)
    began = time.monotonic()
    for _ in range(100):
        dispatcher.ring(new_id(), "urgent")
    assert time.monotonic() - began < 0.2
    dispatcher.close()


def test_a_dispatcher_finds_redis_again(engine: Engine) -> None:
    server = RedisServer()
    try:
        server.start()
        dispatcher = Dispatcher(connect_redis(server.url), engine)
        server.stop()
        with pytest.raises(redis.RedisError):
            dispatcher.ring_now([new_id()], "urgent")
        server.start()
        dispatcher.ring_now([new_id()], "urgent")
        assert dispatcher.waiting("urgent") == 1
        dispatcher.close()
    finally:
        server.close()


def test_a_redis_that_stays_silent_is_a_closed_connection_for_the_consumer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.broker._SOCKET_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = JobBroker(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        broker.declare_queue("urgent")
        consumer = broker.consume("urgent")
        with pytest.raises(ConnectionClosed, match="TimeoutError"):
            next(consumer)
        broker.client.close()
