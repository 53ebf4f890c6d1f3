"""Genuine callbacks that do not fit, that come twice, late, at once or against each other."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from integrations.payments import Channel
from models.database import migrate, open_database, writing
from models.identifiers import new_id
from models.payments.states import PaymentState, RefundState
from models.payments.views import PaymentView
from models.sealing import Sealer, seal_identity
from models.tables import jobs, metadata, payment_notifications, payment_transitions
from tests.servers import PostgresServer
from tests.workers.notices import Callback, written
from tests.workers.rows import KEYS
from tests.workers.tills import CHANNELS, Shop

ORDER = "order-000001"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def _migrated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """One database of each kind for all tests here: a schema takes longer than what they do."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('checks') / 'zjj.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database())
    engine = open_database(url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(_migrated: Engine) -> Engine:
    with writing(_migrated) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    return _migrated


def told(shop: Shop, order_no: str | None = None) -> list[str]:
    """The events that the backend is told of, about one order or all."""
    sealer = Sealer(shop.engine, KEYS)
    events = []
    with shop.engine.connect() as connection:
        for row in connection.execute(select(jobs).where(jobs.c.kind == "webhook")):
            identity = seal_identity(row.id, row.kind, row.policy_version)
            content = sealer.open(row.sealed, identity=identity, bucket=row.bucket)
            if order_no in {None, content["order_no"]}:
                events.append(content["event"])
    return sorted(events)


UNCLEAR: tuple[Channel, ...] = ("wechat_pay_v2", "alipay")
"""Whose signed text can be read in two ways."""
WRONG: dict[str, dict[str, str | int]] = {
    "wrong_app": {"app": "wx9999999999999999"},
    "wrong_merchant": {"merchant": "2088999999999999"},
    "wrong_currency": {"currency": "USD"},
}


@pytest.mark.parametrize(
    ("channel", "reason"),
    # Alipay's notifications name no currency; that of API v2 the provider is asked about.
    sorted({*product(CHANNELS, WRONG)} - {(c, "wrong_currency") for c in UNCLEAR}),
)
def test_what_is_not_ours_is_put_before_a_person_and_told_to_nobody_as_paid(
    shop: Shop, channel: Channel, reason: str
) -> None:
    shop.expect(channel, ORDER)
    shop.pay(channel, ORDER)
    assert shop.hear(channel, written(shop.tills, channel, ORDER, **WRONG[reason]))
    settle(shop)
    payment = shop.payment(channel, ORDER)
    # Nobody is asked any more: the provider, too, would say that something was paid to somebody.
    assert (payment.state, payment.ask_at) == (PaymentState.OPEN, None)
    assert [each.reason for each in shop.mismatches()] == [reason]
    assert told(shop) == [] if channel in UNCLEAR else ["payment.mismatch"]
    assert payment.flagged is (channel not in UNCLEAR)
    assert shop.rows("payment_transitions") == []


@pytest.mark.parametrize("amount", [12899, 12901, 0, 1290000])
def test_another_amount_by_a_fen_is_no_payment(shop: Shop, amount: int) -> None:
    shop.expect("wechat_pay_v3", ORDER)
    shop.pay("wechat_pay_v3", ORDER)
    shop.hear("wechat_pay_v3", written(shop.tills, "wechat_pay_v3", ORDER, amount=amount))
    settle(shop)
    payment = shop.payment("wechat_pay_v3", ORDER)
    assert (payment.state, payment.ask_at) == (PaymentState.OPEN, None)
    assert [each.reason for each in shop.mismatches()] == ["wrong_amount"]
    assert told(shop) == ["payment.mismatch"]


MISREAD: dict[Channel, list[dict[str, str]]] = {
    "wechat_pay_v2": [*({"amount": a} for a in ("12899", "12901", "0")), {"currency": "USD"}],
    "alipay": [{"amount": amount} for amount in ("128.99", "129.01", "0.00")],
}


@pytest.mark.parametrize(
    ("channel", "change"), [(channel, change) for channel in UNCLEAR for change in MISREAD[channel]]
)
def test_what_reads_in_two_ways_and_does_not_fit_is_for_a_person_and_for_a_question(
    shop: Shop, channel: Channel, change: dict[str, str]
) -> None:
    shop.expect(channel, ORDER)
    shop.pay(channel, ORDER)
    shop.hear(channel, written(shop.tills, channel, ORDER, **change))
    (job_id,) = shop._waiting()
    shop.execution.run(job_id)
    (mismatch,) = shop.mismatches()
    assert mismatch.reason == ("wrong_amount" if "amount" in change else "wrong_currency")
    payment = shop.payment(channel, ORDER)
    assert (payment.state, payment.flagged, told(shop)) == (PaymentState.OPEN, False, [])
    settle(shop)
    # What the provider answers fits, so the order is paid; the person still has the text to explain.
    assert (shop.payment(channel, ORDER).state, told(shop)) == (PaymentState.PAID, ["payment.paid"])
    assert len(shop.mismatches()) == 1


@pytest.mark.parametrize("channel", ["wechat_pay_v2", "alipay"])
def test_what_reads_in_two_ways_and_is_confirmed_not_to_fit_is_told_once(
    shop: Shop, channel: Channel
) -> None:
    shop.expect(channel, ORDER, 12900)
    shop.hear(channel, shop.pay(channel, ORDER, 100))
    (job_id,) = shop._waiting()
    shop.execution.run(job_id)
    assert told(shop) == []
    settle(shop)
    payment = shop.payment(channel, ORDER)
    assert (payment.state, payment.flagged, payment.ask_at) == (PaymentState.OPEN, True, None)
    # Heard of again, asked about again, and nothing new.
    shop.hear(
        channel, shop.tills.messages.paid(channel, shop.tills.book(channel).pay(ORDER)).sign(False)
    )
    settle(shop)
    assert [(m.reason, m.expected, m.received) for m in shop.mismatches()] == [
        ("wrong_amount", 12900, 100)
    ]
    assert told(shop) == ["payment.mismatch"]
    assert shop.payment(channel, ORDER).ask_at is None


def test_one_mismatch_waits_for_one_person_however_often_it_is_heard_of(shop: Shop) -> None:
    shop.expect("wechat_pay_v3", ORDER)
    shop.pay("wechat_pay_v3", ORDER)
    for _ in range(3):
        # Other notifications, each with an id of its own, that say the same.
        shop.hear("wechat_pay_v3", written(shop.tills, "wechat_pay_v3", ORDER, amount=1))
    shop.work()
    assert len(shop.mismatches()) == 1
    assert told(shop) == ["payment.mismatch"]


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_payment_that_fits_counts_although_one_that_did_not_came_before(
    shop: Shop, channel: Channel
) -> None:
    shop.expect(channel, ORDER)
    callback = shop.pay(channel, ORDER)
    shop.hear(channel, written(shop.tills, channel, ORDER, app="wx9999999999999999"))
    shop.hear(channel, callback)
    shop.work()
    assert shop.payment(channel, ORDER).state is PaymentState.PAID
    assert told(shop) == [*([] if channel in UNCLEAR else ["payment.mismatch"]), "payment.paid"]


STATES: dict[Channel, list[str]] = {
    "wechat_pay_v3": ["NOTPAY", "USERPAYING", "PAYERROR", "ACCEPT", "NEW_ONE"],
    "wechat_pay_v2": ["FAIL"],
    "alipay": ["WAIT_BUYER_PAY", "NEW_ONE"],
}


@pytest.mark.parametrize(
    ("channel", "state"), [(channel, state) for channel in CHANNELS for state in STATES[channel]]
)
def test_only_success_is_a_payment(shop: Shop, channel: Channel, state: str) -> None:
    shop.expect(channel, ORDER)
    shop.pay(channel, ORDER)
    shop.hear(channel, written(shop.tills, channel, ORDER, state=state))
    shop.work()
    assert (shop.payment(channel, ORDER).state, told(shop)) == (PaymentState.OPEN, [])


@pytest.mark.parametrize("channel", ["wechat_pay_v2", "alipay"])
def test_a_text_that_reads_in_two_ways_is_confirmed_before_anybody_is_told(
    shop: Shop, channel: Channel
) -> None:
    shop.expect(channel, ORDER)
    shop.hear(channel, shop.pay(channel, ORDER))
    (job_id,) = shop._waiting()
    shop.execution.run(job_id)
    assert (shop.payment(channel, ORDER).state, told(shop)) == (PaymentState.OPEN, [])
    shop.work()
    assert (shop.payment(channel, ORDER).state, told(shop)) == (PaymentState.PAID, ["payment.paid"])
    assert len(shop.rows("disclosures")) == 1


@pytest.mark.parametrize("channel", ["wechat_pay_v2", "alipay"])
def test_a_payment_that_the_provider_does_not_confirm_is_none(shop: Shop, channel: Channel) -> None:
    shop.expect(channel, ORDER)
    callback = shop.pay(channel, ORDER)
    # What was signed says paid, and the provider's books say that it was not.
    shop.tills.book(channel).clear()
    shop.tills.change(channel, "open", ORDER, 12900)
    shop.hear(channel, callback)
    shop.work()
    assert (shop.payment(channel, ORDER).state, told(shop)) == (PaymentState.OPEN, [])


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_refund_notification_is_never_a_payment(shop: Shop, channel: Channel) -> None:
    shop.expect(channel, ORDER)
    shop.pay(channel, ORDER)
    order, refund, _ = shop.tills.book(channel).refund(ORDER, "refund-000001", 900)
    message = shop.tills.messages.refunded(channel, order, refund)
    shop.hear(channel, message.sign(False))
    (job_id,) = shop._waiting()
    shop.execution.run(job_id)
    assert (shop.payment(channel, ORDER).state, told(shop)) == (PaymentState.OPEN, [])
    settle(shop)
    payment = shop.payment(channel, ORDER)
    assert (payment.state, payment.refunded) == (PaymentState.PARTIALLY_REFUNDED, 900)
    # Paid once, although only its refund was ever heard of; and so did the provider say when asked.
    assert told(shop) == ["payment.paid", "refund.succeeded"]


def settle(shop: Shop) -> None:
    """Work and ask until nobody has a question any more."""
    for _ in range(6):
        shop.work()
        shop.ahead += dt.timedelta(minutes=5)
    shop.work()


class Story:
    """One order that was paid and given back in parts, and everything that may be heard of it.

    Each channel's provider says it all; in which order, how often and with what in between it
    comes is what a test chooses.
    """

    def __init__(self, shop: Shop, channel: Channel) -> None:
        self.shop, self.channel = shop, channel
        self.order_no = f"o-{new_id()[-20:]}"
        shop.expect(channel, self.order_no)
        book, messages = shop.tills.book(channel), shop.tills.messages
        order = book.pay(self.order_no, 12900)
        paid = messages.paid(channel, order)
        _, first, _ = book.refund(self.order_no, f"a-{self.order_no[2:]}", 900)
        after_first = messages.refunded(channel, order, first)
        _, second, _ = book.refund(self.order_no, f"b-{self.order_no[2:]}", 2000)
        after_second = messages.refunded(channel, order, second)
        closed = "TRADE_CLOSED" if channel == "alipay" else "CLOSED"
        self.callbacks: list[Callback] = [
            paid.sign(False),
            messages.paid(channel, order).sign(True),
            after_first.sign(False),
            after_second.sign(True),
        ]
        if channel != "wechat_pay_v2":
            # Against all others: genuine, and wrong.
            self.callbacks.append(written(shop.tills, channel, self.order_no, state=closed))

    def hear(self, number: int) -> None:
        self.shop.hear(self.channel, self.callbacks[number])

    def verdict(self) -> tuple[Any, ...]:
        payment: PaymentView = self.shop.payment(self.channel, self.order_no)
        with self.shop.engine.connect() as connection:
            known = payment_transitions.c
            transitions = connection.scalars(
                select(known.transition).where(known.payment_id == payment.id)
            ).all()
        final = sorted(each for each in transitions if "heard" not in each)
        return (
            payment.state,
            payment.refunded,
            payment.ask_at,
            {refund.state for refund in payment.refunds},
            [each.partition(":")[0] for each in final],
            [event for event in told(self.shop, self.order_no) if event != "payment.mismatch"],
        )


VERDICT = (
    PaymentState.PARTIALLY_REFUNDED,
    2900,
    None,
    {RefundState.REFUNDED},
    ["paid", "refund.refunded", "refund.refunded"],
    ["payment.paid", "refund.succeeded", "refund.succeeded"],
)

heard = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["", "", "work", "wait"])), min_size=3, max_size=8
)


