"""Choosing a road: by configuration and health, and another one only if nothing was sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.attempts import Attempt
from models.clock import Clock, utc_now
from models.codes import OURS, hand_over
from models.database import answering
from models.deliveries import ASKING_ENDS, NewDelivery, delivery_identity, write_deliveries
from models.errors import ConfigurationError, DatabaseUnavailable, ZjjError
from models.group_commit import GroupCommit, Transaction
from models.sealing import Sealer, bucket_of
from tasks.outcomes import Outcome, outcome_of
from tasks.payload import Payload
from tasks.roads import Road, in_order, may_go_elsewhere, most_hopeful
from tasks.task import Context, Task
from workers.circuits import Circuits
from workers.logs import get_logger

__all__ = ["Roads"]

_log = get_logger()

_FIRST_QUESTION = dt.timedelta(minutes=2)
"""Receipts come within seconds, and are repeated after one minute."""


class Roads:
    """Sends jobs of tasks that have several roads; for all threads of a worker."""

    def __init__(
        self, commits: GroupCommit, circuits: Circuits, sealer: Sealer, *, clock: Clock = utc_now
    ) -> None:
        self._commits = commits
        self._circuits = circuits
        self._sealer = sealer
        self._clock = clock

    def take(self, task: Task, payload: Payload, attempt: Attempt, context: Context) -> Outcome:
        """Do a job on the first road that will have it.

        Raises:
            ZjjError: From the first road whose error leaves open, or decides, what became of the
                job; if none does, the most hopeful one.
        """
        refusals: list[ZjjError] = []
        for road in in_order(task.roads, context.roads):
            try:
                outcome = self._try(road, payload, attempt, context, tried=bool(refusals))
            except ZjjError as error:
                if not may_go_elsewhere(error):
                    raise
                refusals.append(error)
            else:
                if outcome is not None:
                    self._remember(task, road, attempt, outcome)
                    return _told(outcome, road, refusals)
        if not refusals:
            raise ConfigurationError("no road of ZJJ_SMS_ROADS can take a code that is brought")
        raise most_hopeful(refusals)

    def _try(
        self, road: Road, payload: Payload, attempt: Attempt, context: Context, *, tried: bool
    ) -> Outcome | None:
        """None when the road cannot take this job; ``tried`` when another one was before."""
        recipients = self._circuits.reached_by(road.operations)
        self._circuits.check(recipients)
        if not self._hand_over(road, attempt, tried=tried):
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

    def _hand_over(self, road: Road, attempt: Attempt, *, tried: bool) -> bool:
        """Say who checks the code before it is sent; whether the road may send it."""
        # A job's first road finds its code as it was made: ours.
        if road.checked_by == OURS and attempt.fence == 1 and not tried:
            return True
        handed = self._commits.run(_hand_over, _HandOver(attempt.job_id, road.checked_by))
        return handed or not road.makes_codes

    def _remember(self, task: Task, road: Road, attempt: Attempt, outcome: Outcome) -> None:
        """Begin to follow an accepted text; nothing waits for it, and the job stands without."""
        try:
            with answering():
                delivery = self._delivery(task, road, attempt, outcome)
            self._commits.submit(write_deliveries, delivery, patient=True)
        except DatabaseUnavailable as error:
            _log.warning("delivery.not_followed", code=error.code)

    def _delivery(self, task: Task, road: Road, attempt: Attempt, outcome: Outcome) -> NewDelivery:
        now = self._clock()
        asks = not set(task.asks_about).isdisjoint(road.operations)
        bucket = bucket_of(now + ASKING_ENDS) if asks else None
        return NewDelivery(
            reference=attempt.reference,
            job_id=attempt.job_id,
            backend=attempt.backend,
            road=road.name,
            scene=str(attempt.held["scene"]),
            subject=attempt.subject or "",
            biz_id=outcome.result.get("biz_id"),
            accepted_at=now,
            sealed=self._sealer.seal(
                {"phone": attempt.held["phone"]},
                identity=delivery_identity(attempt.reference),
                bucket=bucket,
            )
            if bucket
            else None,
            bucket=bucket,
            ask_at=now + _FIRST_QUESTION if asks else None,
        )


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
