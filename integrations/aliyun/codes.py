"""What to do about each answer of Aliyun's products that send texts, as one table each.

Codes and meanings: Aliyun's documents "API error codes" of the Short Message Service
(help.aliyun.com, document_detail/101346), "Common error codes" of its API gateway
(document_detail/48054) and "Idempotence" of SendSms; the throttling header: tea-openapi 0.4.6.

Two rules are ours. A text must never be sent twice, so whatever is not a clear refusal has an
unknown outcome and is looked up before anything is repeated; this holds for every code that is
not in the table. And Aliyun's ``Message`` quotes the number (``…invalid mobile number``) or the
signed request itself, so it is read for the limit's window and goes nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from integrations.remedy import Remedy
from models.errors import GiveUpError, RetryError, UnknownOutcomeError, WaitError, ZjjError

__all__ = ["OK", "REMEDIES", "SMS_AUTH_REMEDIES", "fault"]

OK = "OK"
"""Accepted for delivery, which is not delivered."""


_CHECK = Remedy(
    UnknownOutcomeError,
    "provider.outcome_unknown",
    "Aliyun's answer leaves open whether the text was accepted; look it up before repeating.",
)
# Nonces are 128 random bits, so one that was "used" is a copy of our own bytes, made on the way.
_COPIED = Remedy(
    UnknownOutcomeError,
    "provider.request_repeated",
    "Aliyun has seen this very request before, so the first copy may have been accepted.",
)
_SLOW_DOWN = Remedy(
    WaitError, "provider.throttled", "Aliyun asks for fewer requests per second.", retry_after=1.0
)
_NUMBER_LIMIT = Remedy(
    WaitError,
    "provider.number_throttled",
    "Aliyun's limit of texts to one number is reached.",
    retry_after=60.0,
)
_NUMBER_LIMITS = {
    "分钟级": Remedy(
        WaitError,
        "provider.number_throttled.minute",
        "Aliyun's limit of texts to one number in a minute is reached.",
        retry_after=60.0,
    ),
    "小时级": Remedy(
        WaitError,
        "provider.number_throttled.hour",
        "Aliyun's hourly limit of texts to one number is reached; no one-time code lives so long.",
        retry_after=3600.0,
    ),
    "天级": Remedy(
        WaitError,
        "provider.number_throttled.day",
        "Aliyun's daily limit of texts to one number is reached; no one-time code lives so long.",
        retry_after=86400.0,
    ),
}
_QUOTA = Remedy(
    WaitError,
    "provider.quota_spent",
    "The account's own cap on texts is reached; a person may raise it.",
    # Aliyun does not say when its day or month turns, so look again each hour.
    retry_after=3600.0,
    stops_recipient=True,
)
_CLOCK = Remedy(
    RetryError,
    "provider.clock_refused",
    "Aliyun's clock and ours are more than 15 minutes apart.",
    retry_after=60.0,
    stops_recipient=True,
)
_NUMBER = Remedy(GiveUpError, "provider.number_refused", "Aliyun does not serve this number.")
_CONTENT = Remedy(
    GiveUpError, "provider.content_refused", "Aliyun refuses the variables of this text."
)
_TEMPLATE = Remedy(
    GiveUpError,
    "provider.template_refused",
    "Aliyun refuses this template, alone or with this signature or number.",
)
_SIGN = Remedy(
    GiveUpError,
    "provider.sign_refused",
    "Aliyun refuses the signature that stands before each text.",
    stops_recipient=True,
)
_REQUEST = Remedy(
    GiveUpError,
    "provider.request_refused",
    "Aliyun does not understand our requests: operation, version or a field is wrong.",
    stops_recipient=True,
)
_SCHEME = Remedy(
    GiveUpError,
    "provider.scheme_refused",
    "Aliyun refuses the scheme or the application under which number authentication is set up.",
    stops_recipient=True,
)
_ACCOUNT = Remedy(
    GiveUpError,
    "provider.account_refused",
    "Aliyun refuses the account or its access key.",
    stops_recipient=True,
)

_GATEWAY: dict[str, Remedy] = {
    "InternalError": _CHECK,
    "ServiceUnavailable": _CHECK,
    "SignatureNonceUsed": _COPIED,
    "Throttling": _SLOW_DOWN,
    "Throttling.*": _SLOW_DOWN,
    "Forbidden": _ACCOUNT,
    "Forbidden.*": _ACCOUNT,
    "InvalidAccessKeyId.*": _ACCOUNT,
    "InvalidSecurityToken.*": _ACCOUNT,
    "MissingSecurityToken": _ACCOUNT,
    "SignatureDoesNotMatch": _ACCOUNT,
    # Our program or our machine.
    "IncompleteSignature": _REQUEST,
    "InvalidAction.NotFound": _REQUEST,
    "InvalidVersion": _REQUEST,
    "InvalidTimeStamp.Format": _REQUEST,
    "Missing*": _REQUEST,
    "InvalidTimeStamp.Expired": _CLOCK,
}
"""What the gateway before all products says."""

REMEDIES: dict[str, Remedy] = {
    **_GATEWAY,
    # The text may or may not be on its way.
    "isp.SYSTEM_ERROR": _CHECK,
    "isp.GATEWAY_ERROR": _CHECK,
    # Too many, too fast.
    "isv.BUSINESS_LIMIT_CONTROL": _NUMBER_LIMIT,
    "isv.DAY_LIMIT_CONTROL": _QUOTA,
    "isv.MONTH_LIMIT_CONTROL": _QUOTA,
    # This number, for good.
    "isv.MOBILE_NUMBER_ILLEGAL": _NUMBER,
    "isv.CUSTOMER_REFUSED": _NUMBER,
    "isv.DOMESTIC_NUMBER_NOT_SUPPORTED": _NUMBER,
    # This text, for good.
    "isv.TEMPLATE_MISSING_PARAMETERS": _CONTENT,
    "isv.TEMPLATE_PARAMS_ILLEGAL": _CONTENT,
    "isv.INVALID_JSON_PARAM": _CONTENT,
    "isv.INVALID_PARAMETERS": _CONTENT,
    "isv.PARAM_LENGTH_LIMIT": _CONTENT,
    "isv.PARAM_NOT_SUPPORT_URL": _CONTENT,
    "isv.BLACK_KEY_CONTROL_LIMIT": _CONTENT,
    "isv.SMS_CONTENT_ILLEGAL": _CONTENT,
    "isv.UNSUPPORTED_CONTENT": _CONTENT,
    "isv.SMS_CONTENT_MISMATCH_TEMPLATE_TYPE": _CONTENT,
    "isv.MOBILE_COUNT_OVER_LIMIT": _CONTENT,
    # This template: other templates still work, so the recipient is not stopped.
    "isv.SMS_TEMPLATE_ILLEGAL": _TEMPLATE,
    "isv.SMS_SIGNATURE_SCENE_ILLEGAL": _TEMPLATE,
    "isv.SMS_TEST_NUMBER_LIMIT": _TEMPLATE,
    # The signature, or the sender's number behind it: every text bears it.
    "isv.SMS_SIGNATURE_ILLEGAL": _SIGN,
    "isv.SMS_SIGN_ILLEGAL": _SIGN,
    "isv.SIGN_STATE_ILLEGAL": _SIGN,
    "isv.EXTEND_CODE_ERROR": _SIGN,
    "isv.ONE_CODE_MULTIPLE_SIGN": _SIGN,
    "isv.CODE_EXCEED_LIMIT": _SIGN,
    "isv.CODE_ERROR": _SIGN,
    # The account, its balance, its key, our address.
    "isv.AMOUNT_NOT_ENOUGH": _ACCOUNT,
    "isv.OUT_OF_SERVICE": _ACCOUNT,
    "isv.PRODUCT_UN_SUBSCRIPT": _ACCOUNT,
    "isv.PRODUCT_UNSUBSCRIBE": _ACCOUNT,
    "isv.ACCOUNT_NOT_EXISTS": _ACCOUNT,
    "isv.ACCOUNT_ABNORMAL": _ACCOUNT,
    "isv.SECURITY_FROZEN_ACCOUNT": _ACCOUNT,
    "isv.PORT_NOT_REGISTERED": _ACCOUNT,
    "isv.DENY_IP_RANGE": _ACCOUNT,
    "isp.RAM_PERMISSION_DENY": _ACCOUNT,
}
"""By Aliyun's code; a name that ends in ``*`` stands for a family."""

