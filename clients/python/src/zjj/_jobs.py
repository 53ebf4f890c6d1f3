"""Jobs as the gateway shows them. No field holds a personal value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["Attempt", "Disclosure", "Job"]

_SETTLED = frozenset({"succeeded", "failed", "unknown", "expired", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a job."""

    number: int
    counted: bool
    """False when the job was only handed back: rate limit, pause, shutdown."""
    started_at: datetime
    ended_at: datetime
    outcome: str
    code: str | None
    provider_code: str | None
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """What one attempt disclosed, or was denied to: categories and names, no values."""

    attempt: int
    recipient: str
    operation: str
    purpose: str
    clauses: tuple[str, ...]
    policy_version: str
    categories: tuple[str, ...]
    stripped: tuple[str, ...]
    verdict: str
    reason: str | None
    result: str | None
    at: datetime
    milliseconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job. What comes after ``created_at`` is filled by ``jobs.get`` and ``jobs.wait``."""

    id: str
    kind: str
    state: str
    """scheduled, queued, running, retrying, succeeded, failed, unknown, expired or cancelled."""
    created_at: datetime
    repeated: bool = False
    """True when the idempotency key was known and this is the job that it made then."""
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    reason: str | None = None
    """Why the job stands where it stands: a static code."""
    result: Mapping[str, Any] = field(default_factory=dict, hash=False)
    attempts: tuple[Attempt, ...] = ()
    receipt: tuple[Disclosure, ...] = ()
    """Minimization receipt: who got which categories, and what was stripped."""

    @property
    def settled(self) -> bool:
        """No worker has anything to do any more."""
        return self.state in _SETTLED

    @property
    def succeeded(self) -> bool:
        """Done."""
        return self.state == "succeeded"


def job_from(document: Any, *, repeated: bool = False) -> Job:
    """Build a job from the gateway's JSON; fields of newer gateways are ignored.

    Raises:
        KeyError, TypeError, ValueError: The document is not a job.
    """
    return Job(
        id=_text(document["id"]),
        kind=_text(document["kind"]),
        state=_text(document["state"]),
        created_at=_moment(document["created_at"]),
        repeated=repeated,
        updated_at=_optional_moment(document.get("updated_at")),
        expires_at=_optional_moment(document.get("expires_at")),
        reason=document.get("reason"),
        result=dict(document.get("result") or {}),
        attempts=tuple(map(_attempt, document.get("attempts", ()))),
        receipt=tuple(map(_disclosure, document.get("receipt", ()))),
    )


def _attempt(document: Mapping[str, Any]) -> Attempt:
    return Attempt(
        number=document["number"],
        counted=document["counted"],
        started_at=_moment(document["started_at"]),
        ended_at=_moment(document["ended_at"]),
        outcome=document["outcome"],
        code=document["code"],
        provider_code=document["provider_code"],
        milliseconds=document["milliseconds"],
    )


def _disclosure(document: Mapping[str, Any]) -> Disclosure:
    return Disclosure(
        attempt=document["attempt"],
        recipient=document["recipient"],
        operation=document["operation"],
        purpose=document["purpose"],
        clauses=tuple(document["clauses"]),
        policy_version=document["policy_version"],
        categories=tuple(document["categories"]),
        stripped=tuple(document["stripped"]),
        verdict=document["verdict"],
        reason=document["reason"],
        result=document["result"],
        at=_moment(document["at"]),
        milliseconds=document["milliseconds"],
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _moment(text: str) -> datetime:
    # Python 3.10 does not read the Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _optional_moment(text: str | None) -> datetime | None:
    return None if text is None else _moment(text)
