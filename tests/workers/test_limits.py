"""Limits hold with Redis, without it, and after it was flushed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from sqlalchemy import Engine

from models.errors import Throttled
from models.group_commit import GroupCommit
from models.limits import Demand, parse_rules
from models.pseudonyms import Pseudonyms
from models.tables import limits
from tests.servers import RedisServer
from workers.dispatch import connect_redis
from workers.limits import Limiter, Shield

NOBODY = "redis://127.0.0.1:1/0"
RULES = parse_rules("1/minute 5/hour")

MakeLimiter = Callable[[str], Limiter]


@pytest.fixture
def make_limiter(engine: Engine) -> Iterator[MakeLimiter]:
    """Limiters of several processes, on one database."""
    opened: list[tuple[GroupCommit, Shield]] = []

    def make(url: str) -> Limiter:
        commits, shield = GroupCommit(engine), Shield(connect_redis(url))
        opened.append((commits, shield))
        return Limiter(commits, Pseudonyms(b"p" * 32), shield)

    yield make
    for commits, shield in opened:
        commits.close()
        shield.close()


def passes(limiter: Limiter, key: str = "k", rules: str = "1/minute 5/hour") -> bool:
    try:
        limiter.take(key, parse_rules(rules))
    except Throttled:
        return False
    return True


@pytest.mark.parametrize("with_redis", [True, False], ids=["valkey", "database alone"])
def test_of_a_thousand_requests_at_once_exactly_the_cap_passes(
    make_limiter: MakeLimiter, redis_url: str, with_redis: bool
) -> None:
    limiters = [make_limiter(redis_url if with_redis else NOBODY) for _ in range(2)]
    with ThreadPoolExecutor(50) as pool:
        outcomes = pool.map(lambda n: passes(limiters[n % 2], rules="17/minute"), range(1000))
        assert sum(outcomes) == 17


def test_a_refusal_says_how_long_and_which(make_limiter: MakeLimiter, redis_url: str) -> None:
    limiter = make_limiter(redis_url)
    limiter.take("k", RULES, code="limit.test")
    for _ in range(2):  # from the database, then from Redis
        with pytest.raises(Throttled) as caught:
            limiter.take("k", RULES, code="limit.test")
        assert caught.value.code == "limit.test"
        assert 58 < (caught.value.retry_after or 0) <= 60


def test_redis_remembers_why_a_key_was_refused(redis_url: str) -> None:
    shield = Shield(connect_redis(redis_url))
    shield.remember(Throttled("x", code="limit.alarm", retry_after=30, key="phone"))
    refusal = shield.refusal([Demand("client", RULES, "y"), Demand("phone", RULES, "limit.phone")])
    shield.close()
    assert refusal is not None
    assert (refusal.code, refusal.key) == ("limit.alarm", "phone")


def test_a_refusal_that_redis_remembers_costs_no_transaction(
    make_limiter: MakeLimiter, redis_url: str, engine: Engine
) -> None:
    limiter = make_limiter(redis_url)
    assert passes(limiter)
    assert not passes(limiter)
    # With the books gone only Redis can still know.
    with engine.begin() as connection:
        connection.execute(limits.delete())
    assert not passes(limiter)


def test_nobody_waits_for_redis_before_somebody_was_refused(
    make_limiter: MakeLimiter, redis_url: str, redis_server: RedisServer
) -> None:
    def scripts() -> int:
        with redis.Redis.from_url(redis_url) as client:
            calls = client.info("commandstats")
        return sum(calls[name]["calls"] for name in calls if "evalsha" in name)

    one, other = make_limiter(redis_url), make_limiter(redis_url)
    before = scripts()
    assert [passes(one, key, "1/minute") for key in "abc"] == [True] * 3
    assert scripts() == before
    assert not passes(one, "a")
    # Another process learns of it when it refuses somebody itself.
    assert not passes(other, "b")
    assert scripts() == before
    assert not passes(other, "a")
    assert scripts() > before


def test_a_flush_does_not_open_the_gate(
    make_limiter: MakeLimiter, redis_url: str, redis_server: RedisServer
) -> None:
    limiter = make_limiter(redis_url)
    assert passes(limiter)
    for _ in range(3):
        assert not passes(limiter)
        redis_server.flush()


def test_a_redis_that_goes_away_does_not_open_it_either(make_limiter: MakeLimiter) -> None:
    server = RedisServer()
    server.start()
    try:
        limiter = make_limiter(server.url)
        assert passes(limiter)
        server.kill()
        assert not passes(limiter)
    finally:
        server.close()


def test_redis_holds_no_key_that_somebody_gave(
    make_limiter: MakeLimiter, redis_url: str, engine: Engine
) -> None:
    limiter = make_limiter(redis_url)
    passes(limiter, "16400001234")
    passes(limiter, "16400001234")
    with redis.Redis.from_url(redis_url) as client:
        names = client.keys()
    assert len(names) == 1
    assert b"16400001234" not in names[0]
    with engine.connect() as connection:
        assert "16400001234" not in str(connection.execute(limits.select()).all())


def test_it_serves_an_event_loop(make_limiter: MakeLimiter) -> None:
    limiter = make_limiter(NOBODY)

    async def twice() -> None:
        await limiter.take_async("k", RULES)
        await limiter.take_async("k", RULES)

    with pytest.raises(Throttled):
        asyncio.run(twice())
