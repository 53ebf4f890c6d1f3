"""The day's bill against the books: every sort of difference is found, once, on every channel."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import update

from integrations.payments import Channel
from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from models.database import writing
from models.jobs import insert_jobs
from models.tables import payments, refunds
from tasks.payment_bill import PaymentBill
from tests.workers.tills import BACKEND, CHANNELS, MERCHANTS, Shop, number_of
from workers.maintenance.payments import Bills

BEIJING = dt.timezone(dt.timedelta(hours=8))
THIS_MORNING = dt.datetime.now(BEIJING).replace(hour=11, minute=0)
YESTERDAY_NOON = THIS_MORNING.replace(hour=12) - dt.timedelta(days=1)


def sell(shop: Shop, channel: Channel, order_no: str, *refund_nos: str) -> None:
    """An order for 129.00 is paid, and 9.00 go back for each refund."""
    shop.expect(channel, order_no)
    shop.hear(channel, shop.pay(channel, order_no))
    shop.work()
    for number in refund_nos:
        shop.refund(channel, order_no, number, 900)
        shop.work()
        shop.ahead += dt.timedelta(hours=2)
        shop.work()


def let_a_day_pass(shop: Shop) -> None:
    """Whatever happened, happened at noon yesterday, to us and to the providers."""
    shop.ahead = dt.timedelta()
    with writing(shop.engine) as connection:
        paid = payments.c.paid_at.is_not(None)
        connection.execute(update(payments).where(paid).values(paid_at=YESTERDAY_NOON))
        times = {"created_at": YESTERDAY_NOON, "updated_at": YESTERDAY_NOON}
        connection.execute(update(refunds).values(**times))
    for book in (shop.tills.wechat_pay.book, shop.tills.alipay.book):
        for order in book._orders.values():
            order.paid_at = order.paid_at and YESTERDAY_NOON.timestamp()
            for refund in order.refunds.values():
                refund.at = YESTERDAY_NOON.timestamp()


def compare(shop: Shop, at: dt.datetime = THIS_MORNING) -> int:
    """As a worker does in the morning; returns how many bills it asked for."""
    service = shop.service
    bills = Bills(
        shop.engine, service._preparation, service._dispatcher, MERCHANTS(), clock=lambda: at
    )
    asked = bills.round()
    shop.work()
    return asked


def found(shop: Shop) -> dict[str, tuple[str, int | None, int | None]]:
    """By refund or order number: what differs, what was expected, what the bill says."""
    return {
        each.refund_no or each.order_no or "": (each.reason, each.expected, each.received)
        for each in shop.mismatches()
    }


@pytest.mark.parametrize("channel", CHANNELS)
def test_every_sort_of_difference_is_put_before_a_person_once(shop: Shop, channel: Channel) -> None:
    book = shop.tills.book(channel)
    sell(shop, channel, "order-fits01", "refund-fits1")
    sell(shop, channel, "order-lost01")
    sell(shop, channel, "order-less01")
    sell(shop, channel, "order-back01", "refund-lost1", "refund-less1", "refund-fail1")
    shop.expect(channel, "order-open01")
    del book._orders["order-lost01"]
    book._orders["order-less01"].total = 12800
    book.pay("order-open01", 12900)
    book.pay("order-more01", 500)
    order = book._orders["order-back01"]
    del order.refunds["refund-lost1"]
    order.refunds["refund-less1"].amount = 800
    book.refund("order-back01", "refund-more1", 100)
    with writing(shop.engine) as connection:
        failed = refunds.c.refund_no == "refund-fail1"
        connection.execute(update(refunds).where(failed).values(state="failed"))
    let_a_day_pass(shop)
    told = shop.told()
    assert compare(shop) == 2
    differences = {
        "order-lost01": ("bill_missing_payment", 12900, None),
        "order-less01": ("bill_wrong_amount", 12900, 12800),
        "order-open01": ("bill_unknown_payment", None, 12900),
        "order-more01": ("bill_unknown_payment", None, 500),
        "refund-lost1": ("bill_missing_refund", 900, None),
        "refund-less1": ("bill_wrong_refund", 900, 800),
        "refund-fail1": ("bill_wrong_refund", 900, 900),
        "refund-more1": ("bill_unknown_refund", None, 100),
    }
    assert found(shop) == differences
    assert {(each.backend, each.merchant) for each in shop.mismatches()} == {
        (BACKEND, number_of(channel))
    }
    # A bill tells a person, and no backend: it is never a reason to hand goods over.
    assert shop.told() == told
    assert compare(shop) == 0, "each bill is fetched once a day, whoever comes first"
    again(shop, channel)
    assert len(shop.mismatches()) == len(differences)


def again(shop: Shop, channel: Channel) -> None:
    """The comparison is asked for by hand, a second time."""
    bill = PaymentBill(
        channel="alipay" if channel == "alipay" else "wechat_pay_v3",
        merchant=number_of(channel),
        bill_date=YESTERDAY_NOON.date().isoformat(),
    )
    with writing(shop.engine) as connection:
        job = shop.service._preparation.prepare(bill, backend=BACKEND, connection=connection)
        insert_jobs(connection, [job])
    shop.work()
    (done,) = [row for row in shop.rows("jobs") if row.id == job.id]
    assert done.state == "succeeded"


def test_a_refund_that_failed_there_and_not_here_is_found(shop: Shop) -> None:
    sell(shop, "wechat_pay_v3", "order-back01", "refund-back1", "refund-back2")
    results = shop.tills.wechat_pay.book._orders["order-back01"].refunds
    results["refund-back1"].result, results["refund-back2"].result = "failed", "closed"
    let_a_day_pass(shop)
    compare(shop)
    assert found(shop) == {
        "refund-back1": ("bill_wrong_refund", 900, 900),
        "refund-back2": ("bill_wrong_refund", 900, 900),
    }


def test_books_that_agree_leave_nothing_to_do(shop: Shop) -> None:
    for number, channel in enumerate(CHANNELS):
        sell(shop, channel, f"order-fits{number}", f"refund-fits{number}")
    shop.expect("alipay", "order-nobody")
    let_a_day_pass(shop)
    assert compare(shop) == 2
    assert shop.mismatches() == []
    results = [row.result for row in shop.rows("jobs") if row.kind == "payment_bill"]
    assert sorted(each["lines"] for each in results) == ["2", "4"]


def test_before_ten_no_bill_is_written_and_a_day_without_trade_has_none(shop: Shop) -> None:
    assert compare(shop, THIS_MORNING.replace(hour=9)) == 0
    assert compare(shop) == 2
    assert shop.mismatches() == []


def test_after_a_standstill_the_days_that_were_missed_are_compared_too(shop: Shop) -> None:
    sell(shop, "alipay", "order-fits01")
    shop.tills.book("alipay").pay("order-more01", 500)
    let_a_day_pass(shop)
    with writing(shop.engine) as connection:
        connection.execute(update(payments).values(created_at=YESTERDAY_NOON))
    days = dt.timedelta(days=1)
    # Nobody was there for three mornings. Before the first payment there is nothing to compare.
    assert compare(shop, THIS_MORNING + 3 * days) == 2 + 3
    assert found(shop) == {"order-more01": ("bill_unknown_payment", None, 500)}
    assert compare(shop, THIS_MORNING + 3 * days) == 0, "each once, whoever comes first"
    assert compare(shop, THIS_MORNING + 4 * days) == 2
    # The provider keeps them longer than we look back.
    assert compare(shop, THIS_MORNING + 40 * days) == 2 + 6


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("channel", ["wechat_pay_v3", "alipay"])
@pytest.mark.parametrize("kind", ["garbage", "status", "reset"])
def test_a_bill_that_cannot_be_read_is_compared_later_and_not_in_part(
    shop: Shop, server: SandboxServer, channel: Channel, kind: str
) -> None:
    sell(shop, channel, "order-fits01")
    shop.tills.book(channel).pay("order-more01", 500)
    let_a_day_pass(shop)
    server.sandbox.faults.add(Fault.model_validate({"kind": kind, "action": "bill.download"}))
    compare(shop)
    assert shop.mismatches() == []
    (job,) = [row for row in shop.rows("jobs") if row.state == "retrying"]
    server.sandbox.faults.clear()
    shop.wake(job.id)
    shop.work()
    assert found(shop) == {"order-more01": ("bill_unknown_payment", None, 500)}
