"""Two workers who find out the same at the same moment: one of them writes it and tells of it."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sqlalchemy import Engine, select

from models.clock import utc_now
from models.database import writing
from models.group_commit import Transaction
from models.identifiers import new_id
from models.payments.asking import any_to_ask, take_to_ask
from models.payments.changes import PaymentChange, Source
from models.payments.mismatches import Mismatch, MismatchReason, is_known, raise_mismatch
from models.payments.registering import NewPayment, write_payments
from models.payments.states import PaymentState
from models.payments.views import PaymentView, payment_of
from models.tables import payment_mismatches

UNKNOWN = Mismatch(
    backend="shop",
    channel="alipay",
    merchant="2088000000000001",
    order_no="order-000001",
    reason=MismatchReason.UNKNOWN_ORDER,
    received=12900,
)


def apply(engine: Engine, *, hold: float = 0) -> bool:
    """As a settle does; keeps its transaction open for so many seconds."""
    change = PaymentChange(
        channel=UNKNOWN.channel,
        merchant=UNKNOWN.merchant,
        order_no="order-000001",
        source=Source.CALLBACK,
        found=None,
        mismatches=(UNKNOWN,),
    )
    with writing(engine) as connection:
        written = change.apply(connection, utc_now())
        time.sleep(hold)
    return written


def test_of_two_who_raise_one_mismatch_at_once_one_has_to_decide_anew(engine: Engine) -> None:
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(apply, engine, hold=0.5)
        time.sleep(0.2)
        second = threads.submit(apply, engine)
        assert sorted([first.result(), second.result()]) == [False, True]
    with engine.connect() as connection:
        assert len(connection.execute(select(payment_mismatches)).all()) == 1


def quiet(received: int) -> Mismatch:
    return Mismatch(
        **{**{n: getattr(UNKNOWN, n) for n in NAMES}, "received": received, "told": False}
    )


NAMES = ("backend", "channel", "merchant", "order_no", "reason")


def test_what_waits_quietly_is_raised_once_more_when_it_is_told(engine: Engine) -> None:
    with writing(engine) as connection:
        assert raise_mismatch(connection, quiet(1), at=utc_now())
        assert not raise_mismatch(connection, quiet(2), at=utc_now())
        assert is_known(connection, quiet(3))
        assert not is_known(connection, UNKNOWN)
        assert raise_mismatch(connection, UNKNOWN, at=utc_now())
        assert is_known(connection, UNKNOWN)
        assert is_known(connection, quiet(3)), "what was told need not be put there quietly"
        assert not raise_mismatch(connection, UNKNOWN, at=utc_now())
        (row,) = connection.execute(select(payment_mismatches)).all()
    # What was confirmed stands there, and not what could be read in two ways.
    assert (row.told, row.received) == (True, 12900)


def test_what_was_learned_leaves_a_later_date_in_the_calendar_alone(engine: Engine) -> None:
    now = utc_now()
    found = expected(engine, now)
    with writing(engine) as connection:
        take_to_ask(connection, now=now, pause=dt.timedelta(minutes=1))
        assert learned(found).apply(connection, now)
        assert payment_of(connection, found.id) == replace(
            found, version=1, updated_at=now, asked=1, ask_at=now + dt.timedelta(minutes=1)
        )


def test_a_question_that_cannot_wait_starts_the_calendar_anew(engine: Engine) -> None:
    now = utc_now()
    found = expected(engine, now)
    with writing(engine) as connection:
        take_to_ask(connection, now=now, pause=dt.timedelta(minutes=1))
        assert replace(learned(found), ask_now=True).apply(connection, now)
        assert payment_of(connection, found.id) == replace(
            found, version=1, updated_at=now, asked=0, ask_at=now
        )


def test_a_payment_that_is_settled_is_asked_about_no_more(engine: Engine) -> None:
    now = utc_now()
    found = expected(engine, now)
    with writing(engine) as connection:
        paid = replace(learned(found), account=found.account.with_payment())
        assert paid.apply(connection, now)
        assert not any_to_ask(connection, now=now + dt.timedelta(days=365))
        stored = payment_of(connection, found.id)
    assert stored is not None
    assert (stored.state, stored.paid_at, stored.asked) == (PaymentState.PAID, now, 0)


def expected(engine: Engine, now: dt.datetime) -> PaymentView:
    new = NewPayment(
        id=new_id(),
        backend="shop",
        channel="alipay",
        merchant="2088000000000001",
        order_no="order-000002",
        amount=12900,
        currency="CNY",
        expires_at=now + dt.timedelta(hours=2),
        ask_at=now,
        created_at=now,
    )
    with writing(engine) as connection:
        (view,) = write_payments(Transaction(connection), [new])
    assert isinstance(view, PaymentView)
    return view


def learned(found: PaymentView) -> PaymentChange:
    """Nothing new."""
    return PaymentChange(
        channel=found.channel,
        merchant=found.merchant,
        order_no=found.order_no,
        source=Source.QUERY,
        found=found,
    )
