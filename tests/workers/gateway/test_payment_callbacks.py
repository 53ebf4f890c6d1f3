"""What providers get for their callbacks, byte for byte, and what is left behind of each."""

from __future__ import annotations

import base64
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Table, func, select

from integrations.payments import Channel
from integrations.sandbox.tills import Tills
from models import database
from models.database import writing
from models.identifiers import new_id
from models.tables import data_keys, jobs, payment_notifications
from tests.servers import PostgresServer
from tests.workers.gateway.serving import Gateway, serve_gateway
from tests.workers.tills import CHANNELS, MERCHANTS, number_of

Callback = tuple[Mapping[str, str], bytes]
Answer = tuple[int, str | None, bytes]

XML = "<xml><return_code><![CDATA[{}]]></return_code><return_msg><![CDATA[{}]]></return_msg></xml>"
ACCEPTED: dict[str, Answer] = {
    "wechat_pay_v3": (204, None, b""),
    "wechat_pay_v2": (200, "text/xml", XML.format("SUCCESS", "OK").encode()),
    "alipay": (200, "text/plain", b"success"),
}
REFUSED: dict[str, Answer] = {
    "wechat_pay_v3": (401, "application/json", b'{"code":"FAIL","message":"refused"}'),
    "wechat_pay_v2": (401, "text/xml", XML.format("FAIL", "refused").encode()),
    "alipay": (401, "text/plain", b"failure"),
}
UNAVAILABLE: dict[str, Answer] = {
    "wechat_pay_v3": (503, "application/json", b'{"code":"FAIL","message":"try again"}'),
    "wechat_pay_v2": (503, "text/xml", XML.format("FAIL", "try again").encode()),
    "alipay": (503, "text/plain", b"failure"),
}
PATHS = {
    "wechat_pay_v3": "/v1/callbacks/wechat-pay/",
    "wechat_pay_v2": "/v1/callbacks/wechat-pay-v2/",
    "alipay": "/v1/callbacks/alipay/",
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    url = f"sqlite:///{tmp_path_factory.mktemp('callbacks') / 'zjj.db'}"
    with serve_gateway(url, merchants=MERCHANTS()) as running:
        yield running


@pytest.fixture
def provider(gateway: Gateway) -> Iterator[httpx.Client]:
    """Somebody without an API key."""
    with stranger(gateway) as client:
        yield client


@contextmanager
def stranger(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as client:
        yield client


def paid(channel: Channel, *, seconds_ago: float = 0, newer: bool = False) -> Callback:
    """A genuine callback about an order of its own."""
    tills = Tills(clock=lambda: time.time() - seconds_ago)
    order = tills.book(channel).pay(f"o-{new_id()[-20:]}", 12900)
    return tills.messages.paid(channel, order).sign(newer)


def refunded(channel: Channel) -> Callback:
    tills = Tills()
    order_no = f"o-{new_id()[-20:]}"
    tills.book(channel).pay(order_no, 12900)
    order, refund, _ = tills.book(channel).refund(order_no, f"r-{new_id()[-20:]}", 900)
    return tills.messages.refunded(channel, order, refund).sign(False)


def spoiled(callback: Callback) -> Callback:
    headers, body = callback
    assert body.count(b"129")
    return headers, body.replace(b"129", b"128", 1)


def tell(client: httpx.Client, channel: str, callback: Callback, merchant: str = "") -> Answer:
    headers, body = callback
    path = PATHS[channel] + (merchant or number_of(channel))
    reply = client.post(path, headers=dict(headers), content=body)
    return reply.status_code, reply.headers.get("content-type"), reply.content


def count(gateway: Gateway, table: Table) -> int:
    with gateway.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def kept(gateway: Gateway) -> tuple[int, int]:
    return count(gateway, payment_notifications), count(gateway, jobs)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("message", [paid, refunded])
def test_what_is_genuine_is_kept_and_acknowledged_each_time_it_comes(
    gateway: Gateway,
    provider: httpx.Client,
    channel: Channel,
    message: Callable[[Channel], Callback],
) -> None:
    before, callback = kept(gateway), message(channel)
    for _ in range(3):
        assert tell(provider, channel, callback) == ACCEPTED[channel]
        assert kept(gateway) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("channel", CHANNELS)
def test_twenty_deliveries_at_once_are_one_row_and_one_job(
    gateway: Gateway, provider: httpx.Client, channel: Channel
) -> None:
    before, callback = kept(gateway), paid(channel)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: tell(provider, channel, callback), range(20)))
    assert answers == [ACCEPTED[channel]] * 20
    assert kept(gateway) == (before[0] + 1, before[1] + 1)


def test_either_key_of_the_migration_is_accepted(gateway: Gateway, provider: httpx.Client) -> None:
    answers = [
        tell(provider, "wechat_pay_v3", paid("wechat_pay_v3", newer=n)) for n in (False, True)
    ]
    assert answers == [ACCEPTED["wechat_pay_v3"]] * 2


def changed(callback: Callback, **headers: str) -> Callback:
    named = {f"wechatpay-{name}": value for name, value in headers.items()}
    return {**callback[0], **named}, callback[1]


