"""Send one verification code by SMS (policy 一(1)1 registration, 一(1)6 password recovery)."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from models.pii import Phone, VerificationCode
from tasks.outcomes import Outcome, succeeded
from tasks.payload import Payload
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from models.attempts import Attempt

__all__ = ["SMS_CODE", "Scene", "SmsCode"]

Scene = Literal["register", "login", "reset_password", "bind_phone", "change_phone"]


class SmsCode(Payload):
    """A code for one phone.

    ``scene`` chooses the reviewed template and ``user`` is the backend's own opaque id for the
    person; both stay inside.
    """

    phone: Phone
    code: VerificationCode
    scene: Scene
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")] | None = Field(
        default=None, description="The backend's opaque id for the person; never leaves."
    )


def _send(_payload: SmsCode, attempt: Attempt, context: Context) -> Outcome:
    receipt = context.sms.send_code(attempt)
    return succeeded(provider_code=receipt.provider_code, **receipt.fields)


SMS_CODE = Task(
    kind="sms_code",
    payload=SmsCode,
    queue="urgent",
    handle=_send,
    retry=RetryRule(attempts=5, base=0.5, cap=15),
    lifetime=dt.timedelta(minutes=5),
    retention=dt.timedelta(minutes=5),
    subject=lambda payload: payload.phone,
)
