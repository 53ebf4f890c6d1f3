"""What to do about each answer of Aliyun's identity verification, as one table.

Codes and meanings: help.aliyun.com, the return codes of "身份二要素核验" and "手机号三要素核验", and from
404 on those of "DescribeFaceVerify" (Cloudauth 2019-03-07). Codes of the gateway before it are those of :mod:`integrations.aliyun.codes`.

A verdict is billed, so it is asked for once. Of what is no verdict, only a fault on Aliyun's side
(500, 402 and HTTP 5xx) is worth a repetition, and only one, which is the task's rule.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from integrations.aliyun.codes import REMEDIES
from integrations.remedy import Remedy
from models.errors import GiveUpError, RetryError, UnknownOutcomeError, WaitError

if TYPE_CHECKING:
    from models.errors import ZjjError

__all__ = ["IDENTITY_REMEDIES", "PERSON_THROTTLED", "SERVED", "identity_fault"]

SERVED = "200"
"""The call was served; the verdict stands in ``BizCode``."""

PERSON_THROTTLED = "403"
"""Too many calls about one person; Aliyun's word for "stop asking about them"."""

_BUSY = Remedy(
    RetryError, "provider.unavailable", "Aliyun cannot verify at the moment.", retry_after=2.0
)
_MALFORMED = Remedy(
    GiveUpError, "provider.person_refused", "Aliyun refuses the form of this name or number."
)
_PERSON = Remedy(
    GiveUpError, "provider.person_throttled", "Aliyun was asked too often about this person."
)
_SEGMENT = Remedy(
    GiveUpError, "provider.number_refused", "Aliyun cannot verify numbers of this block."
)
_SCENE = Remedy(
    GiveUpError, "provider.scene_refused", "Aliyun knows no such scene or face verification."
)
_ACCOUNT = Remedy(
    GiveUpError,
    "provider.account_refused",
    "Aliyun refuses the account: not activated, not allowed, or not paid.",
    stops_recipient=True,
)
_DEVICE = Remedy(
    GiveUpError, "provider.device_refused", "Aliyun does not trust, or not support, this device."
)
_SOURCE = Remedy(
    GiveUpError, "provider.source_refused", "Aliyun's source has no use for this person's photo."
)
_RULES = Remedy(GiveUpError, "provider.rules_refused", "Aliyun's own rules refuse this one.")
_UNCLEAR = Remedy(
    UnknownOutcomeError,
    "provider.outcome_unknown",
    "Aliyun's answer leaves open whether it verified.",
)
_SLOW_DOWN = Remedy(
    WaitError, "provider.throttled", "Aliyun asks for fewer requests per second.", retry_after=1.0
)

IDENTITY_REMEDIES: dict[str, Remedy] = {
    "400": _MALFORMED,
    "401": _MALFORMED,
    "402": _BUSY,
    PERSON_THROTTLED: _PERSON,
    "404": _SCENE,
    "405": _SEGMENT,
    "406": _SCENE,
    "410": _ACCOUNT,
    "411": _ACCOUNT,
    "412": _ACCOUNT,
    "414": _DEVICE,
    "415": _DEVICE,
    "416": _DEVICE,
    "417": _SOURCE,
    "418": _PERSON,
    "427": _RULES,
    "500": _BUSY,
}
"""By the product's own code; ``200`` is no fault."""

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]{0,63}")
_NOT_OF_THIS_PRODUCT = ("isv.", "isp.")


def identity_fault(status: int, code: object, *, retry_after: str | None = None) -> ZjjError | None:
    """Sort one answer.

    Args:
        status: Of HTTP. From 500 on nothing in the body is trusted.
        code: ``Code`` of the body, as it came; ``None`` when there is none.
        retry_after: The header ``x-acs-retry-after`` in milliseconds; throttling on any 4xx.

    Returns:
        None if Aliyun gave a verdict, else the error to raise, with Aliyun's code if that has the
        form of one.
    """
    known = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    if status >= 500:
        return _BUSY.as_error(known)
    if status >= 400 and retry_after is not None and re.fullmatch(r"[1-9][0-9]{0,8}", retry_after):
        return _SLOW_DOWN.as_error(known, retry_after=max(int(retry_after) / 1000, 1.0))
    if known == SERVED:
        return None if status == 200 else _UNCLEAR.as_error(known)
    if known is None or known.startswith(_NOT_OF_THIS_PRODUCT):
        return _UNCLEAR.as_error(known)
    return (IDENTITY_REMEDIES.get(known) or _of_the_gateway(known)).as_error(known)


def _of_the_gateway(code: str) -> Remedy:
    families = (
        rule
        for name, rule in REMEDIES.items()
        if code == name or (name.endswith("*") and code.startswith(name[:-1]))
    )
    return next(families, _UNCLEAR)
