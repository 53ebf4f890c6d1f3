"""What providers say about refunds of their own accord: over another interface, unsigned, late."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest

from integrations.payments import Channel
from models.errors import IdempotencyConflict
from models.payments.states import PaymentState, RefundState
from tests.workers.notices import written
from tests.workers.tills import CHANNELS, Shop

ORDER, REFUND = "order-000001", "refund-000001"


def sold(shop: Shop, channel: Channel) -> None:
    shop.expect(channel, ORDER)
    shop.hear(channel, shop.pay(channel, ORDER))
    shop.work()
    assert shop.payment(channel, ORDER).state is PaymentState.PAID


def test_what_was_paid_over_v2_and_goes_back_over_v3_is_heard_of_over_v3(shop: Shop) -> None:
    sold(shop, "wechat_pay_v2")
    shop.tills.wechat_pay.book.refund_seconds = 3600
    shop.refund("wechat_pay_v2", ORDER, REFUND, 900)
    shop.work()
    assert shop.payment("wechat_pay_v2", ORDER).state is PaymentState.REFUNDING
    order = shop.tills.book("wechat_pay_v3").find_refund(REFUND)
    assert order is not None
    shop.tills.wechat_pay.book.refund_seconds = 0
    told = shop.told()
    shop.hear("wechat_pay_v3", shop.tills.messages.refunded("wechat_pay_v3", *order).sign(False))
    shop.work()
    payment = shop.payment("wechat_pay_v2", ORDER)
    assert (payment.state, payment.refunded) == (PaymentState.PARTIALLY_REFUNDED, 900)
    assert (shop.told(), shop.mismatches()) == (told + 1, [])


def test_a_payment_over_v3_is_none_for_an_order_of_v2(shop: Shop) -> None:
    shop.expect("wechat_pay_v2", ORDER)
    shop.hear("wechat_pay_v3", shop.pay("wechat_pay_v3", ORDER))
    shop.work()
    assert shop.payment("wechat_pay_v2", ORDER).state is PaymentState.OPEN
    assert [each.reason for each in shop.mismatches()] == ["unknown_order"]


def test_an_order_number_is_one_order_over_whichever_version_it_is_paid(shop: Shop) -> None:
    """WeChat Pay knows it under both, so a second payment would be told as paid with one's money."""
    shop.expect("wechat_pay_v2", ORDER)
    with pytest.raises(IdempotencyConflict):
        shop.expect("wechat_pay_v3", ORDER)
    # Another merchant's, such as the seller at Alipay, is another order.
    shop.expect("alipay", ORDER)
    assert len(shop.rows("payments")) == 2


def test_of_both_versions_at_once_one_is_expected(shop: Shop) -> None:
    def expect(number: int) -> bool:
        channel: Channel = "wechat_pay_v2" if number % 2 else "wechat_pay_v3"
        try:
            shop.expect(channel, ORDER)
        except IdempotencyConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert any(threads.map(expect, range(8)))
    assert len(shop.rows("payments")) == 1


@pytest.mark.parametrize("channel", ["wechat_pay_v2", "alipay"])
def test_a_failed_refund_that_is_paid_out_by_hand_later_counts(
    shop: Shop, channel: Channel
) -> None:
    sold(shop, channel)
    order, refund, _ = shop.tills.book(channel).refund(ORDER, REFUND, 900, result="failed")
    shop.hear(channel, shop.tills.messages.refunded(channel, order, refund).sign(False))
    settle(shop)
    refund.result = "refunded"
    shop.hear(channel, shop.tills.messages.refunded(channel, order, refund).sign(False))
    settle(shop)
    payment = shop.payment(channel, ORDER)
    assert (payment.state, payment.refunded) == (PaymentState.PARTIALLY_REFUNDED, 900)


def settle(shop: Shop) -> None:
    for _ in range(6):
        shop.work()
        shop.ahead += dt.timedelta(minutes=5)
    shop.work()


