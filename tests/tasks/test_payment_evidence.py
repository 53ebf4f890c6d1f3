"""What each word of a provider is taken for: every branch, as each of them decides about money."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from integrations.payments import Notification, OrderAnswer, RefundAnswer
from models.payments.changes import PaymentChange, Source
from models.payments.states import PaymentState, RefundState
from models.payments.views import PaymentView, RefundView
from tasks.payment_decisions import Decision, Place
from tasks.payment_evidence import hear, learn_order, learn_refund

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
ORDER, REFUND = "order-000001", "refund-000001"
LARGE = 10**6
PLACE = Place(backend="shop", channel="wechat_pay_v3", merchant="1900000001", app="wx1")


def refund(state: RefundState, amount: int | None = 900, number: str = REFUND) -> RefundView:
    return RefundView(
        id=number,
        payment_id="p",
        backend="shop",
        channel=PLACE.channel,
        merchant=PLACE.merchant,
        refund_no=number,
        amount=amount,
        reason=None,
        state=state,
        provider_no=None,
        job_id=None,
        created_at=NOW,
        updated_at=NOW,
    )


def payment(*refunds: RefundView, paid: bool = True, closed: bool = False) -> PaymentView:
    blank = PaymentView(
        id="p",
        backend="shop",
        channel=PLACE.channel,
        merchant=PLACE.merchant,
        order_no=ORDER,
        amount=12900,
        currency="CNY",
        expires_at=NOW,
        state=PaymentState.OPEN,
        paid_at=NOW if paid else None,
        closed_at=NOW if closed else None,
        provider_no=None,
        refunded=0,
        flagged=False,
        version=1,
        asked=0,
        ask_at=NOW,
        created_at=NOW,
        updated_at=NOW,
        refunds=refunds,
    )
    return replace(blank, state=blank.account.state)


def decision(found: PaymentView | None, source: Source = Source.CALLBACK) -> Decision:
    return Decision(PLACE, found, ORDER, source=source, now=NOW, unknown=lambda *them: them)


def heard(found: PaymentView | None, **said: Any) -> Decision:
    """What follows from a notification of API v3, or of another channel if that is said."""
    notification = Notification(
        **{
            "channel": "wechat_pay_v3",
            "id": "n",
            "kind": "payment",
            "merchant": PLACE.merchant,
            "app": PLACE.app,
            "order_no": ORDER,
            "provider_no": "42",
            "refund_no": None,
            "amount": 12900,
            "refund_amount": None,
            "currency": "CNY",
            "state": "paid",
            "at": NOW,
            **said,
        }
    )
    made = decision(found)
    hear(made, notification, PLACE, confirm_from=LARGE)
    return made


def heard_back(found: PaymentView, **said: Any) -> Decision:
    """The same of a refund."""
    about = {"kind": "refund", "refund_no": REFUND, "refund_amount": 900, "state": "refunded"}
    return heard(found, **{**about, **said})


def answered(found: PaymentView, state: Any, **said: Any) -> Decision:
    """What follows from an answer about the order."""
    made = decision(found, Source.QUERY)
    answer = OrderAnswer(
        **{
            "order_no": ORDER,
            "provider_no": "42",
            "state": state,
            "amount": 12900,
            "currency": "CNY",
            "at": NOW,
            **said,
        }
    )
    learn_order(made, answer, found, now=NOW)
    return made


def answered_back(found: PaymentView, state: Any, amount: int | None, asked: int = 1) -> Decision:
    """What follows from an answer about the refund."""
    made = decision(found, Source.QUERY)
    answer = RefundAnswer(refund_no=REFUND, provider_no="50", state=state, amount=amount)
    learn_refund(made, REFUND, answer, asked=asked)
    return made


def told(made: Decision) -> list[str]:
    return [each.event for each in made.announcements()]


def doubts(made: Decision) -> list[str]:
    change = made.change(notification="0" * 64)
    assert change is not None
    return [each.reason.value for each in change.mismatches]


def change(made: Decision) -> PaymentChange:
    found = made.change(notification="0" * 64)
    assert found is not None
    return found


@pytest.mark.parametrize("said", [{"kind": "other"}, {"state": "open"}])
def test_what_is_about_no_money_is_ignored(said: dict[str, str]) -> None:
    made = heard(payment(paid=False), **said)
    assert (made.outcome, told(made), change(made).ask_now) == ("ignored", [], False)


def test_that_somebody_elses_order_was_closed_is_nothing_to_us() -> None:
    made = heard(None, state="closed")
    assert (made.outcome, told(made), doubts(made)) == ("ignored", [], [])


@pytest.mark.parametrize(
    ("said", "asks"),
    [
        ({}, False),
        ({"channel": "alipay"}, True),
        ({"channel": "wechat_pay_v2"}, True),
    ],
)
def test_a_payment_is_believed_or_asked_about(said: dict[str, str], asks: bool) -> None:
    made = heard(payment(paid=False), **said)
    assert change(made).ask_now is asks
    assert told(made) == ([] if asks else ["payment.paid"])


@pytest.mark.parametrize("channel", ["wechat_pay_v3", "wechat_pay_v2", "alipay"])
@pytest.mark.parametrize(
    ("found", "said", "reason"),
    [
        (None, {}, "unknown_order"),
        (payment(paid=False), {"amount": 12901}, "wrong_amount"),
        (payment(paid=False), {"currency": "USD"}, "wrong_currency"),
        (payment(paid=False), {"merchant": "1900000002"}, "wrong_merchant"),
        (payment(paid=False), {"app": "wx2"}, "wrong_app"),
    ],
)
def test_what_does_not_fit_is_for_a_person_and_is_told_only_if_it_has_one_reading(
    found: PaymentView | None, said: dict[str, Any], reason: str, channel: str
) -> None:
    made = heard(found, channel=channel, **said)
    exact = channel == "wechat_pay_v3"
    assert (doubts(made), made.outcome) == ([reason], reason)
    assert told(made) == (["payment.mismatch"] if exact else [])
    # Which app and merchant a text means, no answer about the order could tell.
    asks = not exact and reason in {"wrong_amount", "wrong_currency"}
    assert (change(made).ask_now, change(made).rests) == (asks, not asks)


def test_a_payment_from_the_threshold_on_is_asked_about() -> None:
    order = replace(payment(paid=False), amount=LARGE)
    assert told(heard(order, amount=LARGE)) == []
    assert change(heard(order, amount=LARGE)).ask_now
    assert told(heard(replace(order, amount=LARGE - 1), amount=LARGE - 1)) == ["payment.paid"]


def test_a_payment_for_a_closed_order_is_asked_about() -> None:
    made = heard(payment(paid=False, closed=True))
    assert (told(made), change(made).ask_now, made.outcome) == ([], True, "confirming")


@pytest.mark.parametrize("channel", ["wechat_pay_v3", "wechat_pay_v2", "alipay"])
def test_a_payment_that_is_known_is_neither_told_nor_asked_about(channel: str) -> None:
    made = heard(payment(), channel=channel)
    assert (made.outcome, told(made), change(made).ask_now) == ("repeated", [], False)


@pytest.mark.parametrize(("closed", "outcome"), [(False, "confirming"), (True, "repeated")])
def test_a_closing_is_asked_about_unless_it_is_known(closed: bool, outcome: str) -> None:
    made = heard(payment(paid=False, closed=closed), state="closed")
    assert (made.outcome, told(made)) == (outcome, [])


def test_a_refund_that_we_asked_for_is_believed() -> None:
    made = heard_back(payment(refund(RefundState.PROCESSING)))
    assert told(made) == ["refund.succeeded"]
    assert not change(made).ask_now


@pytest.mark.parametrize(
    ("known", "said"),
    [
        pytest.param(None, {}, id="nobody here asked for it"),
        pytest.param(refund(RefundState.PROCESSING), {"channel": "alipay"}, id="two readings"),
        pytest.param(refund(RefundState.PROCESSING), {"channel": "wechat_pay_v2"}, id="unsigned"),
        pytest.param(refund(RefundState.PROCESSING), {"refund_amount": 901}, id="other amount"),
        pytest.param(refund(RefundState.PROCESSING), {"refund_amount": None}, id="no amount"),
        pytest.param(refund(RefundState.REQUESTED), {"state": "refunding"}, id="on its way"),
    ],
)
def test_any_other_refund_is_asked_about(known: RefundView | None, said: dict[str, Any]) -> None:
    made = heard_back(payment(*([] if known is None else [known])), **said)
    assert (told(made), doubts(made), change(made).ask_now) == ([], [], True)


def test_a_refund_from_the_threshold_on_is_asked_about() -> None:
    for amount, events in ((LARGE, []), (LARGE - 1, ["refund.succeeded"])):
        order = replace(payment(refund(RefundState.PROCESSING, amount)), amount=2 * LARGE)
        assert told(heard_back(order, refund_amount=amount, amount=2 * LARGE)) == events


def test_a_refund_of_what_is_not_known_to_be_paid_is_asked_about_and_pays_nothing() -> None:
    made = heard_back(payment(refund(RefundState.PROCESSING), paid=False))
    assert (told(made), change(made).ask_now) == ([], True)


@pytest.mark.parametrize(
    ("known", "state"),
    [(RefundState.REFUNDED, "refunded"), (RefundState.FAILED, "refund_failed")],
)
def test_a_refund_that_is_known_is_not_asked_about(known: RefundState, state: str) -> None:
    made = heard_back(payment(refund(known)), state=state)
    assert (made.outcome, told(made), change(made).ask_now) == ("repeated", [], False)


def test_a_failed_refund_that_was_paid_out_by_hand_went_back() -> None:
    assert told(heard_back(payment(refund(RefundState.FAILED)))) == ["refund.succeeded"]
    # Where it cannot be believed at once, it is asked about, failed or not.
    made = heard_back(payment(refund(RefundState.FAILED)), channel="alipay")
    assert (told(made), change(made).ask_now) == ([], True)


def test_more_back_than_was_paid_is_not_believed_on_a_callback() -> None:
    order = payment(
        refund(RefundState.FAILED, 12900), refund(RefundState.REFUNDED, 12900, "refund-000002")
    )
    made = heard_back(order, refund_amount=12900)
    assert (told(made), change(made).ask_now) == ([], True)
    made = answered_back(order, "refunded", 12900)
    assert (doubts(made), told(made)) == (["refund_too_much"], ["payment.mismatch"])
    assert change(made).rests


@pytest.mark.parametrize("number", [None, "x", "with space", "r" * 33])
@pytest.mark.parametrize(
    ("channel", "events"), [("wechat_pay_v3", ["payment.mismatch"]), ("alipay", [])]
)
def test_a_refund_without_a_number_of_ours_is_for_a_person(
    number: str | None, channel: str, events: list[str]
) -> None:
    made = heard_back(payment(), refund_no=number, channel=channel)
    assert (doubts(made), told(made)) == (["unknown_refund"], events)
    assert not change(made).ask_now
    # Whether the order was paid is worth a question all the same.
    assert change(heard_back(payment(paid=False), refund_no=number, channel=channel)).ask_now


@pytest.mark.parametrize("said", [{"merchant": "1900000002"}, {"app": "wx2"}])
def test_a_refunds_callback_that_nobody_signed_stops_no_question(said: dict[str, str]) -> None:
    for channel, kind, rests in (
        ("wechat_pay_v2", "refund", False),
        ("wechat_pay_v2", "payment", True),
        ("alipay", "refund", True),
        ("wechat_pay_v3", "refund", True),
    ):
        made = heard(payment(paid=False), channel=channel, kind=kind, **said)
        assert change(made).rests is rests
        assert told(made) == (["payment.mismatch"] if channel == "wechat_pay_v3" else [])


def test_an_order_that_the_provider_calls_paid_is_paid() -> None:
    assert told(answered(payment(paid=False), "paid")) == ["payment.paid"]
    assert told(answered(payment(), "paid")) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"amount": 12899}, "wrong_amount"),
        ({"amount": None}, "wrong_amount"),
        ({"currency": "USD"}, "wrong_currency"),
    ],
)
def test_an_answer_that_does_not_fit_is_no_payment(said: dict[str, Any], reason: str) -> None:
    made = answered(payment(paid=False), "paid", **said)
    assert (doubts(made), told(made)) == ([reason], ["payment.mismatch"])
    assert change(made).rests


def test_money_that_went_back_before_it_was_known_to_have_come_is_for_a_person() -> None:
    made = answered(payment(paid=False), "refunded")
    assert (doubts(made), told(made)) == (["unknown_refund"], ["payment.mismatch"])
    known = payment(refund(RefundState.HEARD, None), paid=False)
    assert told(answered(known, "refunded")) == ["payment.paid"]


def test_money_for_a_closed_order_is_told_and_put_before_a_person() -> None:
    made = answered(payment(paid=False, closed=True), "paid")
    assert doubts(made) == ["paid_after_closing"]
    assert told(made) == ["payment.mismatch", "payment.paid"]


def test_what_was_paid_is_never_closed() -> None:
    made = answered(payment(), "closed")
    assert (doubts(made), told(made)) == (["closed_after_paying"], ["payment.mismatch"])
    # Alipay calls an order closed once all of it went back.
    made = answered(payment(refund(RefundState.REFUNDED, 12900)), "closed")
    assert (doubts(made), told(made)) == ([], [])
    for state in ("open", "missing", "failed"):
        assert told(answered(payment(), state)) == []


@pytest.mark.parametrize(
    ("state", "hours", "closes"),
    [
        ("closed", -1, True),
        ("open", -1, False),
        ("missing", -1, False),
        ("failed", -1, False),
        ("missing", 0, True),
        ("failed", 0, True),
        ("open", 23, False),
        ("open", 24, True),
    ],
)
def test_an_unpaid_order_is_closed_in_time(state: Any, hours: int, closes: bool) -> None:
    """Hours: since it expired."""
    found = replace(payment(paid=False), expires_at=NOW - dt.timedelta(hours=hours))
    assert told(answered(found, state, amount=None)) == (["payment.closed"] if closes else [])


def test_a_refund_that_the_provider_knows_takes_its_state() -> None:
    order = payment(refund(RefundState.REQUESTED))
    assert told(answered_back(order, "processing", 900)) == []
    assert told(answered_back(order, "refunded", 900)) == ["refund.succeeded"]
    assert told(answered_back(order, "failed", 900)) == ["refund.failed"]
    assert told(answered_back(order, "closed", 900)) == ["refund.failed"]


def test_a_refund_that_has_failed_and_is_then_closed_has_failed_once() -> None:
    assert told(answered_back(payment(refund(RefundState.FAILED)), "closed", 900)) == []


def test_a_refund_of_all_is_told_as_the_end_of_the_payment() -> None:
    made = answered_back(payment(refund(RefundState.REQUESTED, 12900)), "refunded", 12900)
    assert told(made) == ["refund.succeeded", "payment.refunded"]


def test_a_refund_that_was_only_heard_of_takes_its_amount_from_the_answer() -> None:
    made = answered_back(payment(refund(RefundState.HEARD, None)), "refunded", 700)
    assert [each.refund_amount for each in made.announcements()] == [700]
    # Neither heard nor said: nothing is known.
    made = answered_back(payment(refund(RefundState.HEARD, None)), "refunded", None)
    assert (told(made), doubts(made), change(made).rests) == ([], [], False)


def test_another_amount_than_we_gave_back_is_for_a_person() -> None:
    made = answered_back(payment(refund(RefundState.REQUESTED)), "refunded", 901)
    assert (doubts(made), told(made)) == (["wrong_refund_amount"], ["payment.mismatch"])
    assert change(made).rests
    # Others that are still under way are asked about as before.
    more = refund(RefundState.REQUESTED, 100, "refund-000002")
    made = answered_back(payment(refund(RefundState.REQUESTED), more), "refunded", 901)
    assert not change(made).rests


@pytest.mark.parametrize(
    ("state", "asked", "ends"),
    [
        (RefundState.HEARD, 4, False),
        (RefundState.HEARD, 5, True),
        # What we asked for may only be late.
        (RefundState.REQUESTED, 100, False),
        (RefundState.FAILED, 100, False),
    ],
)
def test_a_rumour_ends_once_the_provider_has_denied_it_often_enough(
    state: RefundState, asked: int, ends: bool
) -> None:
    amount = None if state is RefundState.HEARD else 900
    made = answered_back(payment(refund(state, amount)), "missing", None, asked)
    known = change(made).account
    assert known is not None
    assert known.refunds[REFUND].state is (RefundState.CLOSED if ends else state)
    assert told(made) == [], "it never had an amount, so nobody waits for it"


def test_where_nothing_follows_nothing_is_written() -> None:
    found = replace(payment(), ask_at=None)
    made = decision(found, Source.QUERY)
    learn_order(
        made,
        OrderAnswer(
            order_no=ORDER, provider_no="42", state="paid", amount=12900, currency="CNY", at=NOW
        ),
        found,
        now=NOW,
    )
    assert made.change() is None
    # A question that is on the calendar and of no use any more is taken off.
    assert decision(payment(), Source.QUERY).change() is not None
