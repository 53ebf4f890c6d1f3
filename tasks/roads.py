"""Roads: several recipients that can do the same job, and when another one may be tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.errors import GiveUpError, RetryError, WaitError, ZjjError
from models.pauses import RECIPIENT_PAUSED

if TYPE_CHECKING:
    from models.attempts import Attempt
    from tasks.outcomes import Outcome
    from tasks.task import Context

__all__ = ["Road", "in_order", "may_go_elsewhere", "most_hopeful"]

_ANOTHER_MAY_SERVE = frozenset(
    {
        "provider.unreachable",
        "provider.throttled",
        "provider.quota_spent",
        "provider.template_refused",
        "provider.sign_refused",
        "provider.scheme_refused",
        "provider.account_refused",
        "provider.request_refused",
        "recipient.resting",
        RECIPIENT_PAUSED,
    }
)
"""Our codes for what provably sent nothing and says nothing about the person. A limit on texts to
one number is none of them: it protects that person on every road."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """One recipient's way to do a job.

    Attributes:
        name: As settings, timelines and figures know it.
        operations: The policy's operations that ``handle`` may perform.
        handle: Does the job this way.
        checked_by: Who can say later whether a typed code is right (:mod:`models.codes`).
        makes_codes: The recipient makes the code, so a code that the backend brought cannot take
            this road.
    """

    name: str
    operations: tuple[str, ...]
    handle: Callable[[Any, Attempt, Context], Outcome]
    checked_by: str
    makes_codes: bool = False


def in_order(roads: Iterable[Road], order: Iterable[str]) -> list[Road]:
    """The roads that are in use, the preferred one first."""
    named = {road.name: road for road in roads}
    return [named[name] for name in order if name in named]


def may_go_elsewhere(error: ZjjError) -> bool:
    """Whether an error proves that nothing was sent, and another recipient may do better."""
    return (
        isinstance(error, RetryError | WaitError | GiveUpError) and error.code in _ANOTHER_MAY_SERVE
    )


def most_hopeful(errors: Iterable[ZjjError]) -> ZjjError:
    """What all roads together mean: the soonest that may pass by itself, else the first."""
    found = list(errors)
    passing = [error for error in found if isinstance(error, RetryError | WaitError)]
    return min(passing, key=lambda error: error.retry_after or 0.0, default=found[0])
