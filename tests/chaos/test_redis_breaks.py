"""Redis may forget, vanish, fill up or crawl: it only ever rang."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest
import redis

from models.states import State
from tests.chaos.ground import Ground
from workers.messages import queue_keys

_Break = Callable[[Ground, bool], None]
_FULL = pytest.mark.full


def _flush(ground: Ground, _full: bool) -> None:
    ground.redis.flush()


def _die(ground: Ground, _full: bool) -> None:
    ground.redis.kill()
    ground.enqueue(10)
    ground.redis.start()


def _vanish(ground: Ground, full: bool) -> None:
    ground.redis.kill()
    deadline = time.monotonic() + (30 if full else 3)
    while time.monotonic() < deadline:
        ground.enqueue(1)
        time.sleep(0.2)
    ground.redis.start()


def _freeze(ground: Ground, _full: bool) -> None:
    os.kill(ground.redis.pid, signal.SIGSTOP)
    ground.enqueue(20)
    time.sleep(10)
    os.kill(ground.redis.pid, signal.SIGCONT)


def _fill_up(ground: Ground, full: bool) -> None:
    with redis.Redis.from_url(ground.redis.url) as client:
        client.config_set("maxmemory", "1")
        deadline = time.monotonic() + (20 if full else 3)
        while time.monotonic() < deadline:
            ground.enqueue(1)
            time.sleep(0.1)
        client.config_set("maxmemory", "0")


def _crawl(ground: Ground, full: bool) -> None:
    over = threading.Event()

    def pause() -> None:
        with redis.Redis.from_url(ground.redis.url) as client:
            while not over.wait(0.05):
                client.execute_command("CLIENT", "PAUSE", "500", "ALL")

    crawling = threading.Thread(target=pause)
    crawling.start()
    ground.enqueue(20)
    time.sleep(20 if full else 3)
    over.set()
    crawling.join()


@pytest.mark.parametrize(
    ("name", "breakage"),
    [
        ("FLUSHALL", _flush),
        ("kill -9 without AOF", _die),
        pytest.param("outage", _vanish, marks=_FULL),
        pytest.param("frozen", _freeze, marks=_FULL),
        pytest.param("out of memory", _fill_up, marks=_FULL),
        pytest.param("500 ms slow", _crawl, marks=_FULL),
    ],
)
def test_whatever_redis_does_every_job_is_done_once(
    ground: Ground, full: bool, figure: Callable[..., None], name: str, breakage: _Break
) -> None:
    count = 500 if full else 60
    ground.start_worker()
    ground.ready()
    ground.enqueue(count)
    breakage(ground, full)
    ground.enqueue(count)
    ground.settle()
    figure(f"Redis: {name}", **ground.audit())
    assert ground.states() == {State.SUCCEEDED: len(ground.accepted)}


def _hostile(full: bool) -> list[bytes]:
    shapes = [
        b"\x00\xff not a message",
        b"{}",
        b"null",
        (
            b'{"queue_name":"urgent","actor_name":"os.system","args":["id"],"kwargs":{},'
            b'"options":{"redis_message_id":"x"},"message_id":"x","message_timestamp":1}'
        ),
        (
            b'{"queue_name":"urgent","actor_name":"run_job","args":["../../etc"],"kwargs":{},'
            b'"options":{"redis_message_id":"x"},"message_id":"x","message_timestamp":1}'
        ),
        b"[" * 100_000,
    ]
    huge = b'{"args":"' + b"x" * 5_000_000 + b'"}'
    if not full:
        return [*shapes, huge]
    noise = [random.randbytes(random.randrange(1, 4000)) for _ in range(300)]
    found = [*shapes * 50, *[huge] * 10, *noise]
    random.shuffle(found)
    return found


@pytest.mark.parametrize("where", [pytest.param("before", marks=_FULL), "between"])
def test_hostile_messages_are_taken_out_and_their_neighbours_are_not(
    ground: Ground, full: bool, figure: Callable[..., None], where: str
) -> None:
    names, contents, _ = queue_keys("urgent")
    hostile = _hostile(full)
    with redis.Redis.from_url(ground.redis.url) as client:
        for number, message in enumerate(hostile):
            if where == "between":
                ground.enqueue(1 if full else 3)
                ground.entrance.dispatcher.drain()
            client.hset(contents, f"hostile-{number}", message)
            client.rpush(names, f"hostile-{number}")
        ground.enqueue(5)
        ground.without_lifetimes()
        ground.start_worker()
        ground.settle()
        ground.until(lambda: client.hlen(contents) == 0, "they are taken out")
    assert ground.log().count("message.quarantined") == len(hostile)
    assert ground.workers[0].poll() is None
    figure(f"{len(hostile)} hostile messages ({where})", **ground.audit())
    assert ground.states() == {State.SUCCEEDED: len(ground.accepted)}
