"""Choosing a road: by configuration and health, and another one only if nothing was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.attempts import Attempt
from models.codes import OURS, hand_over
from models.errors import ConfigurationError, ZjjError
from models.group_commit import GroupCommit, Transaction
from tasks.outcomes import Outcome, outcome_of
from tasks.payload import Payload
from tasks.roads import Road, in_order, may_go_elsewhere, most_hopeful
from tasks.task import Context, Task
from workers.circuits import Circuits
from workers.logs import get_logger

__all__ = ["Roads"]

_log = get_logger()


class Roads:
    """Sends jobs of tasks that have several roads; for all threads of a worker."""

    def __init__(self, commits: GroupCommit, circuits: Circuits) -> None:
        self._commits = commits
        self._circuits = circuits

    def take(self, task: Task, payload: Payload, attempt: Attempt, context: Context) -> Outcome:
        """Do a job on the first road that will have it.

        Raises:
            ZjjError: From the first road whose error leaves open, or decides, what became of the
                job; if none does, the most hopeful one.
        """
        refusals: list[ZjjError] = []
        for road in in_order(task.roads, context.roads):
            try:
                outcome = self._try(road, payload, attempt, context)
            except ZjjError as error:
                if not may_go_elsewhere(error):
                    raise
                refusals.append(error)
            else:
                if outcome is not None:
                    return _told(outcome, road, refusals)
        if not refusals:
            raise ConfigurationError("no road of ZJJ_SMS_ROADS can take a code that is brought")
        raise most_hopeful(refusals)

    def _try(
        self, road: Road, payload: Payload, attempt: Attempt, context: Context
    ) -> Outcome | None:
        """None when the road cannot take this job."""
        recipients = self._circuits.reached_by(road.operations)
        self._circuits.check(recipients)
        if not self._hand_over(road, attempt):
            return None
        before = len(attempt.results)
        try:
            return road.handle(payload, attempt, context)
        except ZjjError as error:
            if error.stops_recipient:
                self._circuits.stop(recipients, outcome_of(error))
            raise
        finally:
            self._circuits.note(recipients, attempt.results[before:])

    def _hand_over(self, road: Road, attempt: Attempt) -> bool:
        """Say who checks the code before it is sent; whether the road may send it."""
        # The first claim of a job finds its code as it was made: ours.
        if road.checked_by == OURS and attempt.fence == 1:
            return True
        handed = self._commits.run(_hand_over, _HandOver(attempt.job_id, road.checked_by))
        return handed or not road.makes_codes


@dataclass(frozen=True, slots=True)
class _HandOver:
    job_id: str
    checked_by: str


def _hand_over(transaction: Transaction, wanted: Sequence[_HandOver]) -> list[bool]:
    return [hand_over(transaction.connection, w.job_id, w.checked_by) for w in wanted]


def _told(outcome: Outcome, road: Road, refusals: Sequence[ZjjError]) -> Outcome:
    """The outcome, and for the job's timeline which road it took and why."""
    result = {**outcome.result, "road": road.name}
    if not refusals:
        return replace(outcome, result=result)
    because = refusals[0].code
    _log.warning("road.changed", road=road.name, because=because)
    return replace(
        outcome,
        code=outcome.code or f"road.{road.name}",
        result=result | {"because": because},
    )
