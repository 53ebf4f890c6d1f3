"""Ask the provider that made a code whether a typed one is right (policy 一(1)1, 一(1)6)."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from models.pii import Phone, VerificationCode
from tasks.outcomes import Outcome, succeeded
from tasks.payload import Payload
from tasks.retries import RetryRule
from tasks.sms_code import Scene
from tasks.task import Context, Task

if TYPE_CHECKING:
    from models.attempts import Attempt

__all__ = ["SMS_CODE_CHECK", "SmsCodeCheck"]


class SmsCodeCheck(Payload):
    """A code as a person typed it, for a phone that got one from the provider."""

    phone: Phone
    code: VerificationCode
    scene: Scene


def _check(_payload: SmsCodeCheck, attempt: Attempt, context: Context) -> Outcome:
    passed = context.sms_auth.check_code(attempt)
    return succeeded(verdict="pass" if passed else "fail")


SMS_CODE_CHECK = Task(
    kind="sms_code_check",
    payload=SmsCodeCheck,
    queue="urgent",
    handle=_check,
    # A person waits before a screen: what has not left within seconds is of no use.
    retry=RetryRule(attempts=3, base=0.1, cap=0.5),
    lifetime=dt.timedelta(seconds=10),
    retention=dt.timedelta(minutes=1),
    subject=lambda payload: payload.phone,
    operations=("aliyun.sms_auth.check",),
)
