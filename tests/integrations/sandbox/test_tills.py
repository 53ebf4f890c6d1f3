"""The payment providers' sandbox: callbacks that are genuine, and the stock client as its judge."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import pytest
from wechatpayv3 import WeChatPay, WeChatPayType

from integrations.alipay import notify
from integrations.payments import CallbackRefused, Channel, Notification
from integrations.sandbox.callbacks import MIGRATION, WAITS, CallbackPlan
from integrations.sandbox.merchants import (
    ALIPAY_APP,
    APPID,
    MCHID,
    till_keys,
    wechat_pay_credentials,
)
from integrations.sandbox.server import SandboxServer
from integrations.sandbox.tills import Tills
from integrations.wechat_pay import v2, v3

ORDER, REFUND = "Z20240506-0001", "R20240506-0001"


class Backend(BaseHTTPRequestHandler):
    """Keeps what it is sent, and answers as it is told."""

    seen: ClassVar[list[tuple[str, dict[str, str], bytes]]]
    answers: ClassVar[list[tuple[int, bytes]]]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).seen.append((self.path, dict(self.headers.items()), body))
        status, text = type(self).answers.pop(0) if type(self).answers else (200, _good(self.path))
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _good(path: str) -> bytes:
    return {"/alipay": notify.ACCEPTED.body, "/wechat_pay_v2": v2.ACCEPTED.body}.get(path, b"")


@pytest.fixture
def backend() -> Iterator[type[Backend]]:
    Backend.seen, Backend.answers = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Backend.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield Backend
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tills() -> Iterator[Tills]:
    tills = Tills()
    yield tills
    tills.courier.stop()


def follow(tills: Tills, backend: Any, **plan: Any) -> None:
    channels: list[Channel] = ["wechat_pay_v3", "wechat_pay_v2", "alipay"]
    urls: dict[Channel, str] = {channel: f"{backend.url}/{channel}" for channel in channels}
    tills.courier.follow(CallbackPlan(urls=urls, **{"scale": 0, **plan}))


def believed(path: str, headers: dict[str, str], body: bytes) -> Notification:
    if path == "/alipay":
        return notify.verify(body, headers["content-type"], till_keys().alipay.public_key())
    if path == "/wechat_pay_v2":
        if b"req_info" in body:
            return v2.open_refund(body, till_keys().api_v2_key)
        return v2.verify(body, till_keys().api_v2_key, "HMAC-SHA256")
    keys = wechat_pay_credentials().keys
    v3.verify(headers, body, keys, dt.datetime.now(dt.UTC))
    return v3.open_notification(body, keys)


@pytest.mark.parametrize("channel", ["wechat_pay_v3", "wechat_pay_v2", "alipay"])
def test_payments_and_refunds_are_told_and_believed(
    tills: Tills, backend: type[Backend], channel: Channel
) -> None:
    follow(tills, backend)
    tills.change(channel, "pay", ORDER, 12345)
    assert tills.courier.wait(10)
    order, refund, _ = tills.book(channel).refund(ORDER, REFUND, 345)
    tills.courier.send(tills.messages.refunded(channel, order, refund))
    assert tills.courier.wait(10)
    payment, told = (believed(*each) for each in backend.seen)
    assert (payment.kind, payment.state, payment.amount) == ("payment", "paid", 12345)
    assert (told.kind, told.state, told.refund_no) == ("refund", "refunded", REFUND)
    assert (told.amount, told.refund_amount) == (12345, 345)
    assert payment.order_no == told.order_no == ORDER
    assert (payment.merchant, payment.app) in {(MCHID, APPID), ("2088000000000001", ALIPAY_APP)}


def test_what_is_not_acknowledged_comes_again_until_it_is_given_up(
    tills: Tills, backend: type[Backend]
) -> None:
    follow(tills, backend)
    backend.answers.extend([(500, b""), (200, b"ok"), (200, b"<html>success</html>")])
    tills.change("alipay", "pay", ORDER, 12345)
    assert tills.courier.wait(10)
    assert len(backend.seen) == 4
    assert len({believed(*each).id for each in backend.seen}) == 1
    backend.answers.extend([(500, b"")] * 100)
    tills.change("wechat_pay_v3", "pay", ORDER, 12345)
    assert tills.courier.wait(20)
    assert len(backend.seen) == 4 + 1 + len(WAITS["wechat_pay_v3"])
    assert tills.courier.counts()["given_up"] == 1


def test_the_waits_are_the_providers() -> None:
    assert sum(WAITS["wechat_pay_v3"]) == 24 * 3600 + 4 * 60
    assert [seconds // 60 for seconds in WAITS["alipay"]] == [4, 10, 10, 60, 120, 360, 900]


def test_callbacks_are_doubled_and_lost_on_demand(tills: Tills, backend: type[Backend]) -> None:
    follow(tills, backend, percent_twice=50, percent_lost=20, mixed_within=0.05)
    for number in range(40):
        tills.change("wechat_pay_v3", "pay", f"Z{number:06d}", 100)
    assert tills.courier.wait(20)
    counts = tills.courier.counts()
    assert counts["messages"] == 40
    assert counts["lost"] > 0
    assert counts["twice"] > 0
    assert len(backend.seen) == 40 - counts["lost"] + counts["twice"]


@pytest.mark.parametrize("day", [0, 6, 7])
def test_the_key_migrates_from_day_to_day(tills: Tills, backend: type[Backend], day: int) -> None:
    follow(tills, backend, migration_day=day)
    for number in range(20):
        tills.change("wechat_pay_v3", "pay", f"Z{number:06d}", 100)
    assert tills.courier.wait(20)
    newer = sum(
        {name.lower(): value for name, value in headers.items()}["wechatpay-serial"]
        == till_keys().public_id
        for _, headers, _ in backend.seen
    )
    assert MIGRATION[day] in {0, 50, 100}
    assert newer == 20 * MIGRATION[day] / 100 if day != 6 else 0 < newer < 20
    for each in backend.seen:
        believed(*each)


def test_callbacks_go_to_this_machine_only() -> None:
    with pytest.raises(ValueError, match="nobody but this machine"):
        CallbackPlan(urls={"alipay": "http://shop.example/"})


def test_another_process_can_run_the_till() -> None:
    with SandboxServer() as server, httpx.Client(base_url=server.url) as client:
        keys = client.get("/_sandbox/merchants").json()
        assert keys["mchid"] == MCHID
        wanted = {"channel": "alipay", "order_no": ORDER}
        assert client.post("/_sandbox/orders", json=wanted).status_code == 404
        assert client.post("/_sandbox/orders", json={**wanted, "total": 5}).status_code == 201
        assert client.post("/_sandbox/orders", json={**wanted, "total": 0}).status_code == 422
        assert client.put("/_sandbox/callbacks", json={"scale": 0.1}).status_code == 204
        assert client.get("/_sandbox/callbacks").json()["waiting"] == 0
        wanted = {"channel": "alipay", "refund_no": REFUND}
        assert client.post("/_sandbox/refunds", json=wanted).status_code == 404


@pytest.fixture
def client() -> Iterator[tuple[WeChatPay, Tills]]:
    keys = till_keys().shown()
    with SandboxServer() as server:
        client = WeChatPay(
            wechatpay_type=WeChatPayType.NATIVE,
            mchid=MCHID,
            private_key=keys["private_key"],
            cert_serial_no=keys["serial_no"],
            apiv3_key=keys["api_v3_key"],
            appid=APPID,
            public_key=keys["public_key"],
            public_key_id=keys["public_key_id"],
        )
        client._core._gate_way = server.url
        yield client, server.sandbox.tills


def test_the_stock_client_asks_refunds_and_fetches_the_bill(
    client: tuple[WeChatPay, Tills],
) -> None:
    stock, tills = client
    tills.wechat_pay.book.pay(ORDER, 12345)
    assert '"trade_state": "SUCCESS"' in _ok(stock.query(out_trade_no=ORDER))
    amount = {"refund": 345, "total": 12345, "currency": "CNY"}
    _ok(stock.refund(out_refund_no=REFUND, out_trade_no=ORDER, amount=amount))
    assert '"status": "SUCCESS"' in _ok(stock.query_refund(out_refund_no=REFUND))
    day = dt.datetime.now(dt.timezone(dt.timedelta(hours=8))).date().isoformat()
    assert "download_url" in _ok(stock.trade_bill(bill_date=day))


def test_the_stock_client_believes_our_callbacks_and_any_age(
    client: tuple[WeChatPay, Tills],
) -> None:
    stock, tills = client
    message = tills.messages.paid("wechat_pay_v3", tills.wechat_pay.book.pay(ORDER, 12345))
    headers, body = message.sign(True)
    named = {name.title(): value for name, value in headers.items()}
    assert stock.callback(named, body)["resource"]["out_trade_no"] == ORDER
    with pytest.raises(CallbackRefused, match="too far"):
        v3.verify(
            named,
            body,
            wechat_pay_credentials().keys,
            dt.datetime.now(dt.UTC) + dt.timedelta(minutes=6),
        )


def _ok(answer: tuple[int, str]) -> str:
    status, text = answer
    assert status == 200, text
    return text
