"""Money that goes back: what a refusal means, and what was refused only for being a repetition."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from integrations.payments import Channel
from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.database import writing
from models.payments.states import PaymentState, RefundState
from models.payments.views import RefundView
from models.states import State
from models.tables import jobs
from tests.workers.tills import CHANNELS, Shop
from workers.merchants import Merchants

# What a refusal means does not depend on the database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ORDER, REFUND = "order-000001", "refund-000001"
OVER: tuple[Channel, ...] = ("wechat_pay_v3", "alipay")
"""The two interfaces over which money goes back; what was paid over API v2 goes over v3."""
GIVES: dict[str, str] = {"wechat_pay_v3": "refund", "alipay": "alipay.trade.refund"}
ASKS: dict[str, str] = {
    "wechat_pay_v3": "refund.query",
    "alipay": "alipay.trade.fastpay.refund.query",
}
NO: dict[str, str] = {
    "wechat_pay_v3": "USER_ACCOUNT_ABNORMAL",
    "alipay": "ACQ.TRADE_NOT_ALLOW_REFUND",
}
NO_SUCH_QUESTION: dict[str, str] = {
    "wechat_pay_v3": "PARAM_ERROR",
    "alipay": "ACQ.INVALID_PARAMETER",
}
NOT_YOU: dict[str, str] = {"wechat_pay_v3": "NO_AUTH", "alipay": "isv.invalid-app-id"}


def sold(shop: Shop, channel: Channel) -> None:
    """An order of 129.00, paid."""
    shop.expect(channel, ORDER)
    shop.hear(channel, shop.pay(channel, ORDER))
    shop.work()
    assert shop.payment(channel, ORDER).state is PaymentState.PAID


def job(shop: Shop) -> Any:
    (found,) = [row for row in shop.rows("jobs") if row.kind == "refund"]
    return found


def again(shop: Shop) -> None:
    shop.wake(job(shop).id)
    shop.work()


def replay(shop: Shop) -> None:
    """As ``zjj jobs replay`` leaves it: its attempts are counted anew."""
    with writing(shop.engine) as connection:
        anew = {"state": State.QUEUED, "attempts": 0, "run_at": utc_now()}
        connection.execute(update(jobs).where(jobs.c.id == job(shop).id).values(**anew))
    shop.work()


def stored(shop: Shop, channel: Channel) -> RefundView:
    found = shop.payment(channel, ORDER).refund(REFUND)
    assert found is not None
    return found


def orders_given(server: SandboxServer, channel: Channel) -> int:
    """How often the provider was told to give money back."""
    return sum(e["action"] == GIVES[channel] for e in server.sandbox.journal.entries())


@pytest.mark.parametrize("channel", OVER)
def test_what_the_provider_refuses_has_failed_and_another_refund_may_begin(
    shop: Shop, server: SandboxServer, channel: Channel
) -> None:
    sold(shop, channel)
    told = shop.told()
    server.sandbox.faults.add(Fault(kind="code", code=NO[channel], action=GIVES[channel], times=1))
    shop.refund(channel, ORDER, REFUND, 12900)
    shop.work()
    assert (job(shop).state, job(shop).provider_code) == ("failed", NO[channel])
    assert stored(shop, channel).state is RefundState.FAILED
    payment = shop.payment(channel, ORDER)
    assert (payment.state, payment.refunded, payment.ask_at) == (PaymentState.PAID, 0, None)
    assert shop.told() == told + 1
    shop.refund(channel, ORDER, "refund-000002", 12900)
    shop.work()
    assert shop.payment(channel, ORDER).account.committed == 12900


@pytest.mark.parametrize("channel", OVER)
def test_a_refusal_of_a_question_says_nothing_about_the_money(
    shop: Shop, server: SandboxServer, channel: Channel
) -> None:
    sold(shop, channel)
    told = shop.told()
    # The money leaves, the answer is lost, and then the question itself is not understood.
    server.sandbox.faults.add(Fault(kind="reset", action=GIVES[channel], times=1))
    shop.refund(channel, ORDER, REFUND, 900)
    shop.work()
    server.sandbox.faults.add(
        Fault(kind="code", code=NO_SUCH_QUESTION[channel], action=ASKS[channel], times=1)
    )
    again(shop)
    assert job(shop).state == "failed"
    assert stored(shop, channel).state is RefundState.REQUESTED
    assert shop.told() == told
    replay(shop)
    assert (job(shop).state, orders_given(server, channel)) == ("succeeded", 1)
    assert stored(shop, channel).state is RefundState.REFUNDED


@pytest.mark.parametrize("channel", OVER)
def test_what_is_refused_because_it_was_done_before_is_done(
    shop: Shop, server: SandboxServer, channel: Channel
) -> None:
    sold(shop, channel)
    told = shop.told()
    server.sandbox.faults.add(Fault(kind="reset", action=GIVES[channel], times=1))
    shop.refund(channel, ORDER, REFUND, 12900)
    shop.work()
    # Where the question was answered, the refund could not be seen yet.
    missing = {"wechat_pay_v3": "RESOURCE_NOT_EXISTS", "alipay": "ACQ.TRADE_NOT_EXIST"}[channel]
    faults = server.sandbox.faults
    faults.add(Fault(kind="code", code=missing, action=ASKS[channel], times=1))
    faults.add(Fault(kind="code", code=NO[channel], action=GIVES[channel], times=1))
    again(shop)
    assert job(shop).state == "succeeded"
    payment = shop.payment(channel, ORDER)
    assert (payment.state, payment.refunded) == (PaymentState.REFUNDED, 12900)
    assert shop.told() == told + 2, "refund.succeeded and payment.refunded"


@pytest.mark.parametrize("channel", OVER)
def test_a_repetition_that_is_refused_and_was_never_done_has_failed(
    shop: Shop, server: SandboxServer, channel: Channel
) -> None:
    sold(shop, channel)
    faults = server.sandbox.faults
    faults.add(Fault(kind="drop", action=GIVES[channel], times=1, processed=False))
    faults.add(Fault(kind="code", code=NO[channel], action=GIVES[channel], times=3))
    shop.refund(channel, ORDER, REFUND, 900)
    shop.work()
    for _ in range(2):
        again(shop)
        assert job(shop).state == "retrying", "money may be on its way"
    again(shop)
    assert job(shop).state == "failed"
    assert stored(shop, channel).state is RefundState.FAILED
    asked = [e["action"] for e in server.sandbox.journal.entries()]
    assert asked[-3:] == [ASKS[channel], GIVES[channel], ASKS[channel]]


@pytest.mark.parametrize("channel", OVER)
def test_what_is_refused_while_it_is_on_its_way_has_not_failed(
    shop: Shop, server: SandboxServer, channel: Channel
) -> None:
    sold(shop, channel)
    told = shop.told()
    faults = server.sandbox.faults
    faults.add(Fault(kind="reset", action=GIVES[channel], times=1))
    shop.refund(channel, ORDER, REFUND, 12900)
    shop.work()
    missing = {"wechat_pay_v3": "RESOURCE_NOT_EXISTS", "alipay": "ACQ.TRADE_NOT_EXIST"}[channel]
    faults.add(Fault(kind="code", code=missing, action=ASKS[channel], times=2))
    faults.add(Fault(kind="code", code=NO[channel], action=GIVES[channel], times=1))
    again(shop)
    assert job(shop).state == "retrying"
    assert (stored(shop, channel).state, shop.told()) == (RefundState.REQUESTED, told)
    again(shop)
    assert (job(shop).state, stored(shop, channel).state) == ("succeeded", RefundState.REFUNDED)
    assert shop.told() == told + 2, "refund.succeeded and payment.refunded"


@pytest.mark.parametrize("channel", OVER)
def test_a_merchant_who_is_refused_has_not_had_the_refund_refused(
    shop: Shop, server: SandboxServer, channel: Channel
) -> None:
    sold(shop, channel)
    told = shop.told()
    server.sandbox.faults.add(
        Fault(kind="code", code=NOT_YOU[channel], action=GIVES[channel], times=1)
    )
    shop.refund(channel, ORDER, REFUND, 900)
    shop.work()
    assert job(shop).state in {"failed", "retrying", "queued"}
    assert stored(shop, channel).state is RefundState.REQUESTED
    assert shop.told() == told


def test_a_merchant_who_was_taken_out_of_the_file_has_not_had_the_refund_refused(
    shop: Shop,
) -> None:
    sold(shop, "alipay")
    told = shop.told()
    shop.refund("alipay", ORDER, REFUND, 900)
    merchants, shop.till.merchants = shop.till.merchants, Merchants([])
    shop.work()
    assert job(shop).state == "failed"
    assert stored(shop, "alipay").state is RefundState.REQUESTED
    assert shop.told() == told
    shop.till.merchants = merchants
    replay(shop)
    assert stored(shop, "alipay").state is RefundState.REFUNDED


@pytest.mark.parametrize("channel", OVER)
def test_a_refund_that_is_over_is_not_given_again_by_a_replay(
    shop: Shop, server: SandboxServer, channel: Channel
) -> None:
    sold(shop, channel)
    server.sandbox.faults.add(Fault(kind="code", code=NO[channel], action=GIVES[channel], times=1))
    shop.refund(channel, ORDER, REFUND, 900)
    shop.work()
    assert stored(shop, channel).state is RefundState.FAILED
    replay(shop)
    assert (job(shop).state, orders_given(server, channel)) == ("succeeded", 1)
    assert stored(shop, channel).state is RefundState.FAILED


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_refund_whose_worker_died_after_it_left_is_found(
    shop: Shop, server: SandboxServer, channel: Channel
) -> None:
    sold(shop, channel)
    over: Channel = "alipay" if channel == "alipay" else "wechat_pay_v3"
    server.sandbox.faults.add(Fault(kind="reset", action=GIVES[over], times=1))
    shop.refund(channel, ORDER, REFUND, 900)
    shop.work()
    with writing(shop.engine) as connection:
        lost = {"state": State.UNKNOWN, "run_at": utc_now(), "settled_at": utc_now()}
        connection.execute(update(jobs).where(jobs.c.id == job(shop).id).values(**lost))
    assert shop.reconciler().round() == 1
    assert job(shop).state == "succeeded"
    assert stored(shop, channel).state is RefundState.REFUNDED
    assert orders_given(server, over) == 1
