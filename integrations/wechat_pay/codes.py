"""What to do about each answer of WeChat Pay, as one table.

Codes and meanings: WeChat Pay's documents "Error codes" of API v3 and the error tables of "Query
order", "Refund", "Query refund" and "Apply for trade bill"; those of API v2 for its two queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.remedy import Remedy, remedied
from models.errors import GiveUpError, RetryError, WaitError

if TYPE_CHECKING:
    from models.errors import ZjjError

__all__ = ["MISSING", "NO_BILL", "REMEDIES", "fault"]

MISSING = frozenset(
    {"ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS", "REFUNDNOTEXIST", "NOT_FOUND"}
)
"""There is no such order or refund; shortly after one was made this proves nothing."""
NO_BILL = frozenset({"NO_STATEMENT_EXIST"})
"""Nothing was traded on that day."""

_REQUEST = Remedy(
    GiveUpError, "provider.request_refused", "WeChat Pay refuses what the request asks for."
)
_ACCOUNT = Remedy(
    GiveUpError,
    "provider.account_refused",
    "WeChat Pay refuses the merchant, its certificate or its rights.",
    stops_recipient=True,
)
_PAYER = Remedy(GiveUpError, "provider.payer_refused", "The payer's account takes no refund.")
_BALANCE = Remedy(
    WaitError,
    "provider.balance_short",
    "The merchant's account holds too little to refund; a person may fill it.",
    retry_after=3600.0,
)
_LATER = Remedy(RetryError, "provider.unavailable", "WeChat Pay is not at its best; ask again.")
_SLOW_DOWN = Remedy(RetryError, "provider.throttled", "WeChat Pay asks for fewer requests.", 5.0)
_BILL_LATER = Remedy(
    WaitError, "provider.bill_not_ready", "WeChat Pay still writes this bill.", retry_after=1800.0
)

REMEDIES: dict[str, Remedy] = {
    "PARAM_ERROR": _REQUEST,
    "INVALID_REQUEST": _REQUEST,
    "MCH_NOT_EXISTS": _ACCOUNT,
    "SIGN_ERROR": _ACCOUNT,
    "NO_AUTH": _ACCOUNT,
    "APPID_MCHID_NOT_MATCH": _ACCOUNT,
    "USER_ACCOUNT_ABNORMAL": _PAYER,
    "NOT_ENOUGH": _BALANCE,
    "RATELIMIT_EXCEEDED": _SLOW_DOWN,
    "RATE_LIMITED": _SLOW_DOWN,
    "FREQUENCY_LIMITED": _SLOW_DOWN,
    "SYSTEM_ERROR": _LATER,
    "STATEMENT_CREATING": _BILL_LATER,
    # Of API v2.
    "SYSTEMERROR": _LATER,
    "INVALID_TRANSACTIONID": _REQUEST,
    "SIGNERROR": _ACCOUNT,
    "NOAUTH": _ACCOUNT,
    **dict.fromkeys(("ORDER_NOT_EXIST", "RESOURCE_NOT_EXISTS", "NOT_FOUND"), _REQUEST),
}
"""By WeChat Pay's code. What is throttled or failed may have been carried out, so for an order to
refund both have an unknown outcome; it is repeated with identical parameters or asked for."""


def fault(status: int, code: object, *, asks: bool) -> ZjjError:
    """The error for an answer that is no success.

    Args:
        status: Of HTTP. From 500 on nothing in the body is trusted.
        code: ``code`` (v3) or ``err_code`` (v2), as it came.
        asks: The request was a question.
    """
    return remedied(REMEDIES, code, asks=asks, unclear=status >= 500)
