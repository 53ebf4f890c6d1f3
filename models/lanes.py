"""Lanes: jobs that are done one after the other, in the order in which they were stored.

A lane is held from the moment a job is stored in it until that transaction ends. So positions are
given out in the order of commits, and whoever sees a job also sees all that stand before it: a
claimed job need only look for an earlier one that is not settled.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from sqlalchemy import Connection, func, or_, select

from models.states import SETTLED, State
from models.tables import jobs

__all__ = ["last_positions", "run_at_of_earlier"]


def last_positions(connection: Connection, lanes: Iterable[str]) -> dict[str, int]:
    """The last position of each lane, 0 in an empty one; each is held by this transaction."""
    wanted = sorted(set(lanes))
    if connection.dialect.name == "postgresql":
        # SQLite has one writer at a time anyway. In one order everywhere, against deadlocks.
        for lane in wanted:
            connection.execute(
                select(func.pg_advisory_xact_lock(func.hashtextextended(lane, 0)))
            ).close()
    rows = connection.execute(
        select(jobs.c.lane, func.max(jobs.c.position))
        .where(jobs.c.lane.in_(wanted))
        .group_by(jobs.c.lane)
    )
    return dict.fromkeys(wanted, 0) | {row[0]: row[1] for row in rows}


def run_at_of_earlier(connection: Connection, job_id: str) -> dt.datetime | None:
    """When the first unsettled job before this one in its lane is due; None if it is its turn."""
    mine = jobs.alias("mine")
    return connection.scalar(
        select(jobs.c.run_at)
        .join(mine, (mine.c.lane == jobs.c.lane) & (jobs.c.position < mine.c.position))
        .where(
            mine.c.id == job_id,
            or_(
                jobs.c.state.not_in(SETTLED),
                # It will be done again, as nobody knows whether it was done.
                (jobs.c.state == State.UNKNOWN) & jobs.c.sealed.is_not(None),
            ),
        )
        .order_by(jobs.c.position)
        .limit(1)
    )
