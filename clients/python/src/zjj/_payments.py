"""Payments and refunds as the gateway shows them, and the talks about them. Amounts are fen."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from zjj._conversation import Conversation, Request, exchange, invalid, reader
from zjj._errors import ConflictError, NotFoundError, ZjjError
from zjj._run import AsyncRun, Run

__all__ = [
    "Acknowledgement",
    "AsyncPayments",
    "AsyncRefunds",
    "Payment",
    "Payments",
    "Refund",
    "Refunds",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund as it stands."""

    channel: str
    merchant: str
    refund_no: str
    amount: int | None
    """None while only heard of."""
    reason: str | None
    """None if it was not asked for through the gateway."""
    state: str
    """requested, processing, refunded, failed, closed or heard."""
    provider_no: str | None
    job_id: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment as it stands."""

    channel: str
    merchant: str
    order_no: str
    amount: int
    currency: str
    expires_at: datetime
    state: str
    """open, closed, paid, refunding, partially_refunded or refunded."""
    paid_at: datetime | None
    closed_at: datetime | None
    provider_no: str | None
    refunded: int
    """What went back for certain."""
    flagged: bool
    """Something did not fit, and a person was asked to look."""
    created_at: datetime
    updated_at: datetime
    refunds: tuple[Refund, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """How a provider is to be answered, byte for byte."""

    new: bool
    """False: the callback came before, and nothing happens twice."""
    status: int
    content_type: str | None
    body: bytes


class Payments:
    """``client.payments``."""

    def __init__(self, run: Run, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    def expect(
        self, *, channel: str, merchant: str, order_no: str, amount: int, expires_at: datetime
    ) -> Payment:
        """Register an order before its buyer can pay; the same again is the same payment.

        Args:
            channel: ``wechat_pay_v3``, ``wechat_pay_v2`` or ``alipay``.
            merchant: Your merchant's number there.
            order_no: Your own number, 6 to 32 characters of ``A-Z a-z 0-9 _ - | *``.
            amount: Whole fen.
            expires_at: Until then it may be paid; with its time zone, at most 15 days ahead.

        Raises:
            InvalidRequestError: A field is wrong; nothing was stored.
            NotFoundError: The merchant is not yours.
            ConflictError: The order number is expected with other values.
            AuthenticationError: The API key is not accepted.
            RetryError: Not accepted now; call it again.
        """
        return self._run(
            _expect(channel, merchant, order_no, amount, expires_at, attempts=self._attempts)
        )

    def get(self, order_no: str) -> tuple[Payment, ...]:
        """The payments under an order number: one for each channel that was offered.

        Raises:
            NotFoundError: No such order, or another backend's.
            AuthenticationError: The API key is not accepted.
            RetryError: Nobody can tell now.
        """
        return self._run(_get_payments(order_no, attempts=self._attempts))

    def hand_on(
        self, *, channel: str, merchant: str, headers: Mapping[str, str], body: bytes
    ) -> Acknowledgement:
        """Hand on a provider's callback that came in at your own address.

        Args:
            channel: As for :meth:`expect`.
            merchant: As for :meth:`expect`.
            headers: As they came; only those that the provider signs or that say the form leave.
            body: The raw bytes, before anything was parsed.

        Returns:
            What to answer the provider.

        Raises:
            InvalidRequestError: It is not to be believed: answer with a 4xx.
            NotFoundError: The merchant is not yours.
            AuthenticationError: The API key is not accepted.
            RetryError: Nothing was stored: answer with a 5xx, and the provider sends it again.
        """
        return self._run(_hand_on(channel, merchant, headers, body, attempts=self._attempts))


class Refunds:
    """``client.refunds``."""

    def __init__(self, run: Run, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    def start(
        self,
        *,
        channel: str,
        merchant: str,
        order_no: str,
        refund_no: str,
        amount: int,
        reason: str,
    ) -> Refund:
        """Give money back; the same refund number again is the same refund.

        Args:
            channel: As for :meth:`Payments.expect`.
            merchant: As for :meth:`Payments.expect`.
            order_no: Of the payment.
            refund_no: Your own number, of the same form; money goes back once for it.
            amount: Whole fen; all refunds together never exceed what was paid.
            reason: ``customer_request``, ``out_of_stock``, ``wrong_item``, ``damaged``,
                ``price``, ``duplicate`` or ``other``; never leaves the company.

        Raises:
            InvalidRequestError: Not paid, too much, or a field is wrong; nothing was stored.
            NotFoundError: No such payment of yours.
            ConflictError: The refund number was used for another refund.
            AuthenticationError: The API key is not accepted.
            RetryError: Not accepted now; call it again.
        """
        return self._run(
            _refund(
                {
                    "channel": channel,
                    "merchant": merchant,
                    "order_no": order_no,
                    "refund_no": refund_no,
                    "amount": amount,
                    "reason": reason,
                },
                attempts=self._attempts,
            )
        )

    def get(self, refund_no: str) -> Refund:
        """What became of a refund.

        Raises:
            NotFoundError: No such refund, or another backend's.
            AuthenticationError: The API key is not accepted.
            RetryError: Nobody can tell now.
        """
        return self._run(_get_refund(refund_no, attempts=self._attempts))


class AsyncPayments:
    """``client.payments`` of :class:`zjj.AsyncClient`; see :class:`Payments`."""

    def __init__(self, run: AsyncRun, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    async def expect(
        self, *, channel: str, merchant: str, order_no: str, amount: int, expires_at: datetime
    ) -> Payment:
        """See :meth:`Payments.expect`."""
        return await self._run(
            _expect(channel, merchant, order_no, amount, expires_at, attempts=self._attempts)
        )

    async def get(self, order_no: str) -> tuple[Payment, ...]:
        """See :meth:`Payments.get`."""
        return await self._run(_get_payments(order_no, attempts=self._attempts))

    async def hand_on(
        self, *, channel: str, merchant: str, headers: Mapping[str, str], body: bytes
    ) -> Acknowledgement:
        """See :meth:`Payments.hand_on`."""
        return await self._run(_hand_on(channel, merchant, headers, body, attempts=self._attempts))


class AsyncRefunds:
    """``client.refunds`` of :class:`zjj.AsyncClient`; see :class:`Refunds`."""

    def __init__(self, run: AsyncRun, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    async def start(
        self,
        *,
        channel: str,
        merchant: str,
        order_no: str,
        refund_no: str,
        amount: int,
        reason: str,
    ) -> Refund:
        """See :meth:`Refunds.start`."""
        return await self._run(
            _refund(
                {
                    "channel": channel,
                    "merchant": merchant,
                    "order_no": order_no,
                    "refund_no": refund_no,
                    "amount": amount,
                    "reason": reason,
                },
                attempts=self._attempts,
            )
        )

    async def get(self, refund_no: str) -> Refund:
        """See :meth:`Refunds.get`."""
        return await self._run(_get_refund(refund_no, attempts=self._attempts))


def _expect(
    channel: str, merchant: str, order_no: str, amount: int, expires_at: datetime, *, attempts: int
) -> Conversation[Payment]:
    body = {
        "channel": channel,
        "merchant": merchant,
        "order_no": order_no,
        "amount": amount,
        "expires_at": expires_at.isoformat(),
    }
    return _talk(_post("/v1/payments", body), attempts, _payment_from)


def _get_payments(order_no: str, *, attempts: int) -> Conversation[tuple[Payment, ...]]:
    _check_number("order_no", order_no)
    return _talk(
        Request(method="GET", path=f"/v1/payments/{order_no}"),
        attempts,
        lambda document: tuple(map(_payment_from, document["payments"])),
    )


def _hand_on(
    channel: str, merchant: str, headers: Mapping[str, str], body: bytes, *, attempts: int
) -> Conversation[Acknowledgement]:
    named = {name.lower(): value for name, value in headers.items()}
    content = {
        "channel": channel,
        "merchant": merchant,
        "headers": {
            name: value
            for name, value in named.items()
            if name == "content-type" or name.startswith("wechatpay-")
        },
        "body": base64.b64encode(body).decode("ascii"),
    }
    return _talk(_post("/v1/payment-callbacks", content), attempts, _acknowledgement_from)


def _refund(body: Mapping[str, object], *, attempts: int) -> Conversation[Refund]:
    return _talk(_post("/v1/refunds", body), attempts, _refund_from)


def _get_refund(refund_no: str, *, attempts: int) -> Conversation[Refund]:
    _check_number("refund_no", refund_no)
    return _talk(Request(method="GET", path=f"/v1/refunds/{refund_no}"), attempts, _refund_from)


def _talk(
    request: Request, attempts: int, read: Callable[[Mapping[str, Any]], T]
) -> Conversation[T]:
    """An exchange whose refusals speak of numbers: these are the keys that count once."""
    try:
        return (yield from exchange(request, attempts, reader(read)))
    except ConflictError as error:
        wrong: ZjjError = ConflictError(
            "this number was used before with other values", status=error.status
        )
    except NotFoundError as error:
        wrong = NotFoundError("there is no such order, refund or merchant", status=error.status)
    raise wrong


def _post(path: str, body: Mapping[str, object]) -> Request:
    return Request(
        method="POST",
        path=path,
        headers={"Content-Type": "application/json"},
        content=json.dumps(body).encode("ascii"),
    )


def _check_number(field: str, number: str) -> None:
    # So that nothing else ever becomes part of a URL.
    if not re.fullmatch(r"[A-Za-z0-9_\-|*]{6,32}", number):
        raise invalid(field, "is not such a number")


def _payment_from(document: Mapping[str, Any]) -> Payment:
    return Payment(
        channel=document["channel"],
        merchant=document["merchant"],
        order_no=document["order_no"],
        amount=int(document["amount"]),
        currency=document["currency"],
        expires_at=_moment(document["expires_at"]),
        state=document["state"],
        paid_at=_optional_moment(document["paid_at"]),
        closed_at=_optional_moment(document["closed_at"]),
        provider_no=document["provider_no"],
        refunded=int(document["refunded"]),
        flagged=bool(document["flagged"]),
        created_at=_moment(document["created_at"]),
        updated_at=_moment(document["updated_at"]),
        refunds=tuple(map(_refund_from, document["refunds"])),
    )


def _refund_from(document: Mapping[str, Any]) -> Refund:
    amount = document["amount"]
    return Refund(
        channel=document["channel"],
        merchant=document["merchant"],
        refund_no=document["refund_no"],
        amount=None if amount is None else int(amount),
        reason=document["reason"],
        state=document["state"],
        provider_no=document["provider_no"],
        job_id=document["job_id"],
        created_at=_moment(document["created_at"]),
        updated_at=_moment(document["updated_at"]),
    )


def _acknowledgement_from(document: Mapping[str, Any]) -> Acknowledgement:
    return Acknowledgement(
        new=bool(document["new"]),
        status=int(document["status"]),
        content_type=document["content_type"],
        body=base64.b64decode(document["body"], validate=True),
    )


def _moment(text: str) -> datetime:
    # Python 3.10 does not read the Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _optional_moment(text: str | None) -> datetime | None:
    return None if text is None else _moment(text)
