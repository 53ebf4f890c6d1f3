"""From a face verification that was begun to the job that asks for its verdict."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from models.jobs import NewJob, insert_jobs
from models.states import State
from models.tables import jobs

__all__ = ["BegunFace", "hasten_verdict"]


@dataclass(frozen=True, slots=True)
class BegunFace:
    """A verification at Aliyun; its second job stands or falls with the settle of the first."""

    certify_id: str
    job: NewJob
    """Asks for the verdict."""

    def apply(self, connection: Connection, at: dt.datetime) -> bool:  # noqa: ARG002 - a Change
        """Store the job."""
        insert_jobs(connection, [self.job])
        return True


def hasten_verdict(connection: Connection, job_id: str, *, now: dt.datetime) -> bool:
    """Have the verdict of a begun verification asked for now, if it is still wanted.

    Args:
        job_id: Of the job that began it.

    Returns:
        Whether that job has begun one; False also while its settle is on its way.
    """
    result = connection.scalar(
        select(jobs.c.result).where(jobs.c.id == job_id, jobs.c.kind == "face_verification")
    )
    verdict_job = (result or {}).get("verdict_job")
    if verdict_job is None:
        return False
    connection.execute(
        update(jobs)
        .where(
            jobs.c.id == verdict_job,
            jobs.c.kind == "face_result",
            jobs.c.state.in_((State.SCHEDULED, State.RETRYING)),
            jobs.c.run_at > now,
        )
        .values(run_at=now)
    )
    return True