def a_probe() -> Callback:
    headers, body = paid("wechat_pay_v3")
    signature = f"WECHATPAY/SIGNTEST/{headers['wechatpay-signature']}"
    return changed((headers, body), signature=signature)


def without_signature(channel: Channel) -> Callback:
    headers, body = paid(channel)
    if channel == "wechat_pay_v3":
        return {k: v for k, v in headers.items() if not k.startswith("wechatpay-")}, body
    if channel == "wechat_pay_v2":
        return headers, body.partition(b"<sign>")[0] + b"</xml>"
    return headers, body.partition(b"&sign=")[0]


REFUSALS: dict[str, tuple[Channel, Callable[[], Callback]]] = {
    "v3 changed": ("wechat_pay_v3", lambda: (paid("wechat_pay_v3")[0], b"{}")),
    "v3 unsigned": ("wechat_pay_v3", lambda: without_signature("wechat_pay_v3")),
    "v3 probe": ("wechat_pay_v3", a_probe),
    "v3 from 2020": ("wechat_pay_v3", lambda: paid("wechat_pay_v3", seconds_ago=2e8)),
    "v3 301 s old": ("wechat_pay_v3", lambda: paid("wechat_pay_v3", seconds_ago=302)),
    "v3 from the future": ("wechat_pay_v3", lambda: paid("wechat_pay_v3", seconds_ago=-310)),
    "v3 unknown serial": (
        "wechat_pay_v3",
        lambda: changed(paid("wechat_pay_v3"), serial="AB" * 20),
    ),
    "v3 other key": (
        "wechat_pay_v3",
        lambda: changed(
            paid("wechat_pay_v3"), serial=paid("wechat_pay_v3", newer=True)[0]["wechatpay-serial"]
        ),
    ),
    "v2 changed": ("wechat_pay_v2", lambda: spoiled(paid("wechat_pay_v2"))),
    "v2 unsigned": ("wechat_pay_v2", lambda: without_signature("wechat_pay_v2")),
    "v2 no XML": ("wechat_pay_v2", lambda: ({"content-type": "text/xml"}, b"hello")),
    "v2 with entities": (
        "wechat_pay_v2",
        lambda: ({}, b'<!DOCTYPE z [<!ENTITY l "l">]><xml><a>&l;</a></xml>'),
    ),
    "alipay changed": ("alipay", lambda: spoiled(paid("alipay"))),
    "alipay unsigned": ("alipay", lambda: without_signature("alipay")),
    "alipay without sign_type": (
        "alipay",
        lambda: (paid("alipay")[0], paid("alipay")[1].replace(b"sign_type=RSA2&", b"")),
    ),
    "alipay as JSON": ("alipay", lambda: ({"content-type": "application/json"}, paid("alipay")[1])),
    "alipay no form": ("alipay", lambda: (paid("alipay")[0], b"\xff=%zz")),
}


