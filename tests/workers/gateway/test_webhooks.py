"""A backend says over HTTP where it is told, and makes the secrets that sign it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import select

from models.api_keys import Scope, create_api_key
from models.clock import utc_now
from models.database import writing
from models.tables import audits
from models.webhooks import list_endpoints, signing_keys
from tests.workers.gateway.serving import _KEYS, SHOP_HOST, Gateway, serve_gateway
from workers.endpoints import MOST_ENDPOINTS

URL = f"https://{SHOP_HOST}/zjj"
REASON = {"reason": "the shop's results"}


@pytest.fixture
def gateway(database_url: str) -> Iterator[Gateway]:
    with serve_gateway(database_url) as gateway:
        yield gateway


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.http() as http:
        yield http


def put(http: httpx.Client, url: str = URL, **more: object) -> httpx.Response:
    return http.put("/v1/webhook", json={"url": url, **REASON, **more})


def test_a_url_is_one_endpoint_whose_secret_is_shown_once(
    gateway: Gateway, http: httpx.Client
) -> None:
    made = put(http, events=["payment.*"])
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    endpoint = made.json()
    assert endpoint["secret"].startswith("whsec_")
    again = put(http)
    assert (again.status_code, again.json()["secret"]) == (200, None)
    assert (again.json()["id"], again.json()["events"]) == (endpoint["id"], ["*"])
    (listed,) = http.get("/v1/webhooks").json()["endpoints"]
    assert (listed["url"], "secret" in listed) == (URL, False)
    with gateway.engine.connect() as connection:
        (stored,) = list_endpoints(connection)
        actions = connection.execute(select(audits.c.action, audits.c.actor)).all()
    assert (stored.backend, stored.url) == ("shop", URL)
    assert actions == [("webhook.add", "api:shop"), ("webhook.change", "api:shop")]


def test_many_who_register_at_once_make_one_endpoint(gateway: Gateway) -> None:
    with gateway.http() as http, ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: put(http), range(8)))
    assert sum(reply.status_code == 201 for reply in replies) == 1
    assert {reply.status_code for reply in replies} <= {200, 201, 503}
    with gateway.engine.connect() as connection:
        assert len(list_endpoints(connection)) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example.com/zjj",
        "http://shop.example.com/zjj",
        "https://127.0.0.1/zjj",
        "http://127.0.0.1:8000/zjj",
        "https://169.254.169.254/latest/meta-data",
        "https://shop.example.com@elsewhere.example.com/",
        "https://shop.example.com/zjj?to=elsewhere",
        "https://shop.example.com/16400001234",
        "",
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nobody_is_sent_where_somebody_would_like_to_look(http: httpx.Client, url: str) -> None:
    refused = put(http, url)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "url")
    assert "elsewhere" not in refused.text
    assert http.get("/v1/webhooks").json()["endpoints"] == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_there_is_not_cannot_be_heard_of(http: httpx.Client) -> None:
    for events in ([], ["payment.lost"], ["*", 7], "payment.paid"):
        assert put(http, events=events).status_code == 422
    assert put(http, events=["payment.paid", "refund.*"]).status_code == 201


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backend_has_so_many_endpoints_and_no_more(http: httpx.Client) -> None:
    for number in range(MOST_ENDPOINTS):
        assert put(http, f"{URL}/{number}").status_code == 201
    assert put(http, f"{URL}/more").status_code == 422
    assert put(http, f"{URL}/0").status_code == 200


def test_while_a_secret_is_rotated_both_sign(gateway: Gateway, http: httpx.Client) -> None:
    endpoint = put(http).json()
    rotated = http.post(f"/v1/webhooks/{endpoint['id']}/rotate", json={**REASON, "hours": 1})
    assert (rotated.status_code, rotated.headers["cache-control"]) == (200, "no-store")
    assert rotated.json()["secret"] not in {None, endpoint["secret"]}
    assert rotated.json()["previous_key_id"] == endpoint["key_id"]
    with gateway.engine.connect() as connection:
        keys = signing_keys(connection, _KEYS, endpoint["id"], now=utc_now())
    assert [key.id for key in keys] == [rotated.json()["key_id"], endpoint["key_id"]]


def test_what_was_disabled_is_in_use_again_once_it_is_put(http: httpx.Client) -> None:
    endpoint = put(http).json()
    for _ in range(2):
        disabled = http.post(f"/v1/webhooks/{endpoint['id']}/disable", json=REASON)
        assert disabled.json()["disabled_because"] == "backend"
    assert put(http).json()["disabled_at"] is None


def test_anothers_endpoint_does_not_exist(gateway: Gateway, http: httpx.Client) -> None:
    endpoint = put(http).json()
    with gateway.http(gateway.other_api_key) as other:
        assert other.get("/v1/webhooks").json()["endpoints"] == []
        for act in ("rotate", "disable"):
            reply = other.post(f"/v1/webhooks/{endpoint['id']}/{act}", json=REASON)
            assert reply.status_code == 404
        assert put(other).json()["id"] != endpoint["id"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_ordinary_key_cannot_say_where_its_backend_is_told(gateway: Gateway) -> None:
    with writing(gateway.engine) as connection:
        ordinary = create_api_key(connection, "shop")
        fit = create_api_key(connection, "shop", scopes=[Scope.WEBHOOKS])
    with gateway.http(ordinary) as http:
        for reply in (put(http), http.get("/v1/webhooks")):
            assert (reply.status_code, "webhooks" in reply.headers["www-authenticate"]) == (403, 1)
    with gateway.http(fit) as http:
        assert put(http).status_code == 201
