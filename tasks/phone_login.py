"""One-click login and the check of a phone's own number (policy 三(4)7, 一(1)6).

A token works once and nobody can be asked what became of it, so it is sent at most once, whatever
happens. When no number comes of it, the person taps again and the app gets a new token.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from models.errors import ConfigurationError, DeniedError, ZjjError
from models.pii import LoginToken, Phone
from models.states import Event
from tasks.outcomes import Outcome, outcome_of, succeeded
from tasks.payload import ConsentRef, Payload, UserId
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from models.attempts import Attempt

__all__ = [
    "JIGUANG_LOGIN",
    "NEW_TOKEN",
    "PHONE_CHECK",
    "PHONE_LOGIN",
    "JiguangLogin",
    "PhoneCheck",
    "PhoneLogin",
]

NEW_TOKEN = "login.ask_for_new_token"  # noqa: S105 - a reason code
"""Reason code: the token is spent, or may be; only a new one helps."""

_ONCE = RetryRule(attempts=1, base=1, cap=1)
_LIFETIME = dt.timedelta(minutes=2)
"""The shortest life of a token, China Mobile's (help.aliyun.com, GetMobile)."""


class PhoneLogin(Payload):
    """A token of Aliyun's SDK that a phone number is behind."""

    login_token: LoginToken
    consent_ref: ConsentRef | None = Field(
        default=None, description="The person's consent to quick_login, if it was recorded."
    )
    user: UserId | None = Field(
        default=None, description="The backend's opaque id for the person; never leaves."
    )


class JiguangLogin(PhoneLogin):
    """A token of Jiguang's SDK that a phone number is behind."""


class PhoneCheck(Payload):
    """A token of Aliyun's SDK, and the number that its phone shall have."""

    login_token: LoginToken
    phone: Phone
    user: UserId | None = Field(
        default=None, description="The backend's opaque id for the person; never leaves."
    )


def _log_in(attempt: Attempt, context: Context, spend: Callable[[Attempt], Phone]) -> Outcome:
    try:
        kept = context.logins.keep(attempt, spend(attempt))
    except ZjjError as error:
        return _without_number(error)
    until = kept.phone.expires_at.isoformat(timespec="seconds")
    return replace(succeeded(phone_until=until), change=kept)


def _aliyun(_payload: PhoneLogin, attempt: Attempt, context: Context) -> Outcome:
    return _log_in(attempt, context, context.logins.aliyun)


def _jiguang(_payload: JiguangLogin, attempt: Attempt, context: Context) -> Outcome:
    return _log_in(attempt, context, context.logins.jiguang)


def _check(_payload: PhoneCheck, attempt: Attempt, context: Context) -> Outcome:
    try:
        own = context.logins.is_own(attempt)
    except ZjjError as error:
        return _without_number(error)
    if own is None:
        return Outcome(event=Event.FAIL, code=NEW_TOKEN)
    return succeeded(verdict="match" if own else "mismatch")


def _without_number(error: ZjjError) -> Outcome:
    """What is left when no number came: never another attempt with the same token."""
    outcome = outcome_of(error)
    if isinstance(error, DeniedError | ConfigurationError) or error.stops_recipient:
        return outcome
    event = Event.LOSE if outcome.event is Event.LOSE else Event.FAIL
    return replace(outcome, event=event, code=NEW_TOKEN, retry_after=None)


PHONE_LOGIN = Task(
    kind="phone_login",
    payload=PhoneLogin,
    queue="urgent",
    handle=_aliyun,
    retry=_ONCE,
    lifetime=_LIFETIME,
    retention=_LIFETIME,
    subject=lambda payload: payload.login_token,
    operations=("aliyun.login.phone",),
    announces=True,
    forgets=True,
)

JIGUANG_LOGIN = replace(
    PHONE_LOGIN,
    kind="jiguang_login",
    payload=JiguangLogin,
    handle=_jiguang,
    operations=("jiguang.login.phone",),
)

PHONE_CHECK = replace(
    PHONE_LOGIN,
    kind="phone_check",
    payload=PhoneCheck,
    handle=_check,
    subject=lambda payload: payload.phone,
    operations=("aliyun.login.verify",),
    concludes=True,
)
