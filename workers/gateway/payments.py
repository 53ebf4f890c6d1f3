"""Payments and refunds of backends, and callbacks that came in at a backend's own address."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from integrations.payments import CallbackRefused
from models.errors import IdempotencyConflict, InvalidValue, NotFound
from workers.gateway.authentication import Backend
from workers.gateway.body import json_body
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import FieldError, Kind, Problem, problem_responses
from workers.merchants import answers_of
from workers.payments import CallbackRequest, PaymentRequest, PaymentService, RefundRequest

__all__ = ["LARGEST_CALLBACK", "Payments", "router"]

router = APIRouter(tags=["payments"])

LARGEST_CALLBACK = 64 * 1024
"""Bytes of a provider's callback; the largest real one is a tenth of it."""
_LARGEST_HANDED_ON = 128 * 1024
"""Bytes of the JSON around it."""


async def _payments(request: Request) -> PaymentService:
    service: PaymentService = request.app.state.payments
    return service


Payments = Annotated[PaymentService, Depends(_payments)]
"""The payment service behind this gateway."""

_Number = r"^[A-Za-z0-9_\-|*]{6,32}$"


class _Body(BaseModel):
    model_config = ConfigDict(from_attributes=True, extra="forbid")


class RefundBody(_Body):
    """A refund as it stands. Amounts are whole fen."""

    channel: str
    merchant: str
    refund_no: str
    amount: int | None = Field(description="null while only heard of.")
    reason: str | None = Field(description="null if it was not asked for here.")
    state: str = Field(
        description="requested or processing while it is under way; refunded, failed or closed at "
        "the end; heard: the provider spoke of it and is being asked."
    )
    provider_no: str | None
    job_id: str | None
    created_at: dt.datetime
    updated_at: dt.datetime


class PaymentBody(_Body):
    """A payment as it stands. Amounts are whole fen."""

    channel: str
    merchant: str
    order_no: str
    amount: int
    currency: str
    expires_at: dt.datetime
    state: str = Field(
        description="open, closed, paid, refunding, partially_refunded or refunded; paid is said "
        "only of what fits and, where that is needed, was confirmed."
    )
    paid_at: dt.datetime | None
    closed_at: dt.datetime | None
    provider_no: str | None = Field(description="The provider's number of the payment.")
    refunded: int = Field(description="What went back for certain.")
    flagged: bool = Field(description="Something did not fit, and a person was asked to look.")
    created_at: dt.datetime
    updated_at: dt.datetime
    refunds: list[RefundBody]


class PaymentsBody(_Body):
    """A backend's payments under one order number: one for each channel that was offered."""

    order_no: str
    payments: list[PaymentBody]


class AnswerBody(_Body):
    """How the provider is to be answered, byte for byte."""

    new: bool = Field(description="false: it came before, and nothing happens twice.")
    status: int
    content_type: str | None
    body: str = Field(description="Base64.")


@router.post(
    "/v1/payments",
    operation_id="expectPayment",
    summary="Expect a payment",
    response_model=PaymentBody,
    responses=problem_responses(
        Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.CONFLICT, Kind.INVALID, Kind.UNAVAILABLE
    ),
    openapi_extra=json_request_body(PaymentRequest),
)
async def expect_payment(
    backend: Backend,
    payment: Annotated[PaymentRequest, Depends(json_body(PaymentRequest))],
    payments: Payments,
) -> Any:
    """Register an order before its buyer can pay: what nobody expects is never told as paid.

    The same again is answered as it stands now; other values under the same order number: 409.
    """
    try:
        return await payments.expect_async(payment, backend=backend)
    except NotFound as error:
        raise _nobody("merchant", error) from None
    except InvalidValue as error:
        raise Problem.invalid(
            FieldError("expires_at", "must be in the next 15 days", error.code)
        ) from None
    except IdempotencyConflict as error:
        raise _used("order_no", error) from None


