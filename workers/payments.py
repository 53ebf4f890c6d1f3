"""Expecting payments, giving money back, and taking in callbacks: one meaning for Python and HTTP.

::

    from workers.payments import open_payments

    payments = open_payments()
    payments.expect(PaymentRequest(...), backend="shop")
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import os
from collections.abc import Mapping
from concurrent.futures import Future
from functools import cache
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints
from sqlalchemy import Engine

from integrations.detectors import detect
from models.clock import Clock, utc_now
from models.database import answering
from models.errors import InvalidValue, NotFound, raised
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.jobs import NewJob
from models.payments.books import Books
from models.payments.inbox import NewNotification, notification_digest, write_notifications
from models.payments.registering import (
    NewPayment,
    NewRefund,
    OrderNo,
    RefundNo,
    write_payments,
    write_refunds,
)
from models.payments.views import PaymentView, RefundView
from tasks.payload import Payload
from tasks.payment_callback import ChannelName, MerchantNo, PaymentCallback
from tasks.preparation import Preparation
from tasks.refund import Fen, RefundPayment
from workers.dispatch import Dispatcher
from workers.entrance import Entrance, shared_entrance
from workers.merchants import Merchant, Merchants, open_merchants
from workers.settings import load_settings

__all__ = [
    "CallbackRequest",
    "PaymentRequest",
    "PaymentService",
    "RefundReason",
    "RefundRequest",
    "open_payments",
]

RefundReason = Literal[
    "customer_request", "out_of_stock", "wrong_item", "damaged", "price", "duplicate", "other"
]
"""Why money goes back; stays inside."""

_LONGEST_WAIT = dt.timedelta(days=15)
_KEPT_HEADERS = ("content-type", "wechatpay-")


def _of_nobody(number: str) -> str:
    """Providers are told it, and the gate would refuse it later."""
    if detect(number, cards=False):
        raise ValueError("must not be made of a phone number or an identity number")
    return number


_OrderNo = Annotated[OrderNo, AfterValidator(_of_nobody)]
_RefundNo = Annotated[RefundNo, AfterValidator(_of_nobody)]


class PaymentRequest(Payload):
    """A payment to expect. Send the same again after a lost reply: an order number counts once."""

    channel: ChannelName
    merchant: MerchantNo = Field(examples=["1900000001"])
    order_no: _OrderNo = Field(examples=["order-0000000000001"])
    amount: Fen = Field(examples=[129900])
    currency: Literal["CNY"] = "CNY"
    expires_at: AwareDatetime = Field(
        description="Until then it may be paid; at most 15 days ahead.",
        examples=["2027-01-01T00:00:00Z"],
    )


class RefundRequest(Payload):
    """Money to give back. Send the same again after a lost reply: a refund number counts once."""

    channel: ChannelName
    merchant: MerchantNo = Field(examples=["1900000001"])
    order_no: _OrderNo = Field(examples=["order-0000000000001"])
    refund_no: _RefundNo = Field(examples=["refund-000000000001"])
    amount: Fen = Field(examples=[129900])
    reason: RefundReason


class CallbackRequest(Payload):
    """A provider's callback that came in at the backend's own address, exactly as it came."""

    channel: ChannelName
    merchant: MerchantNo = Field(examples=["1900000001"])
    headers: Annotated[dict[str, str], Field(max_length=100, repr=False)]
    body: Annotated[str, StringConstraints(max_length=96 * 1024)] = Field(
        repr=False, description="Base64 of the raw bytes.", json_schema_extra={"format": "byte"}
    )

    def raw(self) -> bytes:
        """The body's bytes.

        Raises:
            InvalidValue: It is not Base64.
        """
        try:
            return base64.b64decode(self.body, validate=True)
        except ValueError:
            raise InvalidValue("body is not Base64") from None


class PaymentService:
    """Everything that backends and providers may ask for about money.

    Args:
        pause: Before a provider is asked first about an order of which nothing was heard.
    """

    def __init__(
        self,
        engine: Engine,
        commits: GroupCommit,
        preparation: Preparation,
        dispatcher: Dispatcher,
        merchants: Merchants,
        *,
        pause: dt.timedelta = dt.timedelta(seconds=30),
        clock: Clock = utc_now,
    ) -> None:
        self.books = Books(engine)
        self._commits = commits
        self._preparation = preparation
        self._dispatcher = dispatcher
        self._merchants = merchants
        self._pause = pause
        self._clock = clock

    @classmethod
    def behind(cls, entrance: Entrance, merchants: Merchants, *, pause: float) -> PaymentService:
        """The service of an open way in; ``pause`` in seconds."""
        return cls(
            entrance.engine,
            entrance.commits,
            entrance.preparation,
            entrance.dispatcher,
            merchants,
            pause=dt.timedelta(seconds=pause),
        )

    def expect(self, request: PaymentRequest, *, backend: str) -> PaymentView:
        """Expect a payment; the same again is the same payment.

        Raises:
            NotFound: The merchant is not the backend's.
            InvalidValue: The expiry is past, or too far away.
            IdempotencyConflict: The order number is expected with other values.
            DatabaseUnavailable: Nothing was stored.
        """
        return raised(self._commits.run(write_payments, self._payment(request, backend)))

    async def expect_async(self, request: PaymentRequest, *, backend: str) -> PaymentView:
        """:meth:`expect` for an event loop."""
        submitted = self._commits.submit(write_payments, self._payment(request, backend))
        return raised(await asyncio.wrap_future(submitted))

    def refund(self, request: RefundRequest, *, backend: str) -> RefundView:
        """Give money back; the same again is the same refund.

        Raises:
            NotFound: There is no such payment of the backend.
            InvalidValue: It was not paid, or less than is to go back.
            IdempotencyConflict: The refund number was used for another refund.
            DatabaseUnavailable: Nothing was stored.
        """
        new = self._refund(request, backend)
        return self._taken_on(new, raised(self._commits.run(write_refunds, new)))

    async def refund_async(self, request: RefundRequest, *, backend: str) -> RefundView:
        """:meth:`refund` for an event loop."""
        new = await asyncio.to_thread(self._refund, request, backend)
        submitted = self._commits.submit(write_refunds, new)
        return self._taken_on(new, raised(await asyncio.wrap_future(submitted)))

    def receive(
        self,
        channel: str,
        merchant: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        backend: str | None = None,
    ) -> bool:
        """Take in a provider's callback by its raw bytes.

        Args:
            headers: As they came; names in any case.
            body: The raw bytes.
            backend: Who hands it in; None for the provider itself.

        Returns:
            Whether it is new; one that came before changes nothing.

        Raises:
            CallbackRefused: It is not to be believed; nothing was stored.
            NotFound: There is no such merchant (of that backend).
            DatabaseUnavailable: Nothing was stored; let the provider send it again.
        """
        new = self._notification(channel, merchant, headers, body, backend)
        return self._kept(new, fresh=self._commits.run(write_notifications, new))

    async def receive_async(
        self,
        channel: str,
        merchant: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        backend: str | None = None,
    ) -> bool:
        """:meth:`receive` for an event loop."""
        new, kept = await asyncio.to_thread(
            self._submitted, channel, merchant, headers, body, backend
        )
        return self._kept(new, fresh=await asyncio.wrap_future(kept))

    def _payment(self, request: PaymentRequest, backend: str) -> NewPayment:
        self._merchant(request.channel, request.merchant, backend)
        now = self._clock()
        if not now < request.expires_at <= now + _LONGEST_WAIT:
            raise InvalidValue("expires_at must be in the next 15 days", code="expires_at")
        return NewPayment(
            id=new_id(),
            backend=backend,
            channel=request.channel,
            merchant=request.merchant,
            order_no=request.order_no,
            amount=request.amount,
            currency=request.currency,
            expires_at=request.expires_at,
            ask_at=min(now + self._pause, request.expires_at),
            created_at=now,
        )

    def _refund(self, request: RefundRequest, backend: str) -> NewRefund:
        payment = self.books.payment(request.channel, request.merchant, request.order_no)
        if payment is None or payment.backend != backend:
            raise NotFound("no such payment")
        payload = RefundPayment(
            **request.model_dump(exclude={"reason"}),
            total=payment.amount,
        )
        now = self._clock()
        return NewRefund(
            id=new_id(),
            backend=backend,
            channel=request.channel,
            merchant=request.merchant,
            order_no=request.order_no,
            refund_no=request.refund_no,
            amount=request.amount,
            reason=request.reason,
            ask_at=now + self._pause,
            job=self._job(payload, backend),
            created_at=now,
        )

    def _notification(
        self,
        channel: str,
        merchant: str,
        headers: Mapping[str, str],
        body: bytes,
        backend: str | None,
    ) -> NewNotification:
        found = self._merchant(channel, merchant, backend)
        now = self._clock()
        named = {name.lower(): value for name, value in headers.items()}
        believed = found.believe(named, body, now)
        digest = notification_digest(channel, merchant, believed)
        payload = PaymentCallback(
            channel=found.channel,
            merchant=found.number,
            digest=digest,
            headers={k: v for k, v in named.items() if k.startswith(_KEPT_HEADERS)},
            body=base64.b64encode(body).decode(),
        )
        return NewNotification(
            digest=digest,
            channel=channel,
            merchant=merchant,
            job=self._job(payload, found.backend),
            received_at=now,
        )

    def _submitted(
        self,
        channel: str,
        merchant: str,
        headers: Mapping[str, str],
        body: bytes,
        backend: str | None,
    ) -> tuple[NewNotification, Future[bool]]:
        """Handed to the writer by the thread that believed it: no wait for the loop in between."""
        new = self._notification(channel, merchant, headers, body, backend)
        return new, self._commits.submit(write_notifications, new)

    def _merchant(self, channel: str, merchant: str, backend: str | None) -> Merchant:
        found = self._merchants.find(channel, merchant)
        if found is None or backend not in {None, found.backend}:
            raise NotFound("no such merchant", code="merchant.unknown")
        return found

    def _job(self, payload: Payload, backend: str) -> NewJob:
        with answering():
            return self._preparation.prepare(payload, backend=backend)

    def _taken_on(self, new: NewRefund, stored: RefundView) -> RefundView:
        if stored.job_id == new.job.id:
            self._dispatcher.ring(new.job.id, new.job.queue)
        return stored

    def _kept(self, new: NewNotification, *, fresh: bool) -> bool:
        if fresh:
            self._dispatcher.ring(new.job.id, new.job.queue)
        return fresh


def open_payments() -> PaymentService:
    """The service for Python backends that share our environment; one for each process."""
    return _payments_of(os.getpid())


@cache
def _payments_of(_pid: int) -> PaymentService:
    settings = load_settings()
    return PaymentService.behind(
        shared_entrance(), open_merchants(settings), pause=settings.payment_query_seconds
    )
