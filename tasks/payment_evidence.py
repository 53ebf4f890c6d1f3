"""What a provider's notification or answer is taken for, given what is known: pure.

Nothing is believed that does not fit the payment as the backend expects it: merchant, app, amount
and currency. What does not fit is put before a person and told to nobody as paid.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.payments.changes import Stamp
from models.payments.mismatches import MismatchReason
from models.payments.states import Account, Refund, RefundState
from models.payments.views import PaymentView
from tasks.payment_decisions import Decision, Place

if TYPE_CHECKING:
    from integrations.payments import Notification, OrderAnswer, RefundAnswer

__all__ = ["hear", "learn_order", "learn_refund"]

_ORDER_NO = re.compile(r"[A-Za-z0-9_\-|*]{6,32}")
_GIVEN_UP_AFTER = dt.timedelta(days=1)
"""So long after its expiry an order that the provider still calls open is closed by us."""
_RUMOUR_QUESTIONS = 5
"""Questions after which a refund that the provider does not know is taken for a rumour."""


def hear(decision: Decision, heard: Notification, place: Place, *, confirm_from: int) -> None:
    """What follows from an authenticated notification.

    A text that can be read in two ways may put something before a person; the backend hears
    nothing on its word alone.
    """
    exact = _is_exact(heard)
    # A refund's callback of API v2 bears no signature, so it stops no question.
    signed = exact or heard.channel == "alipay" or heard.kind == "payment"
    if heard.kind == "other" or heard.state == "open":
        decision.outcome = "ignored"
    elif heard.merchant and heard.merchant != place.merchant:
        decision.doubt(MismatchReason.WRONG_MERCHANT, told=exact, rests=signed)
    elif heard.app is not None and heard.app != place.app:
        decision.doubt(MismatchReason.WRONG_APP, told=exact, rests=signed)
    elif decision.account is None:
        if heard.state == "closed":
            decision.outcome = "ignored"
        else:
            decision.doubt(MismatchReason.UNKNOWN_ORDER, received=heard.amount, told=exact)
    elif heard.kind == "refund":
        _hear_refund(decision, decision.account, heard, confirm_from)
    elif heard.state == "paid":
        _hear_payment(decision, decision.account, heard, confirm_from)
    else:
        # Closed, or some money went back: what that means, the provider says when asked.
        _ask_unless(decision, settled=heard.state == "closed" and decision.account.closed)


def _hear_payment(
    decision: Decision, account: Account, heard: Notification, confirm_from: int
) -> None:
    exact = _is_exact(heard)
    if not (exact or account.paid):
        decision.ask()
    if heard.amount != account.amount:
        decision.doubt(
            MismatchReason.WRONG_AMOUNT,
            expected=account.amount,
            received=heard.amount,
            told=exact,
            rests=exact,
        )
    elif heard.currency != "CNY":
        decision.doubt(MismatchReason.WRONG_CURRENCY, told=exact, rests=exact)
    elif account.paid:
        decision.outcome = "repeated"
    elif _is_certain(heard, account.amount, confirm_from) and not account.closed:
        decision.know(account.with_payment(), Stamp(at=heard.at, provider_no=heard.provider_no))
    else:
        decision.ask()


def _hear_refund(
    decision: Decision, account: Account, heard: Notification, confirm_from: int
) -> None:
    number, amount = heard.refund_no, heard.refund_amount
    if number is None or not _ORDER_NO.fullmatch(number):
        if not account.paid:
            decision.ask()
        reason = MismatchReason.UNKNOWN_REFUND
        decision.doubt(reason, received=amount, told=_is_exact(heard), rests=False)
        return
    known = account.refunds.get(number)
    state = RefundState.REFUNDED if heard.state == "refunded" else RefundState.FAILED
    later = account.with_refund(number, Refund(state, amount))
    if known is not None and known.state is state:
        decision.outcome = "repeated"
    elif (
        known is not None
        and amount is not None
        and amount == known.amount
        and heard.state != "refunding"
        and account.paid
        and later.refunded <= account.amount
        and _is_certain(heard, amount, confirm_from)
    ):
        decision.know(later)
    else:
        decision.know(account.with_refund(number, Refund(RefundState.HEARD)))
        decision.ask()


def _is_exact(heard: Notification) -> bool:
    """Only API v3 signs every byte of what it says; the others' text can be read in two ways."""
    return heard.channel == "wechat_pay_v3"


def _is_certain(heard: Notification, amount: int, confirm_from: int) -> bool:
    return _is_exact(heard) and amount < confirm_from


def _ask_unless(decision: Decision, *, settled: bool) -> None:
    if settled:
        decision.outcome = "repeated"
    else:
        decision.ask()


def learn_order(
    decision: Decision, answer: OrderAnswer, payment: PaymentView, *, now: dt.datetime
) -> None:
    """What follows from what the provider says about an order."""
    account = decision.account
    assert account is not None  # noqa: S101 - only what we know of is asked about
    if answer.state in {"paid", "refunded"}:
        _learn_paid(decision, account, answer, payment)
    elif account.paid:
        # Alipay calls an order closed once everything went back.
        if answer.state == "closed" and not account.refunds:
            decision.doubt(MismatchReason.CLOSED_AFTER_PAYING)
    elif answer.state == "closed" or (
        now >= payment.expires_at
        and (answer.state != "open" or now >= payment.expires_at + _GIVEN_UP_AFTER)
    ):
        decision.know(account.with_closing())


def _learn_paid(
    decision: Decision, account: Account, answer: OrderAnswer, payment: PaymentView
) -> None:
    if answer.amount != account.amount:
        decision.doubt(MismatchReason.WRONG_AMOUNT, expected=account.amount, received=answer.amount)
        return
    if answer.currency != payment.currency:
        decision.doubt(MismatchReason.WRONG_CURRENCY)
        return
    if answer.state == "refunded" and not account.refunds:
        decision.doubt(MismatchReason.UNKNOWN_REFUND)
        return
    if not account.paid:
        if account.closed:
            decision.doubt(MismatchReason.PAID_AFTER_CLOSING, received=answer.amount)
        decision.know(account.with_payment(), Stamp(at=answer.at, provider_no=answer.provider_no))


def learn_refund(decision: Decision, refund_no: str, answer: RefundAnswer, *, asked: int) -> None:
    """What follows from what the provider says about a refund."""
    account = decision.account
    assert account is not None  # noqa: S101 - only what we know of is asked about
    known = account.refunds[refund_no]
    if answer.state == "missing":
        if known.state is RefundState.HEARD and asked >= _RUMOUR_QUESTIONS:
            decision.know(account.with_refund(refund_no, Refund(RefundState.CLOSED)))
        return
    amount = answer.amount if known.amount is None else known.amount
    if answer.amount is not None and answer.amount != amount:
        decision.doubt(
            MismatchReason.WRONG_REFUND_AMOUNT,
            expected=amount,
            received=answer.amount,
            refund_no=refund_no,
        )
        return
    if amount is None:
        return
    later = account.with_refund(refund_no, Refund(RefundState(answer.state), amount))
    if later.refunded > later.amount:
        decision.doubt(
            MismatchReason.REFUND_TOO_MUCH,
            expected=account.amount,
            received=later.refunded,
            refund_no=refund_no,
        )
        return
    numbers: Sequence[tuple[str, str]] = (
        [(refund_no, answer.provider_no)] if answer.provider_no else []
    )
    decision.know(later, Stamp(refund_nos=tuple(numbers)))
