"""What to do about each answer of Jiguang's push service, as one table.

Codes and meanings: docs.jiguang.cn, JPush, "REST API v3", 推送 API, 调用返回. Whatever leaves open
whether a device was reached has an unknown outcome: it is repeated under the same cid, and under no
other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from integrations.remedy import UNCLEAR, Remedy, remedied
from models.errors import GiveUpError, WaitError

if TYPE_CHECKING:
    from integrations.reply import Reply
    from models.errors import ZjjError

__all__ = ["PUSH_REMEDIES", "RATE_RESET", "TOKEN_STALE", "push_fault"]

RATE_RESET = "x-rate-limit-reset"
"""Header: seconds until the application may call again (docs.jiguang.cn, JPush, 频率控制)."""

TOKEN_STALE = "provider.token_stale"  # noqa: S105 - a reason code
"""Reason code: no device listens under this token any more; forget it."""

_LONGEST_WAIT = 3600.0

_SLOW_DOWN = Remedy(
    WaitError, "provider.throttled", "Jiguang asks for fewer requests.", retry_after=60.0
)
_QUOTA = Remedy(
    WaitError, "provider.quota_spent", "A quota of pushes is used up for now.", retry_after=600.0
)
_VOLUME = Remedy(
    WaitError,
    "provider.quota_spent",
    "Jiguang takes no more pushes of this application today; a person may raise it.",
    retry_after=3600.0,
    stops_recipient=True,
)
_TOKEN = Remedy(GiveUpError, TOKEN_STALE, "No device listens under this push token.")
_PUSH = Remedy(GiveUpError, "provider.push_refused", "Jiguang refuses this push.")
_REQUEST = Remedy(
    GiveUpError,
    "provider.request_refused",
    "Jiguang does not understand our requests.",
    stops_recipient=True,
)
_ACCOUNT = Remedy(
    GiveUpError,
    "provider.account_refused",
    "Jiguang refuses the application: its key, its rights or our address.",
    stops_recipient=True,
)

PUSH_REMEDIES: dict[str, Remedy] = {
    "1011": _TOKEN,
    "2002": _SLOW_DOWN,
    "1012": _QUOTA,
    "2005": _VOLUME,
    "1003": _PUSH,
    "1005": _PUSH,
    "1001": _REQUEST,
    "1002": _REQUEST,
    "1009": _REQUEST,
    "1020": _REQUEST,
    "1035": _REQUEST,
    "7002": _REQUEST,
    "7008": _REQUEST,
    "7013": _REQUEST,
    "1004": _ACCOUNT,
    "1008": _ACCOUNT,
    "2003": _ACCOUNT,
    "2004": _ACCOUNT,
    "2006": _ACCOUNT,
    "2007": _ACCOUNT,
    "7001": _ACCOUNT,
    "7004": _ACCOUNT,
    "1000": UNCLEAR,
    "1030": UNCLEAR,
    "7000": UNCLEAR,
    "7030": UNCLEAR,
}
"""By Jiguang's code, which comes with errors only."""


def push_fault(reply: Reply, *, asks: bool) -> ZjjError | None:
    """Sort one answer.

    Args:
        reply: From 500 on nothing in the body is trusted.
        asks: Whether the request can be repeated without harm whatever came of it.

    Returns:
        None for a success, else the error to raise.
    """
    if 200 <= reply.status < 300 and reply.code is None:
        return None
    remedies = PUSH_REMEDIES
    if reply.code == "2002" and (seconds := reply.headers.get(RATE_RESET, "")).isdecimal():
        wait = min(max(1.0, float(seconds)), _LONGEST_WAIT)
        remedies = {"2002": replace(_SLOW_DOWN, retry_after=wait)}
    return remedied(remedies, reply.code, asks=asks, unclear=reply.status >= 500)
