"""How the queues stand at one look: for operators, who want to know what is stuck since when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from models.states import State
from models.tables import jobs, workers
from models.upkeep import count_waiting

__all__ = ["Standing", "look_over"]

_LIVE = dt.timedelta(seconds=30)
"""A worker beats every two seconds, by a clock that need not be ours."""


@dataclass(slots=True, kw_only=True)
class Standing:
    """One queue."""

    jobs: dict[str, int] = field(default_factory=dict)
    """State to number, of jobs with which something is still to be done."""
    oldest: dt.datetime | None = None
    """Since when the oldest queued job could have run."""
    unknown: int = 0
    """Jobs whose outcome is not known."""
    workers: int = 0
    """Processes that serve it and have shown themselves lately."""


def look_over(connection: Connection, *, now: dt.datetime) -> Mapping[str, Standing]:
    """How every queue stands that has jobs or workers, by its name."""
    found: dict[str, Standing] = {}
    for (queue, state), count in count_waiting(connection).items():
        found.setdefault(queue, Standing()).jobs[state] = count
    of_queues = select(jobs.c.queue, func.count(), func.min(jobs.c.run_at)).group_by(jobs.c.queue)
    for queue, _, first in connection.execute(of_queues.where(jobs.c.state == State.QUEUED)):
        found.setdefault(queue, Standing()).oldest = first
    for queue, count, _ in connection.execute(of_queues.where(jobs.c.state == State.UNKNOWN)):
        found.setdefault(queue, Standing()).unknown = count
    live = select(workers.c.queues).where(
        workers.c.stopped_at.is_(None), workers.c.seen_at > now - _LIVE
    )
    for queues in connection.scalars(live):
        for queue in queues:
            found.setdefault(queue, Standing()).workers += 1
    return found
