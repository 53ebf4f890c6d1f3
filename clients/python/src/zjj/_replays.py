"""What a backend does about its jobs afterwards: pages of a search, and replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from zjj._jobs import Job, job_from

__all__ = ["JobPage", "Replay", "SearchTerms"]


class SearchTerms(TypedDict, total=False):
    """Which jobs; what is left out does not matter."""

    kind: str
    state: Sequence[str]
    code: str
    """Our reason or the provider's own code."""
    recipient: str
    phone: str
    """Travels in the request's body, and is looked for by a keyed digest."""
    since: datetime
    """Created at or after; with its time zone."""
    until: datetime
    before: str
    """``next`` of the page before."""
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """Jobs, newest first; they come without attempts and receipts."""

    jobs: tuple[Job, ...]
    next: str | None
    """Hand it to ``search(before=…)`` for the next page; None on the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of a replay."""

    id: str
    replayed: int
    refused: Mapping[str, int] = field(hash=False)
    """How many jobs for which reason, such as ``expired`` or ``payload.erased``."""
    pending: int
    """Jobs to which the workers have not come yet."""


def page_from(document: Mapping[str, Any]) -> JobPage:
    """Read the gateway's JSON.

    Raises:
        KeyError, TypeError, ValueError: It is something else.
    """
    return JobPage(
        jobs=tuple(job_from({**job, "attempts": ()}) for job in document["jobs"]),
        next=document["next"],
    )


def replay_from(document: Mapping[str, Any]) -> Replay:
    """Read the gateway's JSON.

    Raises:
        KeyError, TypeError, ValueError: It is something else.
    """
    return Replay(
        id=str(document["id"]),
        replayed=int(document["replayed"]),
        refused=dict(document["refused"]),
        pending=int(document["pending"]),
    )
