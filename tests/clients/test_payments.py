"""Payments, refunds and callbacks with the client, at a real gateway and the sandbox's till."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

import zjj
from integrations.sandbox.merchants import MCHID, SELLER
from integrations.sandbox.tills import Tills
from models.database import writing
from models.tables import payments
from tests.clients.answering import answering, reply
from tests.workers.gateway.serving import Gateway, serve_gateway
from tests.workers.tills import MERCHANTS

SOON = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
REFUND: dict[str, Any] = {"refund_no": "refund-000001", "amount": 900, "reason": "price"}


class Sync:
    """Calls through :class:`zjj.Client`."""

    def call(self, gateway: Gateway, group: str, name: str, *given: str, **named: Any) -> Any:
        with zjj.Client(gateway.url, gateway.api_key) as client:
            return getattr(getattr(client, group), name)(*given, **named)


class Async(Sync):
    """The same calls through :class:`zjj.AsyncClient`."""

    def call(self, gateway: Gateway, group: str, name: str, *given: str, **named: Any) -> Any:
        async def call() -> Any:
            async with zjj.AsyncClient(gateway.url, gateway.api_key) as client:
                return await getattr(getattr(client, group), name)(*given, **named)

        return asyncio.run(call())


@pytest.fixture(params=[Sync, Async])
def calls(request: pytest.FixtureRequest) -> Sync:
    made: Sync = request.param()
    return made


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    database = f"sqlite:///{tmp_path_factory.mktemp('payments') / 'zjj.db'}"
    with serve_gateway(database, merchants=MERCHANTS()) as gateway:
        yield gateway


@pytest.fixture
def order() -> dict[str, Any]:
    """What nobody has expected before."""
    return {"channel": "alipay", "merchant": SELLER, "order_no": f"order|{uuid4().hex[:12]}*"}


def paid(gateway: Gateway, order: dict[str, Any]) -> None:
    """As if the provider's callback had been worked through."""
    with writing(gateway.engine) as connection:
        connection.execute(
            payments.update()
            .where(payments.c.order_no == order["order_no"])
            .values(state="paid", paid_at=dt.datetime.now(dt.UTC))
        )


def test_a_payment_is_expected_once_and_read_back(
    calls: Sync, gateway: Gateway, order: dict[str, Any]
) -> None:
    wanted = {**order, "amount": 12900, "expires_at": SOON}
    made = calls.call(gateway, "payments", "expect", **wanted)
    assert (made.state, made.amount, made.currency, made.expires_at) == ("open", 12900, "CNY", SOON)
    assert calls.call(gateway, "payments", "expect", **wanted) == made
    assert calls.call(gateway, "payments", "get", order["order_no"]) == (made,)
    with pytest.raises(zjj.ConflictError, match="number was used before"):
        calls.call(gateway, "payments", "expect", **{**wanted, "amount": 1})


def test_money_goes_back_once_for_a_number(
    calls: Sync, gateway: Gateway, order: dict[str, Any]
) -> None:
    calls.call(gateway, "payments", "expect", **order, amount=12900, expires_at=SOON)
    refund = {**REFUND, "refund_no": f"refund-{uuid4().hex[:12]}"}
    with pytest.raises(zjj.InvalidRequestError, match="order_no"):
        calls.call(gateway, "refunds", "start", **order, **refund)
    paid(gateway, order)
    made = calls.call(gateway, "refunds", "start", **order, **refund)
    assert (made.state, made.amount, made.reason) == ("requested", 900, "price")
    assert calls.call(gateway, "refunds", "start", **order, **refund) == made
    assert calls.call(gateway, "refunds", "get", refund["refund_no"]) == made
    (payment,) = calls.call(gateway, "payments", "get", order["order_no"])
    assert (payment.state, payment.refunds) == ("refunding", (made,))
    with pytest.raises(zjj.InvalidRequestError, match="amount"):
        calls.call(
            gateway,
            *("refunds", "start"),
            **{**order, **refund, "refund_no": "refund-000002", "amount": 12001},
        )


def test_a_callback_is_handed_on_as_it_came(
    calls: Sync, gateway: Gateway, order: dict[str, Any]
) -> None:
    tills = Tills()
    number = order["order_no"]
    message = tills.messages.paid("wechat_pay_v3", tills.wechat_pay.book.pay(number, 12900))
    headers, body = message.sign(False)
    told = {name.title(): value for name, value in headers.items()} | {"Cookie": "kept here"}
    call = {"channel": "wechat_pay_v3", "merchant": MCHID, "headers": told, "body": body}
    answer = calls.call(gateway, "payments", "hand_on", **call)
    assert answer == zjj.Acknowledgement(new=True, status=204, content_type=None, body=b"")
    assert not calls.call(gateway, "payments", "hand_on", **call).new
    with pytest.raises(zjj.InvalidRequestError, match="body"):
        calls.call(gateway, "payments", "hand_on", **{**call, "body": body + b" "})


def test_a_callbacks_other_headers_stay_here() -> None:
    with (
        answering(reply(422, {"errors": []})) as heard,
        zjj.Client(heard.url, "zjj_key") as client,
        pytest.raises(zjj.InvalidRequestError),
    ):
        client.payments.hand_on(
            channel="alipay",
            merchant=SELLER,
            headers={"Cookie": "stays", "Content-Type": "text/x-sent"},
            body=b"",
        )
    assert b"stays" not in heard.requests[0]
    assert b"text/x-sent" in heard.requests[0]


def test_what_is_anothers_does_not_exist(
    calls: Sync, gateway: Gateway, order: dict[str, Any]
) -> None:
    for group in ("payments", "refunds"):
        with pytest.raises(zjj.NotFoundError, match="no such order"):
            calls.call(gateway, group, "get", "nobodys-number")
    with pytest.raises(zjj.NotFoundError):
        calls.call(
            gateway,
            *("payments", "expect"),
            **{**order, "merchant": "2088000000000009"},
            amount=1,
            expires_at=SOON,
        )


@pytest.mark.parametrize("number", ["", "../x/../y", "short", "a" * 33, "with space"])
def test_what_is_no_number_becomes_no_part_of_a_url(
    calls: Sync, gateway: Gateway, number: str
) -> None:
    for group in ("payments", "refunds"):
        with pytest.raises(zjj.InvalidRequestError) as refused:
            calls.call(gateway, group, "get", number)
        assert number not in str(refused.value) or not number


def test_a_gateway_that_hangs_up_is_asked_again_with_the_same_numbers(
    gateway: Gateway, order: dict[str, Any]
) -> None:
    wanted = {**order, "amount": 12900, "expires_at": SOON}
    with zjj.Client(gateway.url, gateway.api_key) as client:
        client.payments.expect(**wanted)
    with gateway.http() as http:
        stored = http.get(f"/v1/payments/{order['order_no']}").json()["payments"][0]
    with (
        answering(None, reply(503), reply(200, stored)) as heard,
        zjj.Client(heard.url, "zjj_key") as client,
    ):
        assert client.payments.expect(**wanted).order_no == order["order_no"]
    assert len({request.partition(b"\r\n\r\n")[2] for request in heard.requests}) == 1