def test_variants_of_an_unsigned_callback_are_one_row_and_tell_nothing(shop: Shop) -> None:
    sold(shop, "wechat_pay_v2")
    told = shop.told()
    order, refund, _ = shop.tills.book("wechat_pay_v2").refund(ORDER, REFUND, 900)
    message = shop.tills.messages.refunded("wechat_pay_v2", order, refund)
    assert shop.hear("wechat_pay_v2", message.sign(False))
    rows = len(shop.rows("payment_notifications"))
    # Whoever holds the key of API v2 writes the rest as they like; so may who changes its blocks.
    for amount in (1, 2, 3):
        refund.amount = amount
        message = shop.tills.messages.refunded("wechat_pay_v2", order, refund)
        assert not shop.hear("wechat_pay_v2", message.sign(False))
    assert len(shop.rows("payment_notifications")) == rows
    refund.amount = 900
    settle(shop)
    assert shop.payment("wechat_pay_v2", ORDER).refunded == 900
    assert shop.told() == told + 1


def test_an_unsigned_callback_for_somebody_else_does_not_stop_the_questions(shop: Shop) -> None:
    shop.expect("wechat_pay_v2", ORDER)
    shop.pay("wechat_pay_v2", ORDER)
    order, refund, _ = shop.tills.book("wechat_pay_v2").refund(ORDER, REFUND, 900)
    headers, body = shop.tills.messages.refunded("wechat_pay_v2", order, refund).sign(False)
    # What stands beside the encrypted part, anybody can change.
    spoiled = body.replace(b"<mch_id><![CDATA[1", b"<mch_id><![CDATA[2")
    assert spoiled != body
    shop.hear("wechat_pay_v2", (headers, spoiled))
    shop.work()
    assert [each.reason for each in shop.mismatches()] == ["wrong_merchant"]
    assert shop.told() == 0
    payment = shop.payment("wechat_pay_v2", ORDER)
    assert payment.ask_at is not None
    assert not payment.flagged


@pytest.mark.parametrize("channel", CHANNELS)
def test_one_order_that_nobody_expects_is_told_of_once_however_many_speak_of_it_at_once(
    shop: Shop, channel: Channel
) -> None:
    shop.pay(channel, ORDER)
    for number in range(12):
        # Each a notification of its own.
        changed = {"wechat_pay_v2": {"amount": str(12900 + number)}}.get(channel, {})
        shop.hear(channel, written(shop.tills, channel, ORDER, **changed))
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(shop.execution.run, shop._waiting()))
    for row in shop.rows("jobs"):
        if row.kind == "payment_callback" and row.state != "succeeded":
            shop.wake(row.id)
    shop.work()
    assert [each.reason for each in shop.mismatches()] == ["unknown_order"]
    assert shop.told() == (channel == "wechat_pay_v3")


def test_a_refund_of_ours_that_the_provider_gave_back_otherwise_is_for_a_person(
    shop: Shop,
) -> None:
    sold(shop, "wechat_pay_v3")
    shop.tills.wechat_pay.book.refund_seconds = 3600
    shop.refund("wechat_pay_v3", ORDER, REFUND, 900)
    shop.work()
    found = shop.tills.wechat_pay.book.find_refund(REFUND)
    assert found is not None
    found[1].amount = 800
    shop.tills.wechat_pay.book.refund_seconds = 0
    settle(shop)
    (mismatch,) = shop.mismatches()
    assert (mismatch.reason, mismatch.expected, mismatch.received) == (
        "wrong_refund_amount",
        900,
        800,
    )
    payment = shop.payment("wechat_pay_v3", ORDER)
    refund = payment.refund(REFUND)
    assert refund is not None
    assert (refund.state, payment.refunded) == (RefundState.PROCESSING, 0)
    # A person decides; the provider would say the same every hour for ever.
    assert payment.ask_at is None