# Not shrunk: each example is a minute's life of a shop, so that would take many minutes.
@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(channel=st.sampled_from(CHANNELS), deliveries=heard)
def test_whatever_comes_in_whatever_order_and_however_often_ends_the_same(
    shop: Shop, channel: Channel, deliveries: list[tuple[int, str]]
) -> None:
    story = Story(shop, channel)
    # Each is heard of at least once, at last.
    rest = [(number, "") for number in range(len(story.callbacks))]
    for number, then in [*deliveries, *rest]:
        story.hear(number % len(story.callbacks))
        if then:
            shop.ahead += dt.timedelta(minutes=5 if then == "wait" else 0)
            shop.work()
    settle(shop)
    assert story.verdict() == VERDICT
    # Nobody here asked for these refunds: whoever hears of the order first wants a person to look.
    assert {each.reason for each in shop.mismatches()} <= {"unknown_refund"}


@pytest.mark.parametrize("channel", CHANNELS)
def test_whatever_is_worked_through_at_once_ends_the_same(shop: Shop, channel: Channel) -> None:
    story = Story(shop, channel)
    chance = random.Random(channel)
    with ThreadPoolExecutor(8) as threads:
        deliveries = [number for number in range(len(story.callbacks)) for _ in range(6)]
        chance.shuffle(deliveries)
        list(threads.map(story.hear, deliveries))
        # One job may be run by two: its lease decides.
        list(threads.map(shop.execution.run, shop._waiting() * 2))
    settle(shop)
    assert story.verdict() == VERDICT


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_callback_of_last_week_changes_nothing_although_it_was_forgotten(
    shop: Shop, channel: Channel
) -> None:
    story = Story(shop, channel)
    for number in range(len(story.callbacks)):
        story.hear(number)
    settle(shop)
    with shop.engine.begin() as connection:
        connection.execute(payment_notifications.delete())
    for number in range(len(story.callbacks)):
        story.hear(number)
    settle(shop)
    assert story.verdict() == VERDICT


def test_a_refund_beyond_what_was_paid_is_put_before_a_person(shop: Shop) -> None:
    shop.expect("wechat_pay_v3", ORDER)
    shop.hear("wechat_pay_v3", shop.pay("wechat_pay_v3", ORDER))
    shop.work()
    book = shop.tills.book("wechat_pay_v3")
    order, refund, _ = book.refund(ORDER, "refund-000001", 900)
    refund.amount = 99999
    shop.hear(
        "wechat_pay_v3", shop.tills.messages.refunded("wechat_pay_v3", order, refund).sign(True)
    )
    settle(shop)
    assert shop.payment("wechat_pay_v3", ORDER).refunded == 0
    assert [each.reason for each in shop.mismatches()] == ["refund_too_much"]
    assert told(shop) == ["payment.mismatch", "payment.paid"]
