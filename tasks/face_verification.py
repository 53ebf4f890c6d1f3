"""Verify a face, where the policy in force has a clause for it; the packaged one has none.

Two jobs. ``face_verification`` begins: name and number leave, and are erased with the answer.
``face_result`` asks what came of it, at once after a callback and now and then without one; it
knows the verification's number and nothing of the person.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints

from models.clock import utc_now
from models.errors import UnknownOutcomeError, WaitError
from models.pii import DeviceInfo, IdNumber, RealName
from models.states import Event
from tasks.identity_check import GUARDIAN_CONSENT_REQUIRED, is_child
from tasks.outcomes import Outcome, succeeded
from tasks.payload import ConsentRef, Payload, UserId
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from models.attempts import Attempt

__all__ = [
    "FACE_KINDS",
    "FACE_RESULT",
    "FACE_VERIFICATION",
    "FIRST_QUESTION",
    "FaceResult",
    "FaceVerification",
]

FIRST_QUESTION = dt.timedelta(minutes=5)
"""After it is asked for a verdict of which no callback has told."""

_PAUSE_SECONDS = 300.0
_BEGIN = RetryRule(attempts=2, base=1.0, cap=5)
_ASK = RetryRule(attempts=6, base=5, cap=120)


class FaceVerification(Payload):
    """Whose face is to be verified. No image: the phone sends those to Aliyun itself."""

    name: RealName
    id_number: IdNumber
    meta_info: DeviceInfo = Field(
        description="What Aliyun's SDK in the app says about the phone, as it is."
    )
    consent_ref: ConsentRef = Field(description="The person's separate consent, as recorded.")
    guardian_ref: ConsentRef | None = Field(
        default=None, description="A guardian's consent; needed for a person under 14."
    )
    user: UserId = Field(description="The backend's opaque id for the person; never leaves.")


class FaceResult(Payload):
    """A verification whose verdict is wanted."""

    certify_id: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]{16,64}$")] = Field(
        examples=["0" * 32], description="Aliyun's number for it."
    )
    consent_ref: ConsentRef
    guardian_ref: ConsentRef | None = None
    user: UserId


def _refuse(payload: FaceVerification) -> str | None:
    child = is_child(payload.id_number, utc_now())
    return GUARDIAN_CONSENT_REQUIRED if child and payload.guardian_ref is None else None


def _begin(_payload: FaceVerification, attempt: Attempt, context: Context) -> Outcome:
    begun = context.faces.begin(attempt)
    outcome = succeeded(certify_id=begun.certify_id, verdict_job=begun.job.id)
    return replace(outcome, change=begun)


def _ask(_payload: FaceResult, attempt: Attempt, context: Context) -> Outcome:
    try:
        checked = context.faces.verdict(attempt)
    except UnknownOutcomeError as error:
        # A question does nothing, so it can be asked again.
        raise WaitError("no answer came", code=error.code, retry_after=_ASK.cap) from None
    if checked is None:
        raise WaitError(
            "the person has not shown a face yet",
            code="face.unfinished",
            retry_after=_PAUSE_SECONDS,
        )
    return succeeded(
        provider_code=checked.provider_code,
        verdict=checked.verdict,
        checked_at=utc_now().isoformat(timespec="seconds"),
    )


def _ask_again(
    _payload: FaceResult, _attempt: Attempt, _context: Context, _sent_at: dt.datetime
) -> Outcome:
    """A worker died on the way; asking once more does no harm."""
    return Outcome(event=Event.RETRY, code="face.again")


FACE_VERIFICATION = Task(
    kind="face_verification",
    payload=FaceVerification,
    queue="urgent",
    handle=_begin,
    refuse=_refuse,
    retry=_BEGIN,
    lifetime=dt.timedelta(minutes=10),
    retention=dt.timedelta(minutes=10),
    subject=lambda payload: payload.id_number,
    operations=("aliyun.face.begin",),
    announces=True,
    forgets=True,
    concludes=True,
)

FACE_RESULT = Task(
    kind="face_result",
    payload=FaceResult,
    queue="urgent",
    handle=_ask,
    retry=_ASK,
    # Counted from the first question; Aliyun's number lives for 30 minutes in all.
    lifetime=dt.timedelta(minutes=30),
    retention=dt.timedelta(minutes=30),
    subject=lambda _payload: None,
    operations=("aliyun.face.describe",),
    reconcile=_ask_again,
    repeatable=True,
    announces=True,
    concludes=True,
)

FACE_KINDS = (FACE_VERIFICATION.kind, FACE_RESULT.kind)
"""Not taken in where face verification is switched off."""
