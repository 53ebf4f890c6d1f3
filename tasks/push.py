"""Push one notice with a reviewed wording to one device (policy 三(4)8)."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from models.errors import ConfigurationError, GiveUpError
from models.pii import PushToken
from models.states import Event
from tasks.outcomes import Outcome, outcome_of, succeeded
from tasks.payload import ConsentRef, Payload, UserId
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from integrations.receipt import Receipt
    from models.attempts import Attempt

__all__ = ["PUSH", "Notice", "Push", "PushSender"]

Notice = Literal["order_update", "refund_update", "certification_update", "service_reply"]
"""The catalogue; wordings stand in :mod:`integrations.jiguang.notices`."""


class PushSender(Protocol):
    """Pushes once, however often it is asked to; see :mod:`workers.pushes`."""

    def push(self, attempt: Attempt) -> Receipt:
        """Push the attempt's notice under its job's own cid, or raise from the error tree."""

    def push_again(self, attempt: Attempt, sent_at: dt.datetime) -> Receipt | None:
        """Repeat a push that may have left, under its cid; None if it cannot have left.

        Args:
            sent_at: When the job disclosed something last.
        """


_REGISTRATION_ID = r"[A-Za-z0-9]{8,64}"


def _registration_id(value: object) -> object:
    """Refuse what the policy would not let out before it is stored; other types come labelled."""
    if isinstance(value, str) and not re.fullmatch(_REGISTRATION_ID, value):
        reason = "must be a registration id: 8 to 64 letters and digits"
        raise PydanticCustomError("invalid_value", "{reason}", {"reason": reason})
    return value


_RegistrationId = Annotated[
    PushToken,
    BeforeValidator(_registration_id),
    WithJsonSchema(
        {
            "type": "string",
            "description": "One device's registration id, as the push SDK gave it.",
            "pattern": f"^{_REGISTRATION_ID}$",
            "minLength": 8,
            "maxLength": 64,
        }
    ),
]


class Push(Payload):
    """A notice for one device: the wording is chosen by name, and nothing is filled into it."""

    push_token: _RegistrationId
    notice: Notice
    consent_ref: ConsentRef | None = Field(
        default=None, description="The person's consent to notify, if it was recorded."
    )
    user: UserId | None = Field(
        default=None, description="The backend's opaque id for the person; never leaves."
    )


def _push(_payload: Push, attempt: Attempt, context: Context) -> Outcome:
    receipt = context.pushes.push(attempt)
    return succeeded(provider_code=receipt.provider_code, **receipt.fields)


def _push_again(
    _payload: Push, attempt: Attempt, context: Context, sent_at: dt.datetime
) -> Outcome:
    """Repeat it under its cid: what was pushed before is not pushed twice, but answered again."""
    try:
        receipt = context.pushes.push_again(attempt, sent_at)
    except ConfigurationError:
        raise
    except GiveUpError as error:
        if error.stops_recipient:
            # About us, so it says nothing about the push.
            raise
        return outcome_of(error)
    if receipt is None:
        return Outcome(event=Event.RETRY, code="push.not_begun")
    return Outcome(
        event=Event.SUCCEED, code="reconciled.repeated", provider_code=receipt.provider_code
    )


PUSH = Task(
    kind="push",
    payload=Push,
    queue="standard",
    handle=_push,
    retry=RetryRule(attempts=8, base=2, cap=600),
    # A notice of yesterday may still come; what a person shall decide about waits as long.
    lifetime=dt.timedelta(days=2),
    retention=dt.timedelta(days=2),
    subject=lambda payload: payload.push_token,
    operations=("jiguang.push.send", "jiguang.push.cid"),
    reconcile=_push_again,
    sends_again=True,
    announces=True,
)
