"""Two workers who find out the same at the same moment: one of them writes it and tells of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, select

from models.clock import utc_now
from models.database import writing
from models.payments.changes import PaymentChange, Source
from models.payments.mismatches import Mismatch, MismatchReason, is_known, raise_mismatch
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