@pytest.mark.parametrize(("channel", "make"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_not_to_be_believed_is_refused_and_leaves_nothing(
    gateway: Gateway, provider: httpx.Client, channel: Channel, make: Callable[[], Callback]
) -> None:
    before = kept(gateway)
    assert tell(provider, channel, make()) == REFUSED[channel]
    assert kept(gateway) == before


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_too_large_is_refused_with_413(
    gateway: Gateway, provider: httpx.Client, channel: Channel
) -> None:
    before, (headers, _) = kept(gateway), paid(channel)
    _, content_type, body = REFUSED[channel]
    assert tell(provider, channel, (headers, b"x" * 65537)) == (413, content_type, body)
    assert tell(provider, channel, (headers, b"x" * 65536)) == REFUSED[channel]
    assert kept(gateway) == before


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_merchant_that_nobody_knows_is_refused_with_404(
    gateway: Gateway, provider: httpx.Client, channel: Channel
) -> None:
    before = kept(gateway)
    _, content_type, body = REFUSED[channel]
    answer = tell(provider, channel, paid(channel), merchant="1900009999")
    assert answer == (404, content_type, body)
    for merchant in ("x", "1", "9" * 21, "１９００００９９９９", "..%2f..%2fv1%2fjobs"):
        assert tell(provider, channel, paid(channel), merchant=merchant)[0] in {404, 422}
    assert kept(gateway) == before


_connected: list[Any] = []


def test_an_unknown_serial_makes_nobody_connect_to_anything(
    gateway: Gateway, provider: httpx.Client
) -> None:
    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen"}:
            _connected.append(arguments)

    unknown = changed(paid("wechat_pay_v3"), serial="AB" * 20)
    tell(provider, "wechat_pay_v3", unknown)
    sys.addaudithook(watch)  # It stays for good, and only listens.
    _connected.clear()
    assert tell(provider, "wechat_pay_v3", unknown) == REFUSED["wechat_pay_v3"]
    assert _connected == []
    with stranger(gateway) as other:
        tell(other, "wechat_pay_v3", unknown)
    assert _connected  # It does listen.


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Gateway]:
    with serve_gateway(f"sqlite:///{tmp_path / 'zjj.db'}", merchants=MERCHANTS()) as running:
        yield running


@pytest.mark.parametrize("channel", CHANNELS)
def test_nothing_is_acknowledged_before_it_is_on_the_disk(own: Gateway, channel: Channel) -> None:
    callback = paid(channel)
    with stranger(own) as client, ThreadPoolExecutor(1) as thread:
        assert tell(client, channel, paid(channel)) == ACCEPTED[channel]
        with writing(own.engine):
            waiting = thread.submit(tell, client, channel, callback)
            time.sleep(0.3)
            assert not waiting.done()
            assert kept(own) == (1, 1)
        assert waiting.result() == ACCEPTED[channel]
        assert kept(own) == (2, 2)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_database_that_takes_nothing_is_told_as_503_and_nothing_is_half_stored(
    own: Gateway, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0)
    callback = paid(channel)
    with stranger(own) as client, closing(sqlite3.connect(str(own.engine.url.database))) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            assert tell(client, channel, callback) == UNAVAILABLE[channel]
        # What is not to be believed is refused without the database.
        assert tell(client, channel, without_signature(channel)) == REFUSED[channel]
        other.execute("ROLLBACK")
        assert kept(own) == (0, 0)
        assert tell(client, channel, callback) == ACCEPTED[channel]
    assert kept(own) == (1, 1)


@pytest.mark.chaos
def test_a_database_that_is_gone_is_told_as_503_until_it_is_back() -> None:
    server = PostgresServer()
    callbacks = {channel: paid(channel) for channel in CHANNELS}
    try:
        server.start()
        url = server.url(server.create_database())
        with serve_gateway(url, merchants=MERCHANTS()) as gateway, stranger(gateway) as client:
            server.kill()
            for channel, callback in callbacks.items():
                assert tell(client, channel, callback) == UNAVAILABLE[channel]
                assert tell(client, channel, without_signature(channel)) == REFUSED[channel]
            server.start()
            deadline = time.monotonic() + 20
            for channel, callback in callbacks.items():
                # As the provider does.
                while tell(client, channel, callback) == UNAVAILABLE[channel]:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                assert tell(client, channel, callback) == ACCEPTED[channel]
            assert kept(gateway) == (3, 3)
    finally:
        server.close()


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_kept_shows_nothing_of_the_buyer(own: Gateway, channel: Channel) -> None:
    with stranger(own) as client:
        tell(client, channel, paid(channel))
    found = b""
    with own.engine.connect() as connection:
        for table in (payment_notifications, jobs, data_keys):
            found += repr(connection.execute(select(table)).all()).encode()
    assert not [mark for mark in (b"o-sandbox", b"sandbox-buyer", b"openid") if mark in found]


def hand_on(
    gateway: Gateway, channel: str, callback: Callback, api_key: str | None = None
) -> httpx.Response:
    headers, body = callback
    document = {
        "channel": channel,
        "merchant": number_of(channel),
        "headers": {name.title(): value for name, value in headers.items()},
        "body": base64.b64encode(body).decode(),
    }
    with gateway.http(api_key) as client:
        return client.post("/v1/payment-callbacks", json=document)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_callback_that_a_backend_hands_on_is_answered_with_the_providers_bytes(
    gateway: Gateway, channel: Channel
) -> None:
    before, callback = kept(gateway), paid(channel)
    status, content_type, body = ACCEPTED[channel]
    for new in (True, False):
        reply = hand_on(gateway, channel, callback)
        assert reply.status_code == 200
        assert reply.json() == {
            "new": new,
            "status": status,
            "content_type": content_type,
            "body": base64.b64encode(body).decode(),
        }
    assert kept(gateway) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("channel", CHANNELS)
def test_one_notification_that_comes_in_at_both_doors_is_one(
    gateway: Gateway, provider: httpx.Client, channel: Channel
) -> None:
    callback = paid(channel)
    assert tell(provider, channel, callback) == ACCEPTED[channel]
    assert hand_on(gateway, channel, callback).json()["new"] is False


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_a_backend_hands_on_is_believed_by_the_same_rules(
    gateway: Gateway, channel: Channel
) -> None:
    before, (headers, body) = kept(gateway), paid(channel)
    reply = hand_on(gateway, channel, without_signature(channel))
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"] == "body"
    assert hand_on(gateway, channel, (headers, body + b"x" * 65537)).status_code == 422
    # Another backend has no such merchant.
    assert hand_on(gateway, channel, (headers, body), gateway.other_api_key).status_code == 404
    assert hand_on(gateway, channel, (headers, body), "zjj_nobody").status_code == 401
    assert kept(gateway) == before


def test_a_backend_hears_503_while_the_database_takes_nothing(
    own: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = paid("wechat_pay_v3")
    assert hand_on(own, "wechat_pay_v3", spoiled_signature(callback)).status_code == 422
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0)
    with closing(sqlite3.connect(str(own.engine.url.database))) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        assert hand_on(own, "wechat_pay_v3", callback).status_code == 503
        other.execute("ROLLBACK")
    assert kept(own) == (0, 0)


def spoiled_signature(callback: Callback) -> Callback:
    return changed(callback, nonce="another")
