"""What a job has found out about a payment, written in the transaction of its settle.

A change is decided upon one version of the payment and is made upon that version or not at all:
then the job decides anew. So nothing is ever told of a transition that somebody else has made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Boolean, Connection, case, null, select, update

from models.batches import Batch, columns_of, insert_into, inserting
from models.errors import GiveUpError
from models.identifiers import new_id
from models.payments.mismatches import Mismatch, is_known, raise_mismatch
from models.payments.states import FOLLOWING, Account
from models.payments.views import PaymentView
from models.tables import payment_notifications, payment_transitions, payments, refunds

__all__ = ["ImpossiblePayment", "PaymentChange", "Source", "Stamp"]


class Source(StrEnum):
    """From whom we know."""

    CALLBACK = "callback"
    QUERY = "query"
    REFUND = "refund"


class ImpossiblePayment(GiveUpError):
    """A payment cannot go from where it stands to there: a fault of ours."""

    default_code = "payment.impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What the provider said beside the facts."""

    at: dt.datetime | None = None
    """When it was paid, by the provider's clock."""
    provider_no: str | None = None
    """The provider's number of the payment."""
    refund_nos: tuple[tuple[str, str], ...] = ()
    """The provider's numbers of refunds, by ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentChange:
    """What becomes of a payment, of its refunds, and of what a person must look at."""

    channel: str
    merchant: str
    order_no: str
    source: Source
    found: PaymentView | None
    """The payment as it stood when this was decided; None: there was none."""
    account: Account | None = None
    """What is known from now on; None: nothing new."""
    stamp: Stamp = Stamp()
    mismatches: Sequence[Mismatch] = ()
    """Those that do not wait for a person yet."""
    ask_now: bool = False
    """Have the provider asked about the payment at once."""
    rests: bool = False
    """Ask no more by the calendar: all that is open waits for a person."""
    notification: str | None = None
    """Digest of the notification that this settles."""
    outcome: str | None = None
    """What came of the notification."""

    def apply(self, connection: Connection, at: dt.datetime) -> bool:
        """Write it all; False, with nothing written, if the payment has moved meanwhile."""
        if not self._is_in_time(connection, at):
            return False
        if self.found is not None and self.account is not None:
            self._write_refunds(connection, self.found, self.account, at)
            self._write_transitions(connection, self.found, self.account, at)
        for mismatch in self.mismatches:
            # Without a payment there is no version, so here two find the same and one of them stays.
            if not raise_mismatch(connection, mismatch, at=at) and self.found is None:
                return False
        if self.notification is not None:
            _NOTE.execute(connection, [{"digest": self.notification, "result": self.outcome}])
        return True

    def _is_in_time(self, connection: Connection, at: dt.datetime) -> bool:
        if self.found is None:
            arrived = select(payments.c.id).where(
                payments.c.channel == self.channel,
                payments.c.merchant == self.merchant,
                payments.c.order_no == self.order_no,
            )
            return connection.scalar(arrived) is None and not self._told_before(connection)
        row = {"payment": self.found.id, "decided_on": self.found.version}
        # The payment's row is ours from here on, so nobody can raise the same mismatch meanwhile.
        return bool(_MOVE.execute(connection, [row | self._values(self.found, at)]))

    def _told_before(self, connection: Connection) -> bool:
        return any(is_known(connection, mismatch) for mismatch in self.mismatches)

    def _values(self, found: PaymentView, at: dt.datetime) -> dict[str, Any]:
        values: dict[str, Any] = {name: getattr(found, name) for name in _MOVED}
        values |= {"version": found.version + 1, "updated_at": at}
        if any(mismatch.told for mismatch in self.mismatches):
            values["flagged"] = True
        account = self.account or found.account
        if account.state is not found.state and account.state not in FOLLOWING[found.state]:
            raise ImpossiblePayment(f"a {found.state} payment cannot become {account.state}")
        values |= {"state": account.state, "refunded": account.refunded}
        if account.paid and found.paid_at is None:
            values["paid_at"] = self.stamp.at or at
        if account.closed and found.closed_at is None:
            values["closed_at"] = at
        if self.stamp.provider_no is not None and found.provider_no is None:
            values["provider_no"] = self.stamp.provider_no
        # The calendar moves without a new version, so what it says now may be newer than `found`.
        over = not self.ask_now and (self.rests or not account.has_questions)
        return values | {"ask_now": self.ask_now, "over": over}

    def _write_refunds(
        self, connection: Connection, found: PaymentView, account: Account, at: dt.datetime
    ) -> None:
        numbers = dict(self.stamp.refund_nos)
        for refund_no, refund in account.refunds.items():
            known = found.refund(refund_no)
            provider_no = numbers.get(refund_no) or (known and known.provider_no)
            if known is not None and (known.state, known.amount, known.provider_no) == (
                refund.state,
                refund.amount,
                provider_no,
            ):
                continue
            connection.execute(
                insert_into(connection.dialect.name, refunds)
                .values(
                    id=new_id(),
                    payment_id=found.id,
                    backend=found.backend,
                    channel=found.channel,
                    merchant=found.merchant,
                    refund_no=refund_no,
                    amount=refund.amount,
                    state=refund.state,
                    provider_no=provider_no,
                    created_at=at,
                    updated_at=at,
                )
                .on_conflict_do_update(
                    index_elements=[refunds.c.channel, refunds.c.merchant, refunds.c.refund_no],
                    set_={
                        "amount": refund.amount,
                        "state": refund.state,
                        "provider_no": provider_no,
                        "updated_at": at,
                    },
                )
            )

    def _write_transitions(
        self, connection: Connection, found: PaymentView, account: Account, at: dt.datetime
    ) -> None:
        rows = [
            {"payment_id": found.id, "transition": transition, "at": at, "source": self.source}
            for transition in found.account.transitions_to(account)
        ]
        if rows:
            _TELL.execute(connection, rows)


_MOVED = (
    *("state", "refunded", "flagged", "paid_at", "closed_at", "provider_no"),
    *("version", "updated_at"),
)
_MOVE = Batch(
    {
        "payment": payments.c.id.type,
        "decided_on": payments.c.version.type,
        "ask_now": Boolean(),
        "over": Boolean(),
        **{name: payments.c[name].type for name in _MOVED},
    },
    lambda _, row: (
        update(payments)
        .where(payments.c.id == row["payment"], payments.c.version == row["decided_on"])
        .values(
            asked=case((row["ask_now"], 0), else_=payments.c.asked),
            ask_at=case(
                (row["ask_now"], row["updated_at"]), (row["over"], null()), else_=payments.c.ask_at
            ),
            **{name: row[name] for name in _MOVED},
        )
    ),
)
_NOTE = Batch(
    {
        "digest": payment_notifications.c.digest.type,
        "result": payment_notifications.c.outcome.type,
    },
    lambda _, row: (
        update(payment_notifications)
        .where(payment_notifications.c.digest == row["digest"])
        .values(outcome=row["result"])
    ),
)
_TELL = Batch(
    columns_of(payment_transitions),
    lambda dialect, row: inserting(dialect, payment_transitions, row),
)
