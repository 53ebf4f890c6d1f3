"""POST /v1/sms-codes: accepted once, whatever happens on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select

from models.tables import jobs
from tests.servers import PostgresServer
from tests.workers.gateway.serving import Gateway, serve_gateway

CODE = {"phone": "16400001234", "code": "246810", "scene": "register"}


@pytest.fixture
def gateway(sqlite_url: str) -> Iterator[Gateway]:
    with serve_gateway(sqlite_url) as gateway:
        yield gateway


def send(http: httpx.Client, body: object = CODE, key: str = "first") -> httpx.Response:
    return http.post("/v1/sms-codes", json=body, headers={"Idempotency-Key": key})


def stored(gateway: Gateway) -> int:
    with gateway.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def test_a_job_is_accepted_with_its_address(http: httpx.Client) -> None:
    reply = send(http)
    assert reply.status_code == 202
    job = reply.json()
    assert set(job) == {"id", "kind", "state", "created_at"}
    assert (job["kind"], job["state"]) == ("sms_code", "queued")
    assert reply.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert reply.headers["Idempotency-Result"] == "created"
    assert http.get(reply.headers["Location"]).json()["id"] == job["id"]


def test_the_same_key_with_the_same_payload_is_the_same_job(
    http: httpx.Client, gateway: Gateway
) -> None:
    first, second = send(http), send(http)
    assert (second.status_code, second.json()) == (202, first.json())
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Idempotency-Result"] == "repeated"
    assert stored(gateway) == 1


def test_the_same_phone_written_otherwise_is_the_same_payload(http: httpx.Client) -> None:
    first = send(http)
    second = send(http, {**CODE, "phone": "+86 164-0000-1234"})
    assert second.json() == first.json()


@pytest.mark.parametrize(
    "other", [{"phone": "16400001235"}, {"code": "246811"}, {"scene": "login"}, {"user": "u-1"}]
)
def test_the_same_key_with_another_payload_is_a_conflict(
    http: httpx.Client, gateway: Gateway, other: dict[str, str]
) -> None:
    send(http)
    reply = send(http, {**CODE, **other})
    assert reply.status_code == 409
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json()["type"] == "urn:problem-type:zjj:idempotency-conflict"
    assert reply.json()["errors"][0]["field"] == "Idempotency-Key"
    assert not any(value in reply.text for value in (*other.values(), CODE["phone"]))
    assert stored(gateway) == 1


def test_backends_do_not_share_idempotency_keys(http: httpx.Client, gateway: Gateway) -> None:
    with gateway.http(gateway.other_api_key) as other:
        assert send(http).json()["id"] != send(other).json()["id"]
        assert send(other, {**CODE, "code": "1357"}).status_code == 409


def test_fifty_threads_with_one_key_make_one_job(database_url: str, redis_url: str) -> None:
    with serve_gateway(database_url, redis_url) as gateway, gateway.http() as http:
        with ThreadPoolExecutor(50) as threads:
            replies = list(threads.map(lambda _: send(http), range(50)))
        assert {reply.status_code for reply in replies} == {202}
        assert len({reply.json()["id"] for reply in replies}) == 1
        results = [reply.headers["Idempotency-Result"] for reply in replies]
        assert (results.count("created"), results.count("repeated")) == (1, 49)
        assert stored(gateway) == 1


def test_fifty_threads_with_two_payloads_make_one_job(gateway: Gateway) -> None:
    def one(number: int) -> httpx.Response:
        with gateway.http() as http:
            return send(http, {**CODE, "code": ("246810", "135790")[number % 2]})

    with ThreadPoolExecutor(50) as threads:
        replies = list(threads.map(one, range(50)))
    accepted = [reply.json()["id"] for reply in replies if reply.status_code == 202]
    refused = [reply for reply in replies if reply.status_code == 409]
    assert (len(accepted), len(refused)) == (25, 25)
    assert len(set(accepted)) == stored(gateway) == 1


def test_a_job_is_accepted_while_redis_is_down(http: httpx.Client, gateway: Gateway) -> None:
    # The gateway of these tests has nobody at its Redis address at all.
    assert http.get("/readyz").json()["dependencies"]["redis"] == "down"
    assert [send(http, key=str(n)).status_code for n in range(3)] == [202] * 3
    assert stored(gateway) == 3


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.mark.chaos
def test_nothing_is_promised_while_the_database_is_down(own_postgres: PostgresServer) -> None:
    url = own_postgres.url(own_postgres.create_database())
    with serve_gateway(url) as gateway, gateway.http() as http:
        known = send(http).json()["id"]
        own_postgres.kill()
        for reply in (send(http, key="second"), http.get(f"/v1/jobs/{known}")):
            assert reply.status_code == 503
            assert reply.headers["Content-Type"] == "application/problem+json"
            assert 1 <= int(reply.headers["Retry-After"]) <= 60
            assert reply.json()["type"] == "urn:problem-type:zjj:unavailable"
        assert http.get("/readyz").status_code == 503
        # Also for a caller whose key the gateway has not seen lately.
        with gateway.http(gateway.other_api_key) as other:
            assert send(other).status_code == 503

        own_postgres.start()
        assert stored_when_back(gateway) == 1
        again = send(http, key="second")
        assert (again.status_code, again.headers["Idempotency-Result"]) == (202, "created")
        assert http.get("/readyz").status_code == 200


def stored_when_back(gateway: Gateway) -> int:
    """PostgreSQL answers again at once; the pool has dead connections to throw away first."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return stored(gateway)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("key", ["k", "!~", "k" * 255, str(UUID(int=7)), '"quoted"'])
def test_an_idempotency_key_is_up_to_255_visible_characters(http: httpx.Client, key: str) -> None:
    assert send(http, key=key).status_code == 202


@pytest.mark.parametrize("key", [b"", b"k" * 256, b"two words", "键".encode(), b"\xff"])
def test_another_idempotency_key_is_refused_by_name(http: httpx.Client, key: bytes) -> None:
    reply = http.post("/v1/sms-codes", json=CODE, headers={b"Idempotency-Key": key})
    assert reply.status_code == 422
    assert [error["field"] for error in reply.json()["errors"]] == ["Idempotency-Key"]


def test_an_idempotency_key_is_needed(http: httpx.Client, gateway: Gateway) -> None:
    reply = http.post("/v1/sms-codes", json=CODE)
    assert reply.status_code == 422
    assert reply.json()["errors"] == [
        {"field": "Idempotency-Key", "reason": "is required", "code": "missing"}
    ]
    assert stored(gateway) == 0
