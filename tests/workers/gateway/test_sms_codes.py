"""Codes over HTTP: made, checked, limited; and the description says so."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, select

from models.sealing import seal_identity
from models.tables import jobs
from tests.servers import RedisServer
from tests.workers.gateway.serving import NO_REDIS, Gateway, serve_gateway
from workers.settings import Settings

ASKED = {"phone": "16400001234", "scene": "login"}
LIMITS = Settings()


@pytest.fixture
def gateway(sqlite_url: str) -> Iterator[Gateway]:
    with serve_gateway(sqlite_url, limits=LIMITS) as gateway:
        yield gateway


def ask(http: httpx.Client, key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key or str(uuid4())}
    return http.post("/v1/sms-codes", json=ASKED | fields, headers=headers)


def verify(http: httpx.Client, code: str, **fields: Any) -> httpx.Response:
    return http.post("/v1/sms-codes/verify", json=ASKED | {"code": code} | fields)


def sent(gateway: Gateway, job_id: str) -> str:
    with gateway.engine.connect() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    identity = seal_identity(row.id, row.kind, row.policy_version)
    code: str = gateway.sealer.open(row.sealed, identity=identity, bucket=row.bucket)["code"]
    return code


def stored(gateway: Gateway) -> int:
    with gateway.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def test_without_a_code_we_make_one_and_check_it(http: httpx.Client, gateway: Gateway) -> None:
    reply = ask(http)
    assert reply.status_code == 202
    assert set(reply.json()) == {"id", "kind", "state", "created_at"}
    code = sent(gateway, reply.json()["id"])
    assert len(code) == 6
    assert code not in reply.text
    wrong = "000000" if code != "000000" else "000001"
    assert verify(http, wrong).json() == {
        "verified": False,
        "attempts_left": 4,
        "reason": "wrong",
    }
    assert verify(http, code).json() == {"verified": True, "attempts_left": 0, "reason": None}
    assert verify(http, code).json()["reason"] == "used"


def test_another_backend_has_no_code_there(http: httpx.Client, gateway: Gateway) -> None:
    code = sent(gateway, ask(http).json()["id"])
    with gateway.http(gateway.other_api_key) as other:
        assert verify(other, code).json()["reason"] == "none"
    assert verify(http, code).json()["verified"]


def test_a_backends_own_code_is_its_own_to_check(http: httpx.Client) -> None:
    assert ask(http, code="246810").status_code == 202
    assert verify(http, "246810").json()["reason"] == "none"


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"code": "246810", "length": 6}, "body"),
        ({"length": 3}, "length"),
        ({"length": 7}, "length"),
        ({"scene": "pay"}, "scene"),
        ({"client": "x" * 129}, "client"),
        ({"phone": "+852 5123 4567"}, "phone"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    http: httpx.Client, fields: dict[str, Any], at_fault: str
) -> None:
    reply = ask(http, **fields)
    assert reply.status_code == 422
    assert [error["field"] for error in reply.json()["errors"]] == [at_fault]


def test_a_second_code_within_a_minute_is_refused_until_then(
    http: httpx.Client, gateway: Gateway
) -> None:
    assert ask(http).status_code == 202
    reply = ask(http)
    assert reply.status_code == 429
    assert 55 <= int(reply.headers["Retry-After"]) <= 60
    problem = reply.json()
    assert problem["type"] == "urn:problem-type:zjj:wait"
    assert problem["errors"] == [
        {"field": "phone", "reason": "has no permit left", "code": "limit.phone_scene"}
    ]
    assert stored(gateway) == 1
    # Another scene is another window, and a code of one's own costs the same.
    assert ask(http, scene="register", code="246810").status_code == 202
    assert ask(http, scene="register").status_code == 429


def test_a_repeated_key_answers_as_before_whatever_the_limits_say(
    sqlite_url: str, redis_url: str
) -> None:
    limits = Settings(sms_limit_phone="2/day")
    with serve_gateway(sqlite_url, redis_url, limits=limits) as gateway, gateway.http() as http:
        first = ask(http, key="k")
        assert ask(http).status_code == 429
        again = ask(http, key="k")
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.headers["Idempotency-Result"] == "repeated"
        assert ask(http, key="k", scene="register").status_code == 409
        # Of the day's two permits these took one.
        assert ask(http, scene="register").status_code == 202
        assert ask(http, scene="bind_phone").json()["errors"][0]["code"] == "limit.phone"


def test_each_client_that_a_backend_names_has_a_limit_of_its_own(sqlite_url: str) -> None:
    limits = Settings(sms_limit_client="1/minute")
    with serve_gateway(sqlite_url, limits=limits) as gateway, gateway.http() as http:
        assert ask(http, client="device-1").status_code == 202
        reply = ask(http, client="device-1", phone="16400001235")
        assert reply.status_code == 429
        assert reply.json()["errors"][0]["code"] == "limit.client"
        assert ask(http, client="device-2", phone="16400001236").status_code == 202
        with gateway.http(gateway.other_api_key) as other:
            assert ask(other, client="device-1", phone="16400001237").status_code == 202
        with gateway.engine.connect() as connection:
            assert "device" not in str(connection.execute(select(jobs)).all())


def test_a_backend_has_a_ceiling(sqlite_url: str) -> None:
    limits = Settings(sms_limit_backend="2/day")
    with serve_gateway(sqlite_url, limits=limits) as gateway, gateway.http() as http:
        replies = [ask(http, phone=f"1640000200{number}") for number in range(3)]
        assert [reply.status_code for reply in replies] == [202, 202, 429]
        assert replies[-1].json()["errors"][0]["code"] == "limit.backend"
        with gateway.http(gateway.other_api_key) as other:
            assert ask(other, phone="16400002009").status_code == 202


async def at_once(count: int, *gateways: Gateway) -> list[int]:
    """The statuses of so many requests for one phone and scene, all in the air together."""
    ready = asyncio.Barrier(count)

    async def one(gateway: Gateway) -> int:
        address = httpx.URL(gateway.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        body = json.dumps(ASKED).encode()
        head = (
            f"POST /v1/sms-codes HTTP/1.1\r\nHost: {address.host}\r\nConnection: close\r\n"
            f"Authorization: Bearer {gateway.api_key}\r\nIdempotency-Key: {uuid4()}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await ready.wait()
        writer.write(head.encode() + body)
        reply = await reader.read()
        writer.close()
        return int(reply.split(b" ", 2)[1])

    each = cycle(gateways)
    return list(await asyncio.gather(*(one(next(each)) for _ in range(count))))


@contextmanager
def flushing(server: RedisServer) -> Iterator[None]:
    """It forgets everything, again and again."""
    over = threading.Event()

    def flush() -> None:
        while not over.wait(0.005):
            server.flush()

    thread = threading.Thread(target=flush)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.parametrize("redis", ["redis", "flushed redis", "no redis"])
def test_of_a_thousand_requests_at_once_exactly_the_cap_is_accepted(
    redis: str, redis_url: str, redis_server: RedisServer, database_url: str
) -> None:
    limits = Settings(sms_limit_phone_scene="7/hour")
    url = NO_REDIS if redis == "no redis" else redis_url
    with ExitStack() as stack:
        if redis == "flushed redis":
            stack.enter_context(flushing(redis_server))
        gateway = stack.enter_context(serve_gateway(database_url, url, limits=limits))
        statuses = asyncio.run(at_once(1000, gateway))
        assert Counter(statuses) == {202: 7, 429: 993}
        assert stored(gateway) == 7


def test_two_gateways_share_their_limits(database_url: str, redis_url: str) -> None:
    limits = Settings(sms_limit_phone_scene="7/hour")
    with (
        serve_gateway(database_url, redis_url, limits=limits) as one,
        serve_gateway(database_url, NO_REDIS, limits=limits) as other,
    ):
        with one.http() as http:  # so that both find the rows that they count in
            assert ask(http).status_code == 202
        statuses = asyncio.run(at_once(1000, one, other))
        assert Counter(statuses) == {202: 6, 429: 994}
        assert stored(one) == 7


def test_the_description_tells_of_limits_and_verification(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    refusal = paths["/v1/sms-codes"]["post"]["responses"]["429"]
    assert refusal["headers"]["Retry-After"]["required"]
    assert "429" not in paths["/v1/sms-codes/verify"]["post"]["responses"]
