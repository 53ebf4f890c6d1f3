"""What to do about each answer of Jiguang's one-click login, as one table.

Codes and meanings: docs.jiguang.cn, 极光认证, "返回码说明". A token works once, so whatever is not a
clear refusal has an unknown outcome; the person asks for a new token.
"""

from __future__ import annotations

from integrations.remedy import Remedy
from models.errors import GiveUpError, UnknownOutcomeError, WaitError, ZjjError

__all__ = ["JIGUANG_REMEDIES", "OK", "login_fault"]

OK = "8000"
"""The reply holds a phone number."""

_TOKEN = Remedy(
    GiveUpError, "provider.token_refused", "Jiguang refuses the token; a new one is needed."
)
_LIMIT = Remedy(
    WaitError, "provider.throttled", "Jiguang asks for fewer requests.", retry_after=1.0
)
_ACCOUNT = Remedy(
    GiveUpError,
    "provider.account_refused",
    "Jiguang refuses the application: its key, its rights or its balance.",
    stops_recipient=True,
)
_REQUEST = Remedy(
    GiveUpError,
    "provider.request_refused",
    "Jiguang does not understand our requests.",
    stops_recipient=True,
)
_UNCLEAR = Remedy(
    UnknownOutcomeError,
    "provider.outcome_unknown",
    "Jiguang's answer leaves open whether the token is spent.",
)

JIGUANG_REMEDIES: dict[str, Remedy] = {
    "8001": _TOKEN,
    "9003": _TOKEN,
    "9005": _TOKEN,
    "9006": _TOKEN,
    "9012": _TOKEN,
    "1804": _LIMIT,
    "6005": _LIMIT,
    "1801": _ACCOUNT,
    "1802": _ACCOUNT,
    "1803": _ACCOUNT,
    "1805": _ACCOUNT,
    "9004": _ACCOUNT,
    "9007": _ACCOUNT,
    "9010": _ACCOUNT,
    "9011": _ACCOUNT,
    "9014": _ACCOUNT,
    "9018": _ACCOUNT,
    "9031": _ACCOUNT,
    "9013": _REQUEST,
    "9015": _REQUEST,
    "2000": _UNCLEAR,
    "9002": _UNCLEAR,
    "9099": _UNCLEAR,
}
"""By Jiguang's code; ``8000`` is no fault."""


def login_fault(status: int, code: str | None) -> ZjjError | None:
    """Sort one answer.

    Args:
        status: Of HTTP. From 500 on nothing in the body is trusted.
        code: Of the body.

    Returns:
        None if the reply holds a number, else the error to raise.
    """
    if status == 200 and code == OK:
        return None
    remedy = _UNCLEAR if status >= 500 else JIGUANG_REMEDIES.get(code or "", _UNCLEAR)
    return remedy.as_error(code)
