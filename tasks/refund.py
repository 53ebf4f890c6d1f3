"""Give money back once: the refund number is the provider's own idempotency key."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clock import utc_now
from models.errors import GiveUpError, RetryError, UnknownOutcomeError
from models.payments.changes import Source
from models.payments.registering import OrderNo, RefundNo
from models.payments.states import PENDING, Refund, RefundState
from models.states import Event
from tasks.outcomes import Outcome, outcome_of, succeeded
from tasks.payload import WHOLE, Payload
from tasks.payment_callback import ChannelName, MerchantNo
from tasks.payment_decisions import Decision, Place
from tasks.payment_evidence import learn_refund
from tasks.payment_query import QUERIES, asked, queries_of
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from integrations.payments import RefundAnswer
    from models.attempts import Attempt
    from models.payments.views import PaymentView
    from tasks.paying import Payments

__all__ = ["REFUND", "Fen", "RefundPayment"]

Fen = Annotated[int, Field(gt=0, le=10**11, strict=True, description="Whole fen."), WHOLE]

_SURE = 4
"""The attempt at which a refused repetition has failed: until then money may be on its way unseen."""
_VISIBLE_SECONDS = 15.0
"""Between two looks for a refund that the provider may not show yet."""

_OPERATIONS = ("wechat_pay.refund", "alipay.refund", *QUERIES)


class RefundPayment(Payload):
    """A refund that the books have taken on."""

    channel: ChannelName
    merchant: MerchantNo
    order_no: OrderNo
    refund_no: RefundNo
    amount: Fen
    total: Fen
    currency: Literal["CNY"] = "CNY"


def _refund(payload: RefundPayment, attempt: Attempt, context: Context) -> Outcome:
    payments = context.payments
    payment = payments.books.payment(payload.channel, payload.merchant, payload.order_no)
    known = None if payment is None else payment.refund(payload.refund_no)
    if payment is None or known is None or known.state not in PENDING:
        return succeeded()
    decision = _decision(payments, payment)
    answer = _give_back(payload, attempt, payments, known.state)
    if isinstance(answer, GiveUpError):
        # Refused for good: this refund has failed, and the backend may begin another.
        assert decision.account is not None  # noqa: S101 - the payment is known
        failed = Refund(RefundState.FAILED, payload.amount)
        decision.know(decision.account.with_refund(payload.refund_no, failed))
        return replace(
            outcome_of(answer), change=decision.change(), announcements=decision.announcements()
        )
    learn_refund(decision, payload.refund_no, answer, asked=0)
    return _outcome(decision, answer)


def _give_back(
    payload: RefundPayment, attempt: Attempt, payments: Payments, state: RefundState
) -> RefundAnswer | GiveUpError:
    """Ask first whether it was done, unless it cannot have been.

    Returns:
        How far it is; or the provider's refusal, if it is certain that no money leaves. What a
        question is refused with, or what is wrong with us, says nothing about the money.
    """
    provider = payments.of(payload.channel, payload.merchant)
    named = {"order_no": payload.order_no, "refund_no": payload.refund_no}
    # By its fence, as a person's replay counts attempts anew; and decided anew it has sent before.
    repeats = attempt.fence > 1 or bool(attempt.results) or state is not RefundState.REQUESTED
    if repeats:
        found = asked(provider.query_refund, attempt, **named)
        if found.state != "missing":
            return found
    try:
        return provider.refund(replace(attempt, held=payload.held()))
    except UnknownOutcomeError as error:
        # The provider does it once for each number, so asking and repeating are both safe.
        raise RetryError(
            error.message, code=error.code, provider_code=error.provider_code
        ) from None
    except GiveUpError as error:
        if error.stops_recipient or error.provider_code is None:
            raise
        refused = error
    if repeats:
        # It may be refused because an earlier attempt was carried out after all.
        found = asked(provider.query_refund, attempt, **named)
        if found.state != "missing":
            return found
        if attempt.number < _SURE:
            raise RetryError(
                "a repetition was refused, and the first may be on its way",
                code="refund.refused_again",
                provider_code=refused.provider_code,
                retry_after=_VISIBLE_SECONDS,
            )
    return refused


def _look(
    payload: RefundPayment, attempt: Attempt, context: Context, _sent_at: dt.datetime
) -> Outcome:
    """The worker that gave it back is gone: what became of it?"""
    payments = context.payments
    payment = payments.books.payment(payload.channel, payload.merchant, payload.order_no)
    if payment is None or payment.refund(payload.refund_no) is None:
        return succeeded()
    answer = payments.of(payload.channel, payload.merchant).query_refund(
        replace(attempt, held={"order_no": payload.order_no, "refund_no": payload.refund_no})
    )
    if answer.state == "missing":
        # It never arrived, or will as the same refund: the number makes a repetition harmless.
        return Outcome(event=Event.RETRY, code="refund.again")
    decision = _decision(payments, payment)
    learn_refund(decision, payload.refund_no, answer, asked=0)
    return _outcome(decision, answer)


def _decision(payments: Payments, payment: PaymentView) -> Decision:
    return Decision(
        Place(backend=payment.backend, channel=payment.channel, merchant=payment.merchant, app=""),
        payment,
        payment.order_no,
        source=Source.REFUND,
        now=utc_now(),
        unknown=payments.books.unknown_yet,
    )


def _outcome(decision: Decision, answer: RefundAnswer) -> Outcome:
    return Outcome(
        event=Event.SUCCEED,
        code=f"refund.{answer.state}",
        change=decision.change(),
        announcements=decision.announcements(),
        result={"state": answer.state},
    )


REFUND = Task(
    kind="refund",
    payload=RefundPayment,
    queue="standard",
    handle=_refund,
    retry=RetryRule(attempts=20, base=2, cap=3600),
    lifetime=None,
    retention=dt.timedelta(days=7),
    subject=lambda _: None,
    operations=_OPERATIONS,
    reaches=lambda held: queries_of(held["channel"], _OPERATIONS),
    reconcile=_look,
    repeatable=True,
)
