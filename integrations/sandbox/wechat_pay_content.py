"""Orders and refunds as WeChat Pay tells them, payers and accounts included."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from integrations.sandbox.merchants import APPID, MCHID
from models.clock import BEIJING

if TYPE_CHECKING:
    from integrations.sandbox.till import Order, Refund, RefundResult

__all__ = ["V2_RESULTS", "paid_v2", "refunded", "refunded_v2", "told_at", "transaction"]

_RESULTS: dict[RefundResult, str] = {
    "processing": "PROCESSING",
    "refunded": "SUCCESS",
    "closed": "CLOSED",
    "failed": "ABNORMAL",
}
V2_RESULTS: dict[RefundResult, str] = {
    "processing": "PROCESSING",
    "refunded": "SUCCESS",
    "closed": "REFUNDCLOSE",
    "failed": "CHANGE",
}


def transaction(order: Order) -> dict[str, Any]:
    """An order as WeChat Pay tells it, payer included."""
    state = "CLOSED" if order.closed else "NOTPAY"
    content: dict[str, Any] = {
        "appid": APPID,
        "mchid": MCHID,
        "out_trade_no": order.order_no,
        "attach": "",
        "amount": {"total": order.total, "currency": "CNY"},
    }
    if order.paid_at is not None:
        state = "REFUND" if order.refunds else "SUCCESS"
        content |= {
            "transaction_id": order.provider_no,
            "trade_type": "JSAPI",
            "bank_type": "OTHERS",
            "success_time": told_at(order.paid_at),
            "payer": {"openid": order.buyer.openid},
            "amount": {
                "total": order.total,
                "payer_total": order.total,
                "currency": "CNY",
                "payer_currency": "CNY",
            },
        }
    return {**content, "trade_state": state, "trade_state_desc": "沙箱"}


def refunded(order: Order, refund: Refund, result: RefundResult) -> dict[str, Any]:
    """A refund as WeChat Pay tells it, account included."""
    return {
        "refund_id": refund.provider_no,
        "out_refund_no": refund.refund_no,
        "transaction_id": order.provider_no,
        "out_trade_no": order.order_no,
        "channel": "ORIGINAL",
        "user_received_account": "沙箱零钱",
        "create_time": told_at(refund.at),
        "success_time": told_at(refund.at),
        "status": _RESULTS[result],
        "amount": {
            "total": order.total,
            "refund": refund.amount,
            "payer_total": order.total,
            "payer_refund": refund.amount,
            "currency": "CNY",
        },
    }


def paid_v2(order: Order) -> dict[str, str]:
    """A paid order as API v2 tells it, payer included."""
    moment = dt.datetime.fromtimestamp(order.paid_at or 0, BEIJING)
    return {
        "openid": order.buyer.openid,
        "trade_type": "JSAPI",
        "bank_type": "OTHERS",
        "total_fee": str(order.total),
        "cash_fee": str(order.total),
        "fee_type": "CNY",
        "transaction_id": order.provider_no,
        "out_trade_no": order.order_no,
        "time_end": moment.strftime("%Y%m%d%H%M%S"),
    }


def refunded_v2(order: Order, refund: Refund, result: RefundResult) -> dict[str, str]:
    """A refund as API v2 tells it, account included."""
    return {
        "transaction_id": order.provider_no,
        "out_trade_no": order.order_no,
        "total_fee": str(order.total),
        "refund_count": "1",
        "out_refund_no_0": refund.refund_no,
        "refund_id_0": refund.provider_no,
        "refund_fee_0": str(refund.amount),
        "refund_status_0": V2_RESULTS[result],
        "refund_recv_accout_0": "沙箱零钱",
    }


def told_at(at: float) -> str:
    """A moment as API v3 writes it."""
    return dt.datetime.fromtimestamp(at, BEIJING).isoformat(timespec="seconds")
