"""Time, so that it can be given instead of taken."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

__all__ = ["BEIJING", "Clock", "utc_now"]

BEIJING = dt.timezone(dt.timedelta(hours=8), "Asia/Shanghai")
"""The time of all China, in which its law and its providers count days; it has no summer time."""

Clock = Callable[[], dt.datetime]
"""Returns the present as an aware UTC datetime."""


def utc_now() -> dt.datetime:
    """The present, aware, in UTC."""
    return dt.datetime.now(dt.UTC)
