"""What happened to a job, in order: attempts, disclosures, what people did; never a value."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from models.jobs import JobView

__all__ = ["Moment", "timeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of the story."""

    at: dt.datetime
    event: str
    """``enqueued``, ``attempt.`` and how it ended, ``disclosure.`` and its verdict, or an
    intervention such as ``job.replay``."""
    attempt: int | None = None
    code: str | None = None
    """Our reason code."""
    provider_code: str | None = None
    recipient: str | None = None
    operation: str | None = None
    purpose: str | None = None
    clauses: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    by: str | None = None
    """Who intervened: ``backend``, ``operator`` or ``worker``."""
    reason: str | None = None
    """Why, in the words of whoever intervened."""
    milliseconds: float | None = None


def timeline(job: JobView) -> list[Moment]:
    """The story of a job, oldest first."""
    story = [Moment(at=job.created_at, event="enqueued")]
    story += [
        Moment(
            at=attempt.ended_at,
            event=f"attempt.{attempt.event}",
            attempt=attempt.number,
            code=attempt.code,
            provider_code=attempt.provider_code,
            milliseconds=attempt.milliseconds,
        )
        for attempt in job.attempts
    ]
    story += [
        Moment(
            at=disclosure.at,
            event=f"disclosure.{disclosure.verdict}",
            attempt=disclosure.attempt,
            code=disclosure.reason,
            provider_code=disclosure.provider_code,
            recipient=disclosure.recipient,
            operation=disclosure.operation,
            purpose=disclosure.purpose,
            clauses=disclosure.clauses,
            categories=disclosure.categories,
            milliseconds=disclosure.milliseconds,
        )
        for disclosure in job.disclosures
    ]
    story += [
        Moment(
            at=audit.at,
            event=audit.action,
            by=_ROLES.get(audit.actor.partition(":")[0], "operator"),
            reason=audit.reason,
        )
        for audit in job.interventions
    ]
    return sorted(story, key=lambda moment: moment.at)


_ROLES = {"api": "backend", "worker": "worker"}
"""A person's name is nobody's business outside of the audit."""
