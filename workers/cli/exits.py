"""Exit codes, one for each branch of the error tree.

0 done · 1 a job ended otherwise than it should, or was refused · 2 wrong usage or a request that can never
succeed · 3 there is no such thing · 4 try again later · 5 outcome unknown · 6 refused by the gate.
"""

from __future__ import annotations

from models.errors import (
    DeniedError,
    NotFound,
    RetryError,
    UnknownOutcomeError,
    WaitError,
    ZjjError,
)

__all__ = ["DONE", "ENDED_BADLY", "exit_code"]

DONE = 0
ENDED_BADLY = 1

_CODES: tuple[tuple[type[ZjjError], int], ...] = (
    (NotFound, 3),
    (RetryError, 4),
    (WaitError, 4),
    (UnknownOutcomeError, 5),
    (DeniedError, 6),
    (ZjjError, 2),
)


def exit_code(error: ZjjError) -> int:
    """The exit code that tells a script what to do."""
    return next(code for branch, code in _CODES if isinstance(error, branch))
