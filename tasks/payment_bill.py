"""Compare one day's bill of a provider with the books; differences are put before a person."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints
from sqlalchemy import Connection

from models.clock import BEIJING
from models.payments.mismatches import Mismatch, MismatchReason, raise_mismatch
from models.payments.states import RefundState
from models.states import Event
from tasks.outcomes import Outcome
from tasks.payload import Payload
from tasks.payment_callback import MerchantNo
from tasks.payment_query import asked
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from integrations.payments import BillLine
    from models.attempts import Attempt
    from models.payments.views import PaymentView

__all__ = ["PAYMENT_BILL", "BilledChannel", "PaymentBill", "compare"]

_EDGE = dt.timedelta(minutes=5)
"""So close to midnight a payment may stand in the bill of either day."""


BilledChannel = Literal["wechat_pay_v3", "alipay"]
"""Where bills come from; that of WeChat Pay names what was paid over API v2 as well."""
_BILLED: Mapping[str, Sequence[str]] = {
    "wechat_pay_v3": ("wechat_pay_v3", "wechat_pay_v2"),
    "alipay": ("alipay",),
}


class PaymentBill(Payload):
    """A merchant's bill of one day."""

    channel: BilledChannel
    merchant: MerchantNo
    bill_date: Annotated[str, StringConstraints(pattern=r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}$")] = Field(
        examples=["2026-11-23"]
    )


@dataclass(frozen=True, slots=True)
class _Differences:
    mismatches: Sequence[Mismatch]

    def apply(self, connection: Connection, at: dt.datetime) -> bool:
        for mismatch in self.mismatches:
            raise_mismatch(connection, mismatch, at=at)
        return True


def _compare(payload: PaymentBill, attempt: Attempt, context: Context) -> Outcome:
    payments = context.payments
    begin = dt.datetime.fromisoformat(payload.bill_date).replace(tzinfo=BEIJING)
    end = begin + dt.timedelta(days=1)
    provider = payments.of(payload.channel, payload.merchant)
    lines = asked(provider.bill, attempt, bill_date=payload.bill_date)
    ours = {
        payment.order_no: payment
        for channel in _BILLED[payload.channel]
        for payment in payments.books.paid(channel, payload.merchant, begin - _EDGE, end + _EDGE)
    }
    for line in lines:
        for channel in _BILLED[payload.channel]:
            if line.order_no not in ours:
                found = payments.books.payment(channel, payload.merchant, line.order_no)
                if found is not None:
                    ours[found.order_no] = found
    differences = [
        replace(each, backend=attempt.backend, channel=payload.channel, merchant=payload.merchant)
        for each in compare(lines, list(ours.values()), begin, end)
    ]
    return Outcome(
        event=Event.SUCCEED,
        result={"lines": str(len(lines)), "differences": str(len(differences))},
        change=_Differences(differences),
    )


def compare(
    lines: Sequence[BillLine],
    ours: Sequence[PaymentView],
    begin: dt.datetime,
    end: dt.datetime,
) -> list[Mismatch]:
    """Where bill and books differ.

    Args:
        lines: The bill of ``[begin, end)``.
        ours: Every payment that the bill names, and those of the day.
    """
    known = {payment.order_no: payment for payment in ours}
    found: list[Mismatch] = []
    billed: set[tuple[str, str | None]] = set()
    for line in lines:
        billed.add((line.order_no, line.refund_no))
        payment = known.get(line.order_no)
        if line.refund_no is None:
            found += _payment_differs(line, payment)
        else:
            found += _refund_differs(line, payment)
    inner_begin, inner_end = begin + _EDGE, end - _EDGE
    for payment in ours:
        if (
            payment.paid_at is not None
            and inner_begin <= payment.paid_at < inner_end
            and (payment.order_no, None) not in billed
        ):
            found.append(
                _mismatch(
                    MismatchReason.BILL_MISSING_PAYMENT, payment.order_no, expected=payment.amount
                )
            )
        found += [
            _mismatch(
                MismatchReason.BILL_MISSING_REFUND,
                payment.order_no,
                refund.refund_no,
                expected=refund.amount,
            )
            for refund in payment.refunds
            if refund.state is RefundState.REFUNDED
            and inner_begin <= refund.created_at
            and refund.updated_at < inner_end
            and (payment.order_no, refund.refund_no) not in billed
        ]
    return found


def _payment_differs(line: BillLine, payment: PaymentView | None) -> list[Mismatch]:
    if line.state != "paid":
        return []
    if payment is None or payment.paid_at is None:
        reason = MismatchReason.BILL_UNKNOWN_PAYMENT
        return [_mismatch(reason, line.order_no, received=line.amount)]
    if payment.amount != line.amount:
        reason = MismatchReason.BILL_WRONG_AMOUNT
        return [_mismatch(reason, line.order_no, expected=payment.amount, received=line.amount)]
    return []


def _refund_differs(line: BillLine, payment: PaymentView | None) -> list[Mismatch]:
    assert line.refund_no is not None  # noqa: S101 - only such lines are handed in
    refund = payment and payment.refund(line.refund_no)
    if refund is None:
        reason = MismatchReason.BILL_UNKNOWN_REFUND
        return [_mismatch(reason, line.order_no, line.refund_no, received=line.refund_amount)]
    failed = line.state == "refund_failed"
    settled = refund.state in {RefundState.REFUNDED, RefundState.FAILED, RefundState.CLOSED}
    if (refund.amount != line.refund_amount and not failed) or (
        settled
        and line.state in {"refunded", "refund_failed"}
        and failed is (refund.state is RefundState.REFUNDED)
    ):
        reason = MismatchReason.BILL_WRONG_REFUND
        return [
            _mismatch(
                reason,
                line.order_no,
                line.refund_no,
                expected=refund.amount,
                received=line.refund_amount,
            )
        ]
    return []


def _mismatch(
    reason: MismatchReason,
    order_no: str,
    refund_no: str | None = None,
    *,
    expected: int | None = None,
    received: int | None = None,
) -> Mismatch:
    return Mismatch(
        backend="",
        channel="",
        merchant="",
        order_no=order_no,
        refund_no=refund_no,
        reason=reason,
        expected=expected,
        received=received,
    )


def _compare_again(
    payload: PaymentBill, attempt: Attempt, context: Context, _sent_at: dt.datetime
) -> Outcome:
    """The worker that fetched the bill is gone; fetching it once more does no harm."""
    outcome = _compare(payload, attempt, context)
    return outcome if outcome.event is Event.SUCCEED else replace(outcome, event=Event.LOSE)


PAYMENT_BILL = Task(
    kind="payment_bill",
    payload=PaymentBill,
    queue="bulk",
    handle=_compare,
    retry=RetryRule(attempts=10, base=60, cap=3600),
    lifetime=dt.timedelta(days=2),
    retention=dt.timedelta(days=2),
    subject=lambda _: None,
    operations=(
        "wechat_pay.bill",
        "wechat_pay.bill.download",
        "alipay.bill",
        "alipay.bill.download",
    ),
    reaches=lambda held: (f"{held['channel'].removesuffix('_v3')}.bill",),
    reconcile=_compare_again,
    repeatable=True,
)
