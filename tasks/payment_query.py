"""Ask a provider about one order and its refunds: to confirm, and because callbacks get lost."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from models.clock import utc_now
from models.errors import RetryError
from models.payments.changes import Source
from models.payments.registering import OrderNo
from models.payments.states import RefundState
from models.states import Event
from tasks.outcomes import Outcome, outcome_of, succeeded
from tasks.payload import Payload
from tasks.payment_callback import ChannelName, MerchantNo
from tasks.payment_decisions import Decision, Place
from tasks.payment_evidence import learn_order, learn_refund
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.attempts import Attempt

__all__ = ["PAYMENT_QUERY", "QUERIES", "PaymentQuery", "asked", "queries_of"]

T = TypeVar("T")

QUERIES = (
    "wechat_pay.order.query",
    "wechat_pay.refund.query",
    "wechat_pay.v2.order.query",
    "wechat_pay.v2.refund.query",
    "alipay.order.query",
    "alipay.refund.query",
)
_COMPANIES = {"wechat_pay_v3": "wechat_pay.", "wechat_pay_v2": "wechat_pay.", "alipay": "alipay."}


class PaymentQuery(Payload):
    """An order to ask about."""

    channel: ChannelName
    merchant: MerchantNo
    order_no: OrderNo


def queries_of(channel: str, operations: tuple[str, ...] = QUERIES) -> tuple[str, ...]:
    """Those operations that reach the company behind a channel."""
    return tuple(name for name in operations if name.startswith(_COMPANIES[channel]))


def asked(question: Callable[[Attempt], T], attempt: Attempt, **held: object) -> T:
    """Ask with these fields in hand; what came of each question belongs to the one attempt."""
    return question(replace(attempt, held=held))


def _ask(payload: PaymentQuery, attempt: Attempt, context: Context) -> Outcome:
    payments = context.payments
    payment = payments.books.payment(payload.channel, payload.merchant, payload.order_no)
    if payment is None or not (payment.account.has_questions or payment.ask_at):
        return succeeded()
    provider = payments.of(payload.channel, payload.merchant)
    now = utc_now()
    place = Place(
        backend=payment.backend, channel=payload.channel, merchant=payload.merchant, app=""
    )
    decision = Decision(
        place,
        payment,
        payload.order_no,
        source=Source.QUERY,
        now=now,
        unknown=payments.books.unknown_yet,
    )
    order = asked(provider.query_order, attempt, order_no=payload.order_no)
    learn_order(decision, order, payment, now=now)
    if decision.account is not None and decision.account.paid:
        for refund in payment.refunds:
            # One that failed may be paid out by hand, and then a callback has it asked about.
            if refund.state is not RefundState.REFUNDED:
                answer = asked(
                    provider.query_refund,
                    attempt,
                    order_no=payload.order_no,
                    refund_no=refund.refund_no,
                )
                learn_refund(decision, refund.refund_no, answer, asked=payment.asked)
    return Outcome(
        event=Event.SUCCEED,
        code=f"query.{decision.outcome}",
        change=decision.change(),
        announcements=decision.announcements(),
        result={"state": decision.account.state.value if decision.account else "unknown"},
    )


def _ask_again(
    payload: PaymentQuery, attempt: Attempt, context: Context, _sent_at: dt.datetime
) -> Outcome:
    """The worker that asked is gone; asking once more does no harm."""
    try:
        return _ask(payload, attempt, context)
    except RetryError as error:
        return replace(outcome_of(error), event=Event.LOSE)


PAYMENT_QUERY = Task(
    kind="payment_query",
    payload=PaymentQuery,
    queue="urgent",
    handle=_ask,
    retry=RetryRule(attempts=4, base=2, cap=30),
    # The next question is on the calendar of the payment, so that a late one is of no use.
    lifetime=dt.timedelta(minutes=5),
    retention=dt.timedelta(minutes=5),
    subject=lambda _: None,
    operations=QUERIES,
    reaches=lambda held: queries_of(held["channel"]),
    reconcile=_ask_again,
    repeatable=True,
)
