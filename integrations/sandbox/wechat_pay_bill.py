"""A day's bill of WeChat Pay, payers and goods included (pay.weixin.qq.com, "Apply for trade bill")."""

from __future__ import annotations

import datetime as dt
import hmac
from typing import TYPE_CHECKING

from integrations.money import yuan_of
from integrations.sandbox.merchants import APPID, MCHID, till_keys
from models.clock import BEIJING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from integrations.sandbox.till import Order, OrderBook, Refund, RefundResult

__all__ = ["bill_of", "bill_token"]

_BILL = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,"
    "退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
_SUMS = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)


def bill_of(book: OrderBook, date: dt.date, results: Mapping[RefundResult, str]) -> bytes | None:
    """The file, or None for a day without trade.

    Args:
        book: The orders.
        date: In Beijing.
        results: WeChat Pay's words for what becomes of a refund.
    """
    rows = [
        _row(order, refund, results[book.result(refund)] if refund else "")
        for order, refund in book.traded_on(date)
    ]
    if not rows:
        return None
    sums = [str(len(rows)), *("0.00",) * 6]
    lines = [_BILL, *("`" + ",`".join(row) for row in rows), _SUMS, "`" + ",`".join(sums)]
    return "\ufeff".encode() + "\r\n".join(lines).encode() + b"\r\n"


def bill_token(date: str) -> str:
    """What the bill of a day is fetched with."""
    return f"{date}_{hmac.digest(till_keys().api_v3_key.encode(), date.encode(), 'sha256').hex()}"


def _row(order: Order, refund: Refund | None, status: str) -> Sequence[str]:
    at = order.paid_at if refund is None else refund.at
    moment = dt.datetime.fromtimestamp(at or 0, BEIJING).strftime("%Y-%m-%d %H:%M:%S")
    total = yuan_of(str(order.total))
    back = "0.00" if refund is None else yuan_of(str(refund.amount))
    kind = "SUCCESS" if refund is None else "REFUND"
    names = ("0", "0") if refund is None else (refund.provider_no, refund.refund_no)
    # WeChat Pay shows an order's total in the line of its payment only.
    shown = total if refund is None else "0.00"
    return [
        *(moment, APPID, MCHID, "0", "", order.provider_no, order.order_no),
        *("o-sandbox-payer", "JSAPI", kind, "OTHERS", "CNY", shown, "0.00", *names),
        *(back, "0.00", "" if refund is None else "ORIGINAL", status, "沙箱,手镯", ""),
        *("0.00000", "0.60%", shown, back, ""),
    ]
