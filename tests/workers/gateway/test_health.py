"""Is it alive, and can it accept jobs? (The database going down: test_enqueueing.)"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

from models.api_keys import ApiKeys
from tests.workers.gateway.serving import Gateway, serve_gateway
from workers.gateway import Dependency, create_gateway, health
from workers.gateway.logins import LoginDoor
from workers.login_phones import LoginPhones


def test_a_live_process_says_so(http: httpx.Client) -> None:
    reply = http.get("/healthz")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


def test_with_everything_up_it_is_ready(sqlite_url: str, redis_url: str) -> None:
    with serve_gateway(sqlite_url, redis_url) as gateway, gateway.http() as http:
        reply = http.get("/readyz")
    assert reply.status_code == 200
    assert reply.json() == {"status": "ready", "dependencies": {"database": "up", "redis": "up"}}


def test_without_redis_it_is_degraded_but_ready(http: httpx.Client) -> None:
    reply = http.get("/readyz")
    assert reply.status_code == 200
    assert reply.json() == {
        "status": "degraded",
        "dependencies": {"database": "up", "redis": "down"},
    }


def broken() -> bool:
    raise ConnectionError


def slow() -> bool:
    time.sleep(0.3)
    return True


@pytest.mark.parametrize("check", [lambda: False, broken, slow])
def test_what_is_needed_and_does_not_answer_makes_it_unavailable(
    gateway: Gateway, check: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", 0.1)
    dependencies = [
        Dependency("database", check, needed=True),
        Dependency("redis", lambda: True, needed=False),
    ]
    app = create_gateway(
        gateway.service,
        ApiKeys(gateway.engine),
        codes=gateway.codes,
        consents=gateway.consents,
        desk=gateway.desk,
        login_door=LoginDoor(LoginPhones(gateway.engine, gateway.sealer), "aliyun"),
        payments=gateway.payments,
        dependencies=dependencies,
    )
    reply = asyncio.run(ask(app))
    assert reply.status_code == 503
    assert reply.json() == {
        "status": "unavailable",
        "dependencies": {"database": "down", "redis": "up"},
    }


async def ask(app: FastAPI) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        return await http.get("/readyz")