SMS_AUTH_REMEDIES: dict[str, Remedy] = {
    **_GATEWAY,
    "isp.SYSTEM_ERROR": _CHECK,
    # Too many, too fast.
    "biz.FREQUENCY": _NUMBER_LIMIT,
    "isv.BUSINESS_LIMIT_CONTROL": _NUMBER_LIMIT,
    # This number, or this text.
    "isv.MOBILE_NUMBER_ILLEGAL": _NUMBER,
    "isv.INVALID_PARAMETERS": _CONTENT,
    "isv.SMS_TEMPLATE_ILLEGAL": _TEMPLATE,
    # What the account was lent, or has set up.
    "isv.SMS_SIGNATURE_ILLEGAL": _SIGN,
    "isv.VERIFY_SCHEME_NOT_EXIST": _SCHEME,
    "isv.VERIFY_SCHEME_CONFLICT": _SCHEME,
    "isv.PACK_SIGN_CONFLICT": _SCHEME,
    "isv.BUNDLE_ID_CONFLICT": _SCHEME,
    "isv.SCENE_QUERY_FAIL": _SCHEME,
    "isv.INVALID_APP*": _SCHEME,
    # The account.
    "isv.OUT_OF_SERVICE": _ACCOUNT,
    "isv.PRODUCT_UN*": _ACCOUNT,
    "isv.RAM_PERMISSION_DENY": _ACCOUNT,
    "FUNCTION_NOT_OPENED": _ACCOUNT,
}
"""By the code of number authentication, whose official list could not be read to its end."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._]{0,63}")


def fault(
    status: int,
    code: object,
    *,
    message: object = "",
    retry_after: str | None = None,
    remedies: Mapping[str, Remedy] = REMEDIES,
) -> ZjjError | None:
    """Sort one answer.

    Args:
        status: Of HTTP. From 500 on nothing in the body is trusted.
        code: ``Code`` of the body, as it came; ``None`` when there is none.
        message: ``Message`` of the body; read for the window's name only.
        retry_after: The header ``x-acs-retry-after``: a positive number of milliseconds (the unit
            is undocumented; Aliyun's SDK sleeps for so many), a sign of throttling on any 4xx.
        remedies: The product's table.

    Returns:
        None if the text was accepted, else the error to raise. It carries Aliyun's code when that
        has the form of one, never its message.
    """
    known = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    if status >= 500 or known is None:
        return _CHECK.as_error(known)
    if status >= 400 and (seconds := _seconds(retry_after)) is not None:
        return _SLOW_DOWN.as_error(known, retry_after=seconds)
    if known == OK:
        return None if status == 200 else _CHECK.as_error(known)
    remedy = remedies.get(known) or _family(remedies, known)
    if remedy is _NUMBER_LIMIT and isinstance(message, str):
        named = (limit for word, limit in _NUMBER_LIMITS.items() if word in message)
        remedy = next(named, remedy)
    return remedy.as_error(known)


def _family(remedies: Mapping[str, Remedy], code: str) -> Remedy:
    families = (name for name in remedies if name.endswith("*") and code.startswith(name[:-1]))
    return remedies.get(next(families, ""), _CHECK)


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None or not re.fullmatch(r"[0-9]{1,9}", retry_after):
        return None
    return max(int(retry_after) / 1000, 1.0) if int(retry_after) else None
