"""What to do about each answer of Alipay, as one table.

Codes and meanings: Alipay's document "Common error codes" and the error tables of
alipay.trade.query, alipay.trade.refund, alipay.trade.fastpay.refund.query and
alipay.data.dataservice.bill.downloadurl.query (opendocs.alipay.com).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.remedy import Remedy, remedied
from models.errors import GiveUpError, RetryError, WaitError

if TYPE_CHECKING:
    from models.errors import ZjjError

__all__ = ["MISSING", "NO_BILL", "OK", "REMEDIES", "fault"]

OK = "10000"
MISSING = frozenset({"ACQ.TRADE_NOT_EXIST"})
"""There is no such trade; also while the buyer has not opened the cashier."""
NO_BILL = frozenset({"isp.bill_not_exist"})
"""Nothing was traded on that day, or its bill is not written yet."""

_REQUEST = Remedy(GiveUpError, "provider.request_refused", "Alipay refuses what is asked for.")
_ACCOUNT = Remedy(
    GiveUpError,
    "provider.account_refused",
    "Alipay refuses the app, its key or its rights.",
    stops_recipient=True,
)
_PAYER = Remedy(GiveUpError, "provider.payer_refused", "The payer's account takes no refund.")
_BALANCE = Remedy(
    WaitError,
    "provider.balance_short",
    "The seller's account holds too little to refund; a person may fill it.",
    retry_after=3600.0,
)
_LATER = Remedy(RetryError, "provider.unavailable", "Alipay is not at its best; ask again.")
_SLOW_DOWN = Remedy(RetryError, "provider.throttled", "Alipay asks for fewer requests.", 5.0)

_BY_CODE: dict[str, Remedy] = {
    "20000": _LATER,
    "20001": _ACCOUNT,
    "40001": _REQUEST,
    "40002": _REQUEST,
    "40005": _SLOW_DOWN,
    "40006": _ACCOUNT,
}
REMEDIES: dict[str, Remedy] = {
    "ACQ.SYSTEM_ERROR": _LATER,
    "aop.ACQ.SYSTEM_ERROR": _LATER,
    "isp.unknow-error": _LATER,
    "aop.unknow-error": _LATER,
    "ACQ.INVALID_PARAMETER": _REQUEST,
    "ACQ.TRADE_NOT_EXIST": _REQUEST,
    "ACQ.TRADE_HAS_FINISHED": _REQUEST,
    "ACQ.TRADE_STATUS_ERROR": _REQUEST,
    "ACQ.TRADE_NOT_ALLOW_REFUND": _REQUEST,
    "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL": _REQUEST,
    "ACQ.DISCORDANT_REPEAT_REQUEST": _REQUEST,
    "ACQ.REASON_TRADE_REFUND_FEE_ERR": _REQUEST,
    "ACQ.REASON_TRADE_BEEN_FREEZEN": _REQUEST,
    "ACQ.BUYER_ERROR": _PAYER,
    "ACQ.SELLER_BALANCE_NOT_ENOUGH": _BALANCE,
    "isv.invalid-app-id": _ACCOUNT,
    "isv.invalid-signature": _ACCOUNT,
    "isv.missing-signature": _ACCOUNT,
    "isv.invalid-timestamp": _ACCOUNT,
    "isv.insufficient-isv-permissions": _ACCOUNT,
    "isv.app-call-limited": _SLOW_DOWN,
}
"""By ``sub_code``; ``code`` decides when that is unknown."""


def fault(status: int, code: object, sub_code: object, *, asks: bool) -> ZjjError:
    """The error for an answer that is no success.

    Args:
        status: Of HTTP; only 200 comes from Alipay itself.
        code: ``code`` of the body, as it came.
        sub_code: ``sub_code`` of the body, as it came.
        asks: The request was a question.
    """
    remedies = dict(REMEDIES)
    if isinstance(sub_code, str) and sub_code not in remedies and isinstance(code, str):
        remedies |= {sub_code: _BY_CODE[code]} if code in _BY_CODE else {}
    if sub_code is None and code == "20000":
        sub_code = "isp.unknow-error"
    return remedied(remedies, sub_code, asks=asks, unclear=status != 200)
