"""Send one verification code by SMS (policy 一(1)1 registration, 一(1)6 password recovery)."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.clock import BEIJING
from models.codes import OURS
from models.pii import Phone, VerificationCode
from models.states import Event
from tasks.outcomes import Outcome, succeeded
from tasks.payload import Payload, UserId
from tasks.retries import RetryRule
from tasks.roads import Road
from tasks.task import Context, Task

if TYPE_CHECKING:
    from models.attempts import Attempt

__all__ = ["ROADS", "SMS_CODE", "Scene", "SmsCode", "days_of"]

Scene = Literal["register", "login", "reset_password", "bind_phone", "change_phone"]


class SmsCode(Payload):
    """A code for one phone.

    ``scene`` chooses the reviewed template and ``user`` is the backend's own opaque id for the
    person; both stay inside.
    """

    phone: Phone
    code: VerificationCode
    scene: Scene
    user: UserId | None = Field(
        default=None, description="The backend's opaque id for the person; never leaves."
    )


def _send(_payload: SmsCode, attempt: Attempt, context: Context) -> Outcome:
    receipt = context.sms.send_code(attempt)
    return succeeded(provider_code=receipt.provider_code, **receipt.fields)


def _have_made(_payload: SmsCode, attempt: Attempt, context: Context) -> Outcome:
    receipt = context.sms_auth.send_code(attempt)
    return succeeded(provider_code=receipt.provider_code, **receipt.fields)


ROADS = (
    Road(
        name="aliyun_sms",
        operations=("aliyun.sms.send",),
        handle=_send,
        checked_by=OURS,
    ),
    Road(
        name="aliyun_sms_auth",
        operations=("aliyun.sms_auth.send",),
        handle=_have_made,
        checked_by="aliyun_sms_auth",
        makes_codes=True,
    ),
)

_MIDNIGHT = dt.timedelta(minutes=2)
"""So close to Beijing's midnight a text may stand under either day (QuerySendDetails, SendDate)."""


def days_of(sent_at: dt.datetime) -> list[dt.date]:
    """The days under which Aliyun may have filed a text that was sent then."""
    moment = sent_at.astimezone(BEIJING)
    return sorted({(moment - _MIDNIGHT).date(), (moment + _MIDNIGHT).date()})


def _ask(_payload: SmsCode, attempt: Attempt, context: Context, sent_at: dt.datetime) -> Outcome:
    """Look the text up by its reference; what is not found may still be on its way."""
    for day in days_of(sent_at):
        found = context.sms.query_send(attempt, day)
        if found.state in {"delivered", "waiting"}:
            return Outcome(
                event=Event.SUCCEED,
                code=f"reconciled.{found.state}",
                provider_code=found.provider_code,
            )
        if found.state == "failed":
            return Outcome(
                event=Event.FAIL, code="reconciled.failed", provider_code=found.provider_code
            )
    return Outcome(event=Event.LOSE, code="reconciled.not_found")


SMS_CODE = Task(
    kind="sms_code",
    payload=SmsCode,
    queue="urgent",
    handle=_send,
    retry=RetryRule(attempts=5, base=0.5, cap=15),
    lifetime=dt.timedelta(minutes=5),
    retention=dt.timedelta(minutes=5),
    subject=lambda payload: payload.phone,
    operations=("aliyun.sms.send",),
    reconcile=_ask,
    roads=ROADS,
    asks_about=("aliyun.sms.send",),
)
