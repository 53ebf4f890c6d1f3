"""What follows from a notification or an answer, given what is known: pure decisions.

Nothing is believed that does not fit the payment as the backend expects it: merchant, app, amount
and currency. What does not fit is put before a person and told to nobody as paid.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.payments.changes import PaymentChange, Source, Stamp
from models.payments.mismatches import Mismatch, MismatchReason
from models.payments.states import Account, PaymentState, Refund, RefundState
from models.payments.views import PaymentView
from tasks.announcements import Announcement, EventType

if TYPE_CHECKING:
    from integrations.payments import Notification, OrderAnswer, RefundAnswer

__all__ = ["Decision", "Place", "hear", "learn_order", "learn_refund"]

Unknown = Callable[..., tuple[Mismatch, ...]]

_ORDER_NO = re.compile(r"[A-Za-z0-9_\-|*]{6,32}")
_NUMBER = re.compile(r"[A-Za-z0-9]{1,64}")
_GIVEN_UP_AFTER = dt.timedelta(days=1)
"""So long after its expiry an order that the provider still calls open is closed by us."""
_RUMOUR_QUESTIONS = 5
"""Questions after which a refund that the provider does not know is taken for a rumour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a notification came in."""

    backend: str
    channel: str
    merchant: str
    app: str


class Decision:
    """Collects what follows; :attr:`change` and :meth:`announcements` are the result.

    Args:
        found: The payment as it stands, or None.
        order_no: Its number, which may be anything while no payment has it.
        unknown: Leaves out the mismatches that wait for a person already.
    """

    def __init__(
        self,
        place: Place,
        found: PaymentView | None,
        order_no: str,
        *,
        source: Source,
        now: dt.datetime,
        unknown: Unknown,
    ) -> None:
        self.outcome = "nothing_new"
        self._place = place
        self._found = found
        self._order_no = order_no
        self._source = source
        self._now = now
        self._unknown = unknown
        self._stamp = Stamp()
        self._mismatches: list[Mismatch] = []
        self._asks_now = False
        self.account = None if found is None else found.account

    def doubt(
        self,
        reason: MismatchReason,
        *,
        expected: int | None = None,
        received: int | None = None,
        refund_no: str | None = None,
    ) -> None:
        """Put something before a person."""
        self.outcome = reason.value
        mismatch = Mismatch(
            backend=self._place.backend,
            channel=self._place.channel,
            merchant=self._place.merchant,
            order_no=self._order_no if _ORDER_NO.fullmatch(self._order_no) else None,
            refund_no=refund_no if refund_no and _ORDER_NO.fullmatch(refund_no) else None,
            reason=reason,
            expected=expected,
            received=received,
        )
        self._mismatches += self._unknown(mismatch)

    def ask(self) -> None:
        """Have the provider asked before anything is told."""
        self.outcome = "confirming"
        self._asks_now = True

    def know(self, account: Account, stamp: Stamp | None = None) -> None:
        """Believe something new."""
        self.account = account
        if stamp is not None:
            merged = (*self._stamp.refund_nos, *stamp.refund_nos)
            self._stamp = replace(
                self._stamp,
                at=stamp.at or self._stamp.at,
                provider_no=stamp.provider_no or self._stamp.provider_no,
                refund_nos=merged,
            )
        if self._found is not None and account != self._found.account:
            self.outcome = account.state.value

    def change(self, *, notification: str | None = None) -> PaymentChange | None:
        """What is to be written; None if nothing is."""
        moved = self._found is not None and self.account != self._found.account
        if not (moved or self._is_settled or self._mismatches or self._asks_now or notification):
            return None
        return PaymentChange(
            channel=self._place.channel,
            merchant=self._place.merchant,
            order_no=self._order_no,
            source=self._source,
            found=self._found,
            account=self.account,
            stamp=self._stamp,
            mismatches=tuple(self._mismatches),
            ask_now=self._asks_now,
            notification=notification,
            outcome=self.outcome,
        )

    @property
    def _is_settled(self) -> bool:
        """Whether a question is on the calendar to which no answer could tell us more."""
        asks = self._found is not None and self._found.ask_at is not None
        return asks and self.account is not None and not self.account.has_questions

    def announcements(self) -> tuple[Announcement, ...]:
        """What the backend is told, in order."""
        told = [self._mismatch_told(each) for each in self._mismatches]
        if self._found is None or self.account is None:
            return tuple(told)
        before = self._found.account
        for transition in before.transitions_to(self.account):
            what, _, refund_no = transition.partition(":")
            if what in {"paid", "closed"}:
                told.append(self._told(f"payment.{what}", self._found, self.account))
            elif what in _REFUND_EVENTS and _ORDER_NO.fullmatch(refund_no):
                refund = self.account.refunds[refund_no]
                earlier = before.refunds.get(refund_no)
                # A failed refund that is then closed has failed once.
                failed_before = earlier is not None and earlier.state is RefundState.FAILED
                if refund.amount is not None and not (what == "refund.closed" and failed_before):
                    told.append(
                        self._told(
                            _REFUND_EVENTS[what],
                            self._found,
                            self.account,
                            refund_no=refund_no,
                            refund_amount=refund.amount,
                        )
                    )
        if before.state is not self.account.state is PaymentState.REFUNDED:
            told.append(self._told("payment.refunded", self._found, self.account))
        return tuple(told)

    def _told(
        self,
        event: str,
        found: PaymentView,
        account: Account,
        *,
        refund_no: str | None = None,
        refund_amount: int | None = None,
    ) -> Announcement:
        known = self._stamp.provider_no or found.provider_no
        return Announcement.model_validate(
            {
                "event": event,
                "occurred_at": self._now,
                "ordering_key": found.order_no,
                "channel": found.channel,
                "order_no": found.order_no,
                "provider_no": known if known and _NUMBER.fullmatch(known) else None,
                "refund_no": refund_no,
                "state": account.state.value,
                "amount": found.amount,
                "refund_amount": account.refunded if event == "payment.refunded" else refund_amount,
                "currency": found.currency,
            }
        )

    def _mismatch_told(self, mismatch: Mismatch) -> Announcement:
        return Announcement.model_validate(
            {
                "event": "payment.mismatch",
                "occurred_at": self._now,
                "ordering_key": mismatch.order_no,
                "channel": mismatch.channel,
                "order_no": mismatch.order_no,
                "refund_no": mismatch.refund_no,
                "state": "mismatch",
                "reason_code": mismatch.reason.value,
                "amount": mismatch.expected,
            }
        )


_REFUND_EVENTS: dict[str, EventType] = {
    "refund.refunded": "refund.succeeded",
    "refund.failed": "refund.failed",
    "refund.closed": "refund.failed",
}


def hear(decision: Decision, heard: Notification, place: Place, *, confirm_from: int) -> None:
    """What follows from an authenticated notification."""
    if heard.kind == "other" or heard.state == "open":
        decision.outcome = "ignored"
    elif heard.merchant and heard.merchant != place.merchant:
        decision.doubt(MismatchReason.WRONG_MERCHANT)
    elif heard.app is not None and heard.app != place.app:
        decision.doubt(MismatchReason.WRONG_APP)
    elif decision.account is None:
        if heard.state == "closed":
            decision.outcome = "ignored"
        else:
            decision.doubt(MismatchReason.UNKNOWN_ORDER, received=heard.amount)
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
    if heard.amount != account.amount:
        decision.doubt(MismatchReason.WRONG_AMOUNT, expected=account.amount, received=heard.amount)
    elif heard.currency != "CNY":
        decision.doubt(MismatchReason.WRONG_CURRENCY)
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
        decision.doubt(MismatchReason.UNKNOWN_REFUND, received=amount, refund_no=number)
        return
    known = account.refunds.get(number)
    state = RefundState.REFUNDED if heard.state == "refunded" else RefundState.FAILED
    certain = _is_certain(heard, amount or 0, confirm_from) and account.paid
    if known is not None and known.state is state:
        decision.outcome = "repeated"
    elif certain and known is not None and known.amount == amount and heard.state != "refunding":
        decision.know(account.with_refund(number, Refund(state, amount)))
    else:
        rumour = account.with_refund(number, Refund(RefundState.HEARD))
        decision.know(rumour)
        decision.ask()


def _is_certain(heard: Notification, amount: int, confirm_from: int) -> bool:
    """Only API v3 signs every byte of what it says; the others' text can be read in two ways."""
    return heard.channel == "wechat_pay_v3" and amount < confirm_from


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
