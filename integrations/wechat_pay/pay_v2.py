"""A merchant of WeChat Pay whose orders are made with API v2.

Orders and refunds are asked for with API v2. Money is given back, and bills are fetched, with API
v3, which serves the same orders and needs no client certificate.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING

from integrations.flat_xml import Entangled, flat_xml
from integrations.payments import BillLine, OrderAnswer, OrderState, RefundAnswer, RefundState
from integrations.wechat_pay import codes
from integrations.wechat_pay.v2 import is_signed, signer
from models.errors import ConfigurationError, RetryError, UnknownOutcomeError

if TYPE_CHECKING:
    from integrations.gate import Gate
    from integrations.policy import Operation
    from integrations.reply import Reply
    from integrations.wechat_pay.credentials import WechatPayV2Credentials
    from integrations.wechat_pay.pay import WechatPay
    from models.attempts import Attempt

__all__ = ["WechatPayV2"]

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
    "REFUNDCLOSE": "closed",
    "CHANGE": "failed",
}


class WechatPayV2:
    """One merchant behind the gate.

    Args:
        gate: The way out.
        credentials: Who the merchant is to API v2.
        v3: The same merchant to API v3, for refunds and bills.

    Raises:
        ConfigurationError: The policy lacks the operations.
    """

    def __init__(
        self, gate: Gate, credentials: WechatPayV2Credentials, *, v3: WechatPay | None = None
    ) -> None:
        self._gate = gate
        self._credentials = credentials
        self._v3 = v3
        self._sign = signer(credentials)
        self._order = gate.policy.operation("wechat_pay.v2.order.query")
        self._refund_query = gate.policy.operation("wechat_pay.v2.refund.query")

    def query_order(self, attempt: Attempt) -> OrderAnswer:
        """Ask what became of an order; as :meth:`WechatPay.query_order`."""
        order_no = str(attempt.held.get("order_no"))
        reply = self._ask(self._order, attempt)
        kept: Mapping[str, object] = {} if reply is None else reply.fields
        state = "missing" if reply is None else _ORDER_STATES.get(str(kept.get("trade_state")))
        if state is None or (reply is not None and kept.get("out_trade_no") != order_no):
            raise _another_answer()
        return OrderAnswer(
            order_no=order_no,
            provider_no=_text(kept.get("transaction_id")),
            state=state,
            amount=_fen(kept.get("total_fee")),
            currency=_text(kept.get("fee_type")) or "CNY",
            at=_time(kept.get("time_end")),
        )

    def refund(self, attempt: Attempt) -> RefundAnswer:
        """Give money back; as :meth:`WechatPay.refund`.

        Raises:
            ConfigurationError: Also when the merchant has no credentials for API v3.
        """
        return self._newer().refund(attempt)

    def query_refund(self, attempt: Attempt) -> RefundAnswer:
        """Ask what became of a refund; as :meth:`WechatPay.query_refund`."""
        refund_no = str(attempt.held.get("refund_no"))
        reply = self._ask(self._refund_query, attempt)
        kept: Mapping[str, object] = {} if reply is None else reply.fields
        state = "missing" if reply is None else _REFUND_STATES.get(str(kept.get("refund_status_0")))
        if state is None or (reply is not None and kept.get("out_refund_no_0") != refund_no):
            raise _another_answer()
        return RefundAnswer(
            refund_no=refund_no,
            provider_no=_text(kept.get("refund_id_0")),
            state=state,
            amount=_fen(kept.get("refund_fee_0")),
        )

    def bill(self, attempt: Attempt) -> list[BillLine]:
        """Every line of one day's bill; as :meth:`WechatPay.bill`.

        Raises:
            ConfigurationError: Also when the merchant has no credentials for API v3.
        """
        return self._newer().bill(attempt)

    def _newer(self) -> WechatPay:
        if self._v3 is None:
            raise ConfigurationError("this needs the merchant's credentials for API v3")
        return self._v3

    def _ask(self, operation: Operation, attempt: Attempt) -> Reply | None:
        credentials = self._credentials
        configured = {
            "appid": credentials.appid,
            "mchid": credentials.mchid,
            "sign_type": credentials.algorithm,
        }
        request = operation.minimize(attempt.held, configured)
        try:
            reply = self._gate.send(
                request, sign=self._sign, attempt=attempt, verify=self._is_signed
            )
        except UnknownOutcomeError as unclear:
            raise RetryError(
                "WeChat Pay did not answer the question; ask again.", code=unclear.code
            ) from None
        if reply.status != 200 or reply.fields.get("return_code") != "SUCCESS":
            raise codes.fault(reply.status, None, asks=True)
        if reply.fields.get("result_code") == "SUCCESS":
            return reply
        code = reply.fields.get("err_code")
        if code in codes.MISSING:
            return None
        raise codes.fault(reply.status, code, asks=True)

    def _is_signed(self, _status: int, _headers: Mapping[str, str], body: bytes) -> bool:
        try:
            texts = flat_xml(body, foreign=True)
        except Entangled:
            return False
        return is_signed(texts, self._credentials.key, self._credentials.algorithm)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _fen(value: object) -> int | None:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else None


def _time(text: object) -> dt.datetime | None:
    try:
        # China knows one time zone and no summer time.
        return dt.datetime.strptime(f"{text}+0800", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None


def _another_answer() -> RetryError:
    return RetryError("WeChat Pay answered another question.", code="provider.no_answer")
