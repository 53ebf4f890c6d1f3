"""What is to be written and told once it is clear what a notification or an answer means: pure.

What it means is found out in :mod:`tasks.payment_evidence`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from models.payments.changes import PaymentChange, Source, Stamp
from models.payments.mismatches import Mismatch, MismatchReason
from models.payments.states import Account, PaymentState, RefundState
from models.payments.views import PaymentView
from tasks.announcements import Announcement, EventType

__all__ = ["Decision", "Place"]

Unknown = Callable[..., tuple[Mismatch, ...]]

_ORDER_NO = re.compile(r"[A-Za-z0-9_\-|*]{6,32}")
_NUMBER = re.compile(r"[A-Za-z0-9]{1,64}")


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
        self._doubted: set[str | None] = set()
        self._asks_now = False
        self.account = None if found is None else found.account

    def doubt(
        self,
        reason: MismatchReason,
        *,
        expected: int | None = None,
        received: int | None = None,
        refund_no: str | None = None,
        told: bool = True,
        rests: bool = True,
    ) -> None:
        """Put something before a person.

        Args:
            reason: What does not fit.
            expected: Fen.
            received: Fen.
            refund_no: The refund that it is about; else it is about the payment.
            told: Whether the backend hears of it.
            rests: Whether asking the provider further would be of no use.
        """
        self.outcome = reason.value
        if rests:
            self._doubted.add(refund_no)
        mismatch = Mismatch(
            backend=self._place.backend,
            channel=self._place.channel,
            merchant=self._place.merchant,
            order_no=self._order_no if _ORDER_NO.fullmatch(self._order_no) else None,
            refund_no=refund_no if refund_no and _ORDER_NO.fullmatch(refund_no) else None,
            reason=reason,
            expected=expected,
            received=received,
            told=told,
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
            rests=self._rests,
            notification=notification,
            outcome=self.outcome,
        )

    @property
    def _is_settled(self) -> bool:
        """Whether a question is on the calendar to which no answer could tell us more."""
        asks = self._found is not None and self._found.ask_at is not None
        return asks and self.account is not None and (self._rests or not self.account.has_questions)

    @property
    def _rests(self) -> bool:
        """Whether all that is open waits for a person, whom no further answer helps."""
        if self.account is None or not self.account.paid:
            return None in self._doubted
        return bool(self._doubted) and self.account.waiting <= self._doubted

    def announcements(self) -> tuple[Announcement, ...]:
        """What the backend is told, in order."""
        told = [self._mismatch_told(each) for each in self._mismatches if each.told]
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
