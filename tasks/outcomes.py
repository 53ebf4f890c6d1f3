"""What a handler may answer: the outcomes of one attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.errors import (
    DeniedError,
    RetryError,
    UnknownOutcomeError,
    WaitError,
    ZjjError,
)
from models.settlement import Change
from models.states import Event
from tasks.announcements import Announcement

__all__ = ["Outcome", "outcome_of", "succeeded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The event that an attempt leads to, and why.

    Attributes:
        event: A row of the state table for a running job.
        code: Static reason; None on success.
        provider_code: What the provider called it.
        retry_after: Seconds that the provider, or a limit, asks us to wait.
        stops_recipient: Every further job for this recipient would fail the same way.
        result: Ids and codes that the backend may see.
        change: What becomes of the domain's rows, in the transaction of the settle.
        announcements: What the backend is told, if the outcome counts.
    """

    event: Event
    code: str | None = None
    provider_code: str | None = None
    retry_after: float | None = None
    stops_recipient: bool = False
    result: Mapping[str, str] = field(default_factory=dict)
    change: Change | None = None
    announcements: tuple[Announcement, ...] = ()


def succeeded(*, provider_code: str | None = None, **result: str) -> Outcome:
    """The job is done."""
    return Outcome(event=Event.SUCCEED, provider_code=provider_code, result=result)


def outcome_of(error: Exception) -> Outcome:
    """What an error means for the job: its branch of the tree decides.

    An error from outside the tree is a fault of ours; whether bytes had left is not known here,
    so the caller (:mod:`workers.execution`) turns it into ``unknown`` if a disclosure was begun.
    """
    if not isinstance(error, ZjjError):
        return Outcome(event=Event.FAIL, code=f"fault.{type(error).__name__}")
    if isinstance(error, WaitError):
        event = Event.WAIT
    elif isinstance(error, RetryError):
        event = Event.RETRY
    elif isinstance(error, UnknownOutcomeError):
        event = Event.LOSE
    elif isinstance(error, DeniedError) and error.code == "expired":
        event = Event.EXPIRE
    else:
        event = Event.FAIL
    return Outcome(
        event=event,
        code=error.code,
        provider_code=error.provider_code,
        retry_after=error.retry_after,
        stops_recipient=error.stops_recipient,
    )
