"""What became of a code that somebody typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Verification", "verification_from"]


@dataclass(frozen=True)
class Verification:
    """The gateway's answer to one guess.

    Attributes:
        verified: The code was right; it passes once.
        attempts_left: Guesses that the code still allows.
        reason: ``wrong``, ``expired``, ``used``, ``too_many_attempts`` or ``none``; None when
            verified. More reasons may come.
    """

    verified: bool
    attempts_left: int
    reason: str | None


def verification_from(document: Mapping[str, Any]) -> Verification:
    """Read the gateway's JSON.

    Raises:
        KeyError, TypeError, ValueError: It is something else.
    """
    verified, left, reason = (document[n] for n in ("verified", "attempts_left", "reason"))
    if not isinstance(verified, bool) or verified is not (reason is None):
        raise ValueError("no verification")
    return Verification(verified, int(left), None if reason is None else str(reason))
