"""Who may call."""

from __future__ import annotations

import httpx
import pytest

from models.api_keys import Scope, create_api_key, revoke_api_key
from models.database import WRITES, writing
from models.tables import api_keys
from tests.workers.gateway.serving import Gateway

CODE = {"phone": "16400001234", "code": "246810", "scene": "register"}


def ask(gateway: Gateway, *authorization: str) -> httpx.Response:
    headers = [("Authorization", value) for value in authorization]
    return httpx.get(f"{gateway.url}/v1/jobs/{'0' * 32}", headers=headers, trust_env=False)


def test_a_known_key_is_let_in(gateway: Gateway) -> None:
    assert ask(gateway, f"Bearer {gateway.api_key}").status_code == 404


def test_the_scheme_may_be_written_in_any_case(gateway: Gateway) -> None:
    assert ask(gateway, f"bearer {gateway.api_key}").status_code == 404


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer wrong", "Bearer " + "k" * 5000, "Basic YTpi", "Bearer a b"],
)
def test_a_stranger_is_told_how_to_authenticate(gateway: Gateway, authorization: str) -> None:
    reply = ask(gateway, authorization)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"].startswith('Bearer realm="zjj"')
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json()["type"] == "urn:problem-type:zjj:unauthenticated"


def test_a_key_that_is_no_ascii_is_no_key(gateway: Gateway) -> None:
    headers = {b"Authorization": "Bearer 钥匙".encode()}
    reply = httpx.get(f"{gateway.url}/v1/jobs/{'0' * 32}", headers=headers, trust_env=False)
    assert reply.status_code == 401


def test_no_header_at_all_is_a_stranger(gateway: Gateway) -> None:
    reply = ask(gateway)
    assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, 'Bearer realm="zjj"')


@pytest.mark.parametrize("change", [lambda key: key[:-1], lambda key: key + "x", str.swapcase])
def test_nearly_a_key_is_no_key(gateway: Gateway, change: object) -> None:
    assert callable(change)
    reply = ask(gateway, f"Bearer {change(gateway.api_key)}")
    assert reply.status_code == 401
    assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]
    assert gateway.api_key[:-1] not in reply.text


def test_a_strangers_body_is_not_even_judged(gateway: Gateway) -> None:
    for content in (b"{", b"x" * 100_000):
        reply = httpx.post(f"{gateway.url}/v1/sms-codes", content=content, trust_env=False)
        assert reply.status_code == 401


def test_a_revoked_key_is_refused(gateway: Gateway) -> None:
    with gateway.engine.connect().execution_options(**WRITES) as connection, connection.begin():
        key = create_api_key(connection, "shop")
        newest = connection.scalars(api_keys.select().order_by(api_keys.c.id.desc())).first()
        assert newest is not None
        revoke_api_key(connection, newest)
    assert ask(gateway, f"Bearer {key}").status_code == 401
    assert ask(gateway, f"Bearer {gateway.api_key}").status_code == 404


def a_key(gateway: Gateway, *scopes: Scope) -> str:
    with writing(gateway.engine) as connection:
        return create_api_key(connection, "shop", scopes=scopes)


def test_what_a_key_lacks_is_named(gateway: Gateway) -> None:
    reply = ask(gateway, f"Bearer {a_key(gateway, Scope.ENQUEUE)}")
    assert reply.status_code == 403
    assert reply.json()["type"] == "urn:problem-type:zjj:missing-scope"
    assert "read" in reply.json()["detail"]
    assert 'error="insufficient_scope", scope="read"' in reply.headers["WWW-Authenticate"]


def test_a_key_that_only_reads_hands_nothing_in(gateway: Gateway) -> None:
    with gateway.http(a_key(gateway, Scope.READ)) as http:
        reply = http.post("/v1/sms-codes", json=CODE, headers={"Idempotency-Key": "k"})
        assert (reply.status_code, reply.json()["detail"][-8:]) == (403, "enqueue.")
        assert http.get(f"/v1/jobs/{'0' * 32}").status_code == 404
