"""One app of a merchant at Alipay: ask for orders and refunds, give money back, fetch the bill.

``out_request_no`` is the provider's idempotency number, so a refund may be asked for again, with
identical parameters.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from integrations.alipay import codes
from integrations.alipay.signing import is_own, signer
from integrations.money import fen_of
from integrations.payments import BillLine, OrderAnswer, OrderState, RefundAnswer
from models.clock import BEIJING, utc_now
from models.errors import InvalidValue, RetryError, UnknownOutcomeError

if TYPE_CHECKING:
    from integrations.alipay.credentials import AlipayCredentials
    from integrations.gate import Gate, Verifier
    from integrations.policy import Operation
    from integrations.reply import Reply
    from models.attempts import Attempt
    from models.clock import Clock

__all__ = ["Alipay"]

_STATES: Mapping[str, OrderState] = {
    "WAIT_BUYER_PAY": "open",
    "TRADE_SUCCESS": "paid",
    "TRADE_FINISHED": "paid",
    "TRADE_CLOSED": "closed",
}


class Alipay:
    """One app behind the gate.

    Args:
        gate: The way out.
        credentials: Who the app and its merchant are.
        clock: Dates the requests.

    Raises:
        ConfigurationError: The policy lacks the operations.
    """

    def __init__(
        self, gate: Gate, credentials: AlipayCredentials, *, clock: Clock = utc_now
    ) -> None:
        self._gate = gate
        self._credentials = credentials
        self._sign = signer(credentials, clock=clock)
        self._order = gate.policy.operation("alipay.order.query")
        self._refund = gate.policy.operation("alipay.refund")
        self._refund_query = gate.policy.operation("alipay.refund.query")
        self._bill = gate.policy.operation("alipay.bill")
        self._download = gate.policy.operation("alipay.bill.download")

    def query_order(self, attempt: Attempt) -> OrderAnswer:
        """Ask what became of an order.

        Args:
            attempt: Holds ``order_no``.

        Raises:
            RetryError: No clear answer; asking again is harmless.
            WaitError: Not now.
            GiveUpError: Alipay refuses the app or the question.
            DeniedError: The policy does not let it out.
        """
        order_no = str(attempt.held.get("order_no"))
        kept = self._ask(self._order, attempt)
        state = "missing" if kept is None else _STATES.get(str(kept.get("trade_status")))
        kept = kept or {}
        if state is None or (state != "missing" and kept.get("out_trade_no") != order_no):
            raise _another_answer()
        paid_at = _time(kept.get("send_pay_date"))
        return OrderAnswer(
            order_no=order_no,
            provider_no=kept.get("trade_no"),
            # A trade that was paid and closed was given back whole.
            state="refunded" if state == "closed" and paid_at is not None else state,
            amount=_fen(kept.get("total_amount")),
            currency="CNY",
            at=paid_at,
        )

    def refund(self, attempt: Attempt) -> RefundAnswer:
        """Give money back; repeat it with identical parameters only.

        Args:
            attempt: Holds ``order_no``, ``refund_no`` and ``amount`` (fen).

        Raises:
            RetryError: Nothing was sent.
            WaitError: The seller's account holds too little.
            GiveUpError: Alipay refuses the app, the order or the amount.
            UnknownOutcomeError: It may have been accepted: repeat it, or ask :meth:`query_refund`.
            DeniedError: The policy does not let it out.
        """
        kept, reply = self._kept(self._refund, attempt)
        if kept.get("code") != codes.OK:
            raise codes.fault(reply.status, kept.get("code"), kept.get("sub_code"), asks=False)
        if kept.get("out_trade_no") != attempt.held.get("order_no"):
            raise UnknownOutcomeError(
                "Alipay answered about another order.", code="provider.no_answer"
            )
        return RefundAnswer(
            refund_no=str(attempt.held.get("refund_no")),
            provider_no=kept.get("trade_no"),
            # Without a change of funds the query decides.
            state="refunded" if kept.get("fund_change") == "Y" else "processing",
            amount=int(str(attempt.held.get("amount"))),
        )

    def query_refund(self, attempt: Attempt) -> RefundAnswer:
        """Ask what became of a refund.

        Args:
            attempt: Holds ``order_no`` and ``refund_no``.

        Raises:
            RetryError: No clear answer; asking again is harmless.
            WaitError: Not now.
            GiveUpError: Alipay refuses the app or the question.
            DeniedError: The policy does not let it out.
        """
        refund_no = str(attempt.held.get("refund_no"))
        kept = self._ask(self._refund_query, attempt) or {}
        done = kept.get("refund_status") == "REFUND_SUCCESS"
        if done and kept.get("out_request_no") != refund_no:
            raise _another_answer()
        return RefundAnswer(
            refund_no=refund_no,
            provider_no=kept.get("trade_no"),
            state="refunded" if done else "missing",
            amount=_fen(kept.get("refund_amount")) if done else None,
        )

    def bill(self, attempt: Attempt) -> list[BillLine]:
        """Every line of one day's bill.

        Args:
            attempt: Holds ``bill_date``, ``YYYY-MM-DD`` in China; written from nine in the morning
                of the next day.

        Raises:
            RetryError: No clear answer; asking again is harmless.
            WaitError: Not now.
            GiveUpError: Alipay refuses the app or the question.
            DeniedError: The policy does not let it out.
        """
        link = self.bill_link(attempt)
        return [] if link is None else self.download_bill(attempt, link)

    def bill_link(self, attempt: Attempt) -> dict[str, str] | None:
        """Apply for a bill: the parameters to fetch it with, good for thirty seconds.

        None if nothing was traded on that day. See :meth:`bill`.
        """
        kept = self._ask(self._bill, attempt, missing=codes.NO_BILL)
        if kept is None:
            return None
        _, _, query = str(kept.get("bill_download_url")).partition("?")
        link = dict(parse_qsl(query))
        if link.keys() != self._download.configured_names:
            raise _another_answer()
        return link

    def download_bill(self, attempt: Attempt, link: Mapping[str, str]) -> list[BillLine]:
        """Fetch a bill that :meth:`bill_link` found."""
        request = self._download.minimize(attempt.held, link)
        try:
            reply = self._gate.send(request, sign=lambda _: {}, attempt=attempt)
        except UnknownOutcomeError:
            raise _another_answer() from None
        if reply.status != 200:
            raise _another_answer()
        try:
            return [_line(row) for row in reply.fields.get("rows", ())]
        except (KeyError, InvalidValue):
            raise _another_answer() from None

    def _ask(
        self, operation: Operation, attempt: Attempt, *, missing: frozenset[str] = codes.MISSING
    ) -> dict[str, Any] | None:
        """A question's answer; None if there is no such thing."""
        try:
            kept, reply = self._kept(operation, attempt)
        except UnknownOutcomeError as unclear:
            raise RetryError(
                "Alipay did not answer the question; ask again.", code=unclear.code
            ) from None
        if kept.get("code") == codes.OK:
            return kept
        if kept.get("sub_code") in missing:
            return None
        raise codes.fault(reply.status, kept.get("code"), kept.get("sub_code"), asks=True)

    def _kept(self, operation: Operation, attempt: Attempt) -> tuple[dict[str, Any], Reply]:
        name = f"{operation.fields['method'].const}_response".replace(".", "_")
        request = operation.minimize(attempt.held, {"app_id": self._credentials.app_id})
        verify: Verifier = partial(self._is_own, name)
        reply = self._gate.send(request, sign=self._sign, attempt=attempt, verify=verify)
        return {path.partition(".")[2]: value for path, value in reply.fields.items()}, reply

    def _is_own(self, name: str, _status: int, _headers: Mapping[str, str], body: bytes) -> bool:
        return is_own(body, name, self._credentials.alipay_public_key)


def _line(row: Mapping[str, Any]) -> BillLine:
    refunds = row["业务类型"] == "退款"
    amount = fen_of(row["订单金额（元）"].removeprefix("-"))
    return BillLine(
        order_no=row["商户订单号"],
        provider_no=row["支付宝交易号"],
        refund_no=row["退款批次号/请求号"] if refunds else None,
        amount=0 if refunds else amount,
        refund_amount=amount if refunds else 0,
        state="refunded" if refunds else "paid",
    )


def _fen(yuan: object) -> int | None:
    try:
        return fen_of(yuan) if isinstance(yuan, str) else None
    except InvalidValue:
        return None


def _time(text: object) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment and moment.replace(tzinfo=BEIJING)


def _another_answer() -> RetryError:
    return RetryError("Alipay answered another question.", code="provider.no_answer")
