"""When to try again: exponential backoff with full jitter, bounded in number and in time."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass

__all__ = ["RetryRule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """How often and how patiently a kind of job is repeated.

    Attributes:
        attempts: Attempts in all, the first included.
        base: Seconds; the n-th pause is drawn between 0 and ``base * 2**(n-1)``
            (AWS Architecture Blog, "Exponential Backoff And Jitter", full jitter).
        jitter: The share of a pause that is drawn; the rest of it is certain.
        cap: Seconds; no drawn pause is longer. A provider's own Retry-After may be.
    """

    attempts: int
    base: float
    cap: float
    jitter: float = 1.0

    def next_run(
        self,
        attempt: int,
        now: dt.datetime,
        *,
        retry_after: float | None = None,
        expires_at: dt.datetime | None = None,
        draw: random.Random | None = None,
    ) -> dt.datetime | None:
        """When attempt number ``attempt`` + 1 may start; None when there is none.

        There is none after the last attempt, or when the job would have expired by then.
        """
        if attempt >= self.attempts:
            return None
        ceiling = min(self.cap, self.base * 2 ** (attempt - 1))
        pause = (draw or random).uniform(ceiling * (1 - self.jitter), ceiling)
        run_at = now + dt.timedelta(seconds=max(pause, retry_after or 0))
        return None if expires_at is not None and run_at >= expires_at else run_at
