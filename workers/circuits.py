"""Whether a recipient may be called now: pauses and circuit breakers, as a worker's threads ask.

What the database says is remembered for a moment, so that asking costs nothing per job; an outage
or a stop is known to every worker within that moment.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Mapping, Sequence

from sqlalchemy import Engine

from integrations.policy import Policy
from models.circuits import (
    Circuit,
    CircuitNote,
    Turn,
    list_circuits,
    rests,
    take_probe,
    write_notes,
)
from models.clock import Clock, utc_now
from models.database import NO_ANSWER, writing
from models.disclosures import DisclosureResult, SendResult
from models.errors import DatabaseUnavailable, WaitError
from models.group_commit import GroupCommit
from models.pauses import RECIPIENT_PAUSED, Pause, Scope, list_pauses, pause
from tasks.outcomes import Outcome
from tasks.task import Task
from workers.logs import get_logger

__all__ = ["Circuits"]

_log = get_logger()

_PAUSED_SECONDS = 30.0
"""A resume brings its jobs forward, so they may wait long."""


class Circuits:
    """Guards the recipients of one worker process.

    Args:
        policy: Tells which recipient an operation has.
        moment: Seconds for which the database's word is taken.
    """

    def __init__(
        self,
        engine: Engine,
        commits: GroupCommit,
        policy: Policy,
        *,
        moment: float = 0.5,
        clock: Clock = utc_now,
    ) -> None:
        self._engine = engine
        self._commits = commits
        self._policy = policy
        self._clock = clock
        self._lock = threading.Lock()
        self._moment = moment
        self._looked_at = -moment
        self._circuits: Mapping[str, Circuit] = {}
        self._pauses: Mapping[str, Pause] = {}

    def recipients(self, task: Task, held: Mapping[str, object] | None = None) -> tuple[str, ...]:
        """Whom a task's operations reach; with a job's fields, whom that job may reach."""
        return self.reached_by(task.reaches(held) if held and task.reaches else task.operations)

    def reached_by(self, operations: Sequence[str]) -> tuple[str, ...]:
        """Whom some of the policy's operations reach."""
        known = (self._policy.operations.get(name) for name in operations)
        return tuple(dict.fromkeys(operation.recipient for operation in known if operation))

    def check(self, recipients: Sequence[str]) -> None:
        """Pass if all of them may be called now.

        Raises:
            WaitError: One is paused, or has failed again and again; nothing was done.
        """
        now = self._clock()
        self._look()
        if not self._pauses.keys().isdisjoint(recipients):
            # A job that is turned away waits long, so a resume of a moment ago must be seen.
            self._look(afresh=True)
        for recipient in recipients:
            if recipient in self._pauses:
                until = self._pauses[recipient].until
                left = _PAUSED_SECONDS if until is None else (until - now).total_seconds()
                raise WaitError(
                    f"{recipient} is paused",
                    code=RECIPIENT_PAUSED,
                    retry_after=max(0.1, min(left, _PAUSED_SECONDS)) * _spread(),
                )
            circuit = self._circuits.get(recipient)
            if circuit is None or circuit.open_until is None:
                continue
            if not rests(circuit, now) and self._may_probe(recipient):
                continue
            left = min(max(1.0, (circuit.open_until - now).total_seconds()), _PAUSED_SECONDS)
            raise WaitError(
                f"{recipient} has failed again and again",
                code="recipient.resting",
                retry_after=left * _spread(),
            )

    def note(self, recipients: Sequence[str], results: Sequence[DisclosureResult]) -> None:
        """Remember how calls ended; the last one of an attempt speaks for it.

        Our own backends are many behind one name, so the outage of one says nothing about the
        others: their webhooks are paced by their own retries.
        """
        # What was never tried, because the ledger did not take it, says nothing of the recipient.
        tried = [result for result in results if result.milliseconds]
        if not tried:
            return
        last = tried[-1]
        failed = last.result is not SendResult.ANSWERED or (last.http_status or 0) >= 500
        for recipient in recipients:
            if self._policy.recipients[recipient].role == "own":
                continue
            if not failed and recipient not in self._circuits:
                continue
            note = CircuitNote(recipient, failed, self._clock())
            try:
                turn = self._commits.run(write_notes, note)
            except DatabaseUnavailable:
                continue
            if turn is Turn.OPENED:
                _log.error("circuit.opened", recipient=recipient)
            elif turn is Turn.CLOSED:
                _log.info("circuit.closed", recipient=recipient)
            if failed or turn is Turn.CLOSED:
                self._look_again_soon()

    def stop(self, recipients: Sequence[str], outcome: Outcome) -> None:
        """Pause recipients that refuse us as a whole; the first one to notice raises the alarm."""
        now = self._clock()
        # What ends by itself, the provider said when.
        until = None
        if outcome.retry_after is not None:
            until = now + dt.timedelta(seconds=outcome.retry_after)
        for recipient in recipients:
            wanted = Pause(
                scope=Scope.RECIPIENT,
                name=recipient,
                since=now,
                until=until,
                actor="worker",
                reason=outcome.code or "provider.refused",
            )
            try:
                with writing(self._engine) as connection:
                    first = pause(connection, wanted)
            except NO_ANSWER as error:
                _log.warning("recipient.not_paused", error=type(error).__name__)
                continue
            self._look_again_soon()
            if first:
                _log.error(
                    "recipient.stopped",
                    recipient=recipient,
                    code=outcome.code,
                    provider_code=outcome.provider_code,
                )

    def _may_probe(self, recipient: str) -> bool:
        try:
            with writing(self._engine) as connection:
                taken = take_probe(connection, recipient, now=self._clock())
        except NO_ANSWER:
            return False
        if taken:
            _log.info("circuit.probing", recipient=recipient)
        return taken

    def _look_again_soon(self) -> None:
        with self._lock:
            self._looked_at = -self._moment

    def _look(self, *, afresh: bool = False) -> None:
        with self._lock:
            if not afresh and time.monotonic() - self._looked_at < self._moment:
                return
            self._looked_at = time.monotonic()
        try:
            with self._engine.connect() as connection:
                pauses = list_pauses(connection, now=self._clock())
                circuits = list_circuits(connection)
        except NO_ANSWER:
            # Without the database nothing is disclosed anyway.
            return
        self._pauses = {each.name: each for each in pauses if each.scope is Scope.RECIPIENT}
        self._circuits = {
            each.recipient: each
            for each in circuits
            if each.failures or each.open_until is not None
        }


def _spread() -> float:
    return random.uniform(1.0, 1.2)  # noqa: S311 - so that not all come back at once
