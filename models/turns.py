"""Turns: of several jobs about one person, one at a time may ask.

A turn hangs on the claim that took it. It is over as soon as that claim is settled, whoever settles
it, so there is nothing to give back and nothing to clean up, and whoever comes next sees all that
its predecessor has left behind.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, func, literal, select, update

from models.errors import ClaimLost
from models.states import State
from models.tables import jobs

__all__ = ["take_turn"]


def take_turn(
    connection: Connection, job_id: str, *, fence: int, subject: str, kinds: Collection[str]
) -> bool:
    """Take the turn for a claim, or keep it; False while another job of these kinds has it.

    It begins its transaction, which is to be committed at once: until then others wait.

    Args:
        job_id: A job that the caller has claimed.
        fence: Of that claim.
        subject: Pseudonym of the person.
        kinds: Jobs of these kinds take turns with one another.

    Raises:
        ClaimLost: The claim is no longer held.
    """
    if connection.dialect.name == "postgresql":
        # In a statement of its own: the next one then sees what those before have committed.
        connection.execute(
            select(func.pg_advisory_xact_lock(func.hashtextextended(f"turn {subject}", 0)))
        ).close()
    has_it = (jobs.c.state == State.RUNNING) & (jobs.c.turn == jobs.c.fence)
    another = select(literal(1)).where(
        jobs.c.subject == subject, jobs.c.kind.in_(kinds), jobs.c.id != job_id, has_it
    )
    if connection.execute(another.limit(1)).first() is not None:
        return False
    taken = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.state == State.RUNNING)
        .values(turn=fence)
    )
    if not taken.rowcount:
        raise ClaimLost("the job was taken over before its turn")
    return True