@router.get(
    "/v1/payments/{order_no}",
    operation_id="getPayments",
    summary="What became of an order's payments",
    response_model=PaymentsBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.UNAVAILABLE),
)
def get_payments(
    backend: Backend, order_no: Annotated[str, Path(pattern=_Number)], request: Request
) -> Any:
    """Another backend's order does not exist for you: 404."""
    service: PaymentService = request.app.state.payments
    found = service.books.payments_under(backend, order_no)
    if not found:
        raise Problem(Kind.NOT_FOUND, "There is no such order of this backend.")
    return {"order_no": order_no, "payments": [PaymentBody.model_validate(p) for p in found]}


@router.post(
    "/v1/refunds",
    operation_id="refundPayment",
    summary="Give money back",
    status_code=202,
    response_model=RefundBody,
    responses=problem_responses(
        Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.CONFLICT, Kind.INVALID, Kind.UNAVAILABLE
    ),
    openapi_extra=json_request_body(RefundRequest),
)
async def refund_payment(
    backend: Backend,
    refund: Annotated[RefundRequest, Depends(json_body(RefundRequest))],
    payments: Payments,
    request: Request,
) -> Any:
    """The refund number is the idempotency key: the same refund again is the same refund.

    Together, an order's refunds never exceed what was paid.
    """
    try:
        stored = await payments.refund_async(refund, backend=backend)
    except NotFound as error:
        raise _nobody("order_no", error) from None
    except InvalidValue as error:
        field = "order_no" if error.code == "payment.not_paid" else "amount"
        raise Problem.invalid(FieldError(field, error.message, error.code)) from None
    except IdempotencyConflict as error:
        raise _used("refund_no", error) from None
    request.state.job_id = stored.job_id
    return stored


@router.get(
    "/v1/refunds/{refund_no}",
    operation_id="getRefund",
    summary="What became of a refund",
    response_model=RefundBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.UNAVAILABLE),
)
def get_refund(
    backend: Backend, refund_no: Annotated[str, Path(pattern=_Number)], request: Request
) -> Any:
    """Another backend's refund does not exist for you: 404."""
    service: PaymentService = request.app.state.payments
    found = service.books.refund(backend, refund_no)
    if found is None:
        raise Problem(Kind.NOT_FOUND, "There is no such refund of this backend.")
    return found


@router.post(
    "/v1/payment-callbacks",
    operation_id="handOnPaymentCallback",
    summary="Hand on a provider's callback that came in at the backend's own address",
    response_model=AnswerBody,
    responses=problem_responses(
        Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.INVALID, Kind.UNAVAILABLE
    ),
    openapi_extra=json_request_body(CallbackRequest),
)
async def hand_on_callback(
    backend: Backend,
    callback: Annotated[
        CallbackRequest, Depends(json_body(CallbackRequest, limit=_LARGEST_HANDED_ON))
    ],
    payments: Payments,
) -> Any:
    """Answer the provider as the reply says; on any refusal answer it with a 4xx, on 503 with 5xx.

    The signature is over the raw bytes: hand on the body as it was received, and its headers.
    """
    try:
        new = await payments.receive_async(
            callback.channel, callback.merchant, callback.headers, callback.raw(), backend=backend
        )
    except NotFound as error:
        raise _nobody("merchant", error) from None
    except (CallbackRefused, InvalidValue) as error:
        raise Problem.invalid(FieldError("body", error.message, error.code)) from None
    answer = answers_of(callback.channel).accepted
    return {
        "new": new,
        "status": answer.status,
        "content_type": answer.content_type,
        "body": base64.b64encode(answer.body).decode(),
    }


def _nobody(field: str, error: NotFound) -> Problem:
    return Problem(
        Kind.NOT_FOUND,
        "Nothing was stored: this backend has no such merchant or order.",
        errors=[FieldError(field, "is none of this backend's", error.code)],
    )


def _used(field: str, error: IdempotencyConflict) -> Problem:
    return Problem(
        Kind.CONFLICT,
        "This number was used before with other values. Use a new one.",
        errors=[FieldError(field, "was used before", error.code)],
    )
