"""A merchant of WeChat Pay API v3: ask for orders and refunds, give money back, fetch the bill.

``out_refund_no`` is the provider's idempotency number, so a refund may be asked for again, with
identical parameters.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from integrations.money import fen_of
from integrations.payments import (
    BillLine,
    CallbackRefused,
    OrderAnswer,
    OrderState,
    RefundAnswer,
    RefundState,
)
from integrations.wechat_pay import codes
from integrations.wechat_pay.v3 import signer, verify_message
from models.clock import utc_now
from models.errors import InvalidValue, RetryError, UnknownOutcomeError

if TYPE_CHECKING:
    from integrations.gate import Gate, Verifier
    from integrations.payments import BillState
    from integrations.policy import Operation
    from integrations.reply import Reply
    from integrations.wechat_pay.credentials import WechatPayCredentials
    from models.attempts import Attempt
    from models.clock import Clock

__all__ = ["BillLink", "WechatPay"]

_ORDER_STATES: Mapping[str, OrderState] = {
    "SUCCESS": "paid",
    "REFUND": "refunded",
    "NOTPAY": "open",
    "USERPAYING": "open",
    "ACCEPT": "open",
    "CLOSED": "closed",
    "REVOKED": "closed",
    "PAYERROR": "failed",
}
_REFUND_STATES: Mapping[str, RefundState] = {
    "SUCCESS": "refunded",
    "PROCESSING": "processing",
    "CLOSED": "closed",
    "ABNORMAL": "failed",
}
_BILL_STATES: Mapping[str, BillState] = {
    "SUCCESS": "refunded",
    "PROCESSING": "refunding",
    "FAIL": "refund_failed",
    "CHANGE": "refund_failed",
    "REFUNDCLOSE": "refund_failed",
}


@dataclass(frozen=True, slots=True)
class BillLink:
    """Where a bill can be fetched for a few minutes."""

    token: str
    sha1: str
    """Of the file, in hexadecimal; the file itself bears no signature."""


class WechatPay:
    """One merchant behind the gate.

    Args:
        gate: The way out.
        credentials: Who the merchant is.
        clock: Answers are believed for five minutes around it.

    Raises:
        ConfigurationError: The policy lacks the operations.
    """

    def __init__(
        self, gate: Gate, credentials: WechatPayCredentials, *, clock: Clock = utc_now
    ) -> None:
        self._gate = gate
        self._credentials = credentials
        self._clock = clock
        self._sign = signer(credentials, clock=clock)
        self._order = gate.policy.operation("wechat_pay.order.query")
        self._refund = gate.policy.operation("wechat_pay.refund")
        self._refund_query = gate.policy.operation("wechat_pay.refund.query")
        self._bill = gate.policy.operation("wechat_pay.bill")
        self._download = gate.policy.operation("wechat_pay.bill.download")

    def query_order(self, attempt: Attempt) -> OrderAnswer:
        """Ask what became of an order.

        Args:
            attempt: Holds ``order_no``.

        Raises:
            RetryError: No clear answer; asking again is harmless.
            WaitError: Not now.
            GiveUpError: WeChat Pay refuses the merchant or the question.
            DeniedError: The policy does not let it out.
        """
        order_no = str(attempt.held.get("order_no"))
        reply = self._ask(self._order, {"mchid": self._credentials.mchid}, attempt)
        if reply is None:
            return OrderAnswer(
                order_no=order_no,
                provider_no=None,
                state="missing",
                amount=None,
                currency="CNY",
                at=None,
            )
        kept = reply.fields
        state = _ORDER_STATES.get(str(kept.get("trade_state")))
        if state is None or kept.get("out_trade_no") != order_no:
            raise _another_answer()
        return OrderAnswer(
            order_no=order_no,
            provider_no=kept.get("transaction_id"),
            state=state,
            amount=_fen(kept.get("amount.total")),
            currency=str(kept.get("amount.currency", "CNY")),
            at=_time(kept.get("success_time")),
        )

    def refund(self, attempt: Attempt) -> RefundAnswer:
        """Give money back; repeat it with identical parameters only.

        Args:
            attempt: Holds ``order_no``, ``refund_no``, ``amount`` and ``total`` (fen), ``currency``.

        Raises:
            RetryError: Nothing was sent.
            WaitError: The merchant's account holds too little.
            GiveUpError: WeChat Pay refuses the merchant, the order or the amount.
            UnknownOutcomeError: It may have been accepted: repeat it, or ask :meth:`query_refund`.
            DeniedError: The policy does not let it out.
        """
        url = self._credentials.notify_url
        configured = {} if url is None else {"notify_url": url}
        reply = self._send(self._refund, configured, attempt)
        if reply.status != 200:
            raise codes.fault(reply.status, reply.code, asks=False)
        return self._refund_answer(reply, attempt, UnknownOutcomeError)

    def query_refund(self, attempt: Attempt) -> RefundAnswer:
        """Ask what became of a refund.

        Args:
            attempt: Holds ``refund_no``.

        Raises:
            RetryError: No clear answer; asking again is harmless.
            WaitError: Not now.
            GiveUpError: WeChat Pay refuses the merchant or the question.
            DeniedError: The policy does not let it out.
        """
        reply = self._ask(self._refund_query, {}, attempt)
        if reply is None:
            refund_no = str(attempt.held.get("refund_no"))
            return RefundAnswer(refund_no=refund_no, provider_no=None, state="missing", amount=None)
        return self._refund_answer(reply, attempt, RetryError)

    def bill(self, attempt: Attempt) -> list[BillLine]:
        """Every line of one day's bill.

        Args:
            attempt: Holds ``bill_date``, ``YYYY-MM-DD`` in China; written from ten in the morning
                of the next day.

        Raises:
            RetryError: No clear answer; asking again is harmless.
            WaitError: The bill is not written yet.
            GiveUpError: WeChat Pay refuses the merchant or the question.
            DeniedError: The policy does not let it out.
        """
        link = self.bill_link(attempt)
        return [] if link is None else self.download_bill(attempt, link)

    def bill_link(self, attempt: Attempt) -> BillLink | None:
        """Apply for a bill; None if nothing was traded on that day. See :meth:`bill`."""
        reply = self._ask(self._bill, {}, attempt, missing=codes.NO_BILL)
        if reply is None:
            return None
        url, sha1 = str(reply.fields.get("download_url")), reply.fields.get("hash_value")
        _, mark, token = url.partition("?token=")
        if reply.fields.get("hash_type") != "SHA1" or not mark or not isinstance(sha1, str):
            raise _another_answer()
        return BillLink(token, sha1.lower())

    def download_bill(self, attempt: Attempt, link: BillLink) -> list[BillLine]:
        """Fetch a bill that :meth:`bill_link` found."""
        reply = self._ask(
            self._download, {"token": link.token}, attempt, verify=partial(_is_file, link.sha1)
        )
        if reply is None:
            raise _another_answer()
        try:
            return [_line(row) for row in reply.fields.get("rows", ())]
        except (KeyError, InvalidValue):
            raise _another_answer() from None

    def _refund_answer(
        self, reply: Reply, attempt: Attempt, unclear: type[RetryError | UnknownOutcomeError]
    ) -> RefundAnswer:
        kept, refund_no = reply.fields, str(attempt.held.get("refund_no"))
        state = _REFUND_STATES.get(str(kept.get("status")))
        if state is None or kept.get("out_refund_no") != refund_no:
            raise unclear("WeChat Pay answered about another refund.", code="provider.no_answer")
        return RefundAnswer(
            refund_no=refund_no,
            provider_no=kept.get("refund_id"),
            state=state,
            amount=_fen(kept.get("amount.refund")),
        )

    def _ask(
        self,
        operation: Operation,
        configured: Mapping[str, str],
        attempt: Attempt,
        *,
        missing: frozenset[str] = codes.MISSING,
        verify: Verifier | None = None,
    ) -> Reply | None:
        """A question's answer; None if there is no such thing."""
        try:
            reply = self._send(operation, configured, attempt, verify)
        except UnknownOutcomeError as unclear:
            raise RetryError(
                "WeChat Pay did not answer the question; ask again.", code=unclear.code
            ) from None
        if reply.status == 200:
            return reply
        if 400 <= reply.status < 500 and reply.code in missing:
            return None
        raise codes.fault(reply.status, reply.code, asks=True)

    def _send(
        self,
        operation: Operation,
        configured: Mapping[str, str],
        attempt: Attempt,
        verify: Verifier | None = None,
    ) -> Reply:
        request = operation.minimize(attempt.held, configured)
        return self._gate.send(
            request, sign=self._sign, attempt=attempt, verify=verify or self._is_signed
        )

    def _is_signed(self, _status: int, headers: Mapping[str, str], body: bytes) -> bool:
        try:
            verify_message(headers, body, self._credentials.keys, self._clock())
        except CallbackRefused:
            return False
        return True


def _is_file(sha1: str, _status: int, _headers: Mapping[str, str], body: bytes) -> bool:
    digest = hashlib.sha1(body).hexdigest()  # noqa: S324  # the provider's choice
    return hmac.compare_digest(digest, sha1)


def _line(row: Mapping[str, Any]) -> BillLine:
    refunds = row["交易状态"] in {"REFUND", "REVOKED"}
    return BillLine(
        order_no=row["商户订单号"],
        provider_no=row["微信订单号"],
        refund_no=row["商户退款单号"] if refunds else None,
        amount=0 if refunds else fen_of(row["订单金额"]),
        refund_amount=fen_of(row["申请退款金额"]) if refunds else 0,
        state=_BILL_STATES.get(row.get("退款状态", ""), "refunding") if refunds else "paid",
    )


def _fen(value: object) -> int | None:
    return value if type(value) is int else None


def _time(text: object) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _another_answer() -> RetryError:
    return RetryError("WeChat Pay answered another question.", code="provider.no_answer")
