"""What people do about jobs that are there already: find, replay, cancel, pause.

The command line, the HTTP interface and the console stand on this. A caller that speaks for one
backend says so in the filter; queues and recipients belong to all of them.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from integrations.policy import Policy
from models.allowances import Alarm, list_alarms
from models.circuits import list_circuits
from models.clock import Clock, utc_now
from models.database import writing
from models.errors import NotFound
from models.job_search import JobFilter, JobSummary, search_jobs
from models.overview import Standing, look_over
from models.pauses import Pause, Scope, list_pauses
from models.pauses import pause as begin_pause
from models.pauses import resume as end_pause
from models.pii import Phone
from models.pseudonyms import Pseudonyms
from models.replays import REPLAYED, cancel_jobs
from tasks.task import QUEUES
from workers.replays import Refusal, Replays, checked_reason

__all__ = ["Batch", "Desk", "QueueView", "Queues", "RecipientView"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """What waits in a queue."""

    queue: str
    jobs: Mapping[str, int]
    """State to number."""
    paused: Pause | None
    oldest: dt.datetime | None
    """Since when the oldest queued job could have run."""
    unknown: int
    """Jobs whose outcome is not known."""
    workers: int
    """Processes that serve it and have shown themselves in the last half minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientView:
    """A recipient that is left alone: by a person, by a rule, or because it fails."""

    recipient: str
    paused: Pause | None
    resting_until: dt.datetime | None
    """Its circuit is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """All queues, the recipients about which there is something to say, and what alarms."""

    queues: Sequence[QueueView]
    recipients: Sequence[RecipientView]
    alarms: Sequence[Alarm]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How far a replay has come."""

    id: str
    created_at: dt.datetime
    reason: str
    even_if_sent: bool
    replayed: int
    refused: Mapping[str, int]
    """How many jobs for which reason."""
    refusals: Sequence[Refusal]
    """Which jobs; of very many the first ones."""
    pending: int


class Desk:
    """Where operators and backends turn to.

    Args:
        policy: Names the recipients.
    """

    def __init__(
        self,
        engine: Engine,
        pseudonyms: Pseudonyms,
        replays: Replays,
        policy: Policy,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self.replays = replays
        self._engine = engine
        self._pseudonyms = pseudonyms
        self._recipients = frozenset(policy.recipients)
        self._clock = clock

    def subject(self, phone: Phone) -> str:
        """The pseudonym by which a person's jobs are searched for."""
        return self._pseudonyms.subject(phone)

    def search(
        self, wanted: JobFilter, *, before: str | None = None, limit: int = 50
    ) -> list[JobSummary]:
        """A page of jobs, newest first; see :func:`models.job_search.search_jobs`."""
        with self._engine.connect() as connection:
            return search_jobs(connection, wanted, before=before, limit=limit)

    def masks(self, job_id: str) -> Mapping[str, str]:
        """What a job still holds of a person, masked, by field; see :meth:`Replays.masks`."""
        return self.replays.masks(job_id)

    def begin_replay(
        self,
        wanted: JobFilter,
        *,
        backend: str,
        reason: str,
        even_if_sent: bool,
        idempotency_key: str,
    ) -> str:
        """Store a backend's batch, which workers carry out; the same request is the same batch.

        Raises:
            InvalidValue: The reason will not do.
            IdempotencyConflict: The key was used for another batch.
        """
        asked = {"wanted": repr(wanted), "reason": reason, "even_if_sent": str(even_if_sent)}
        key = self._pseudonyms.idempotency_key(backend, "replay", idempotency_key)
        return self.replays.begin(
            wanted,
            actor=_actor(backend),
            reason=reason,
            even_if_sent=even_if_sent,
            batch_id=key[:32],
            fingerprint=self._pseudonyms.fingerprint("replay", asked),
        )

    def batch(self, replay_id: str, *, backend: str) -> Batch | None:
        """How a backend's batch stands; None if there is none, or it is another's."""
        found = self.replays.find(replay_id)
        if found is None or found.backend != backend:
            return None
        verdicts = self.replays.verdicts(replay_id)
        return Batch(
            id=found.id,
            created_at=found.created_at,
            reason=found.reason,
            even_if_sent=found.even_if_sent,
            replayed=verdicts.pop(REPLAYED, 0),
            pending=verdicts.pop(None, 0),
            refused={str(verdict): count for verdict, count in verdicts.items()},
            refusals=self.replays.refusals(replay_id),
        )

    def cancel(self, wanted: JobFilter, *, actor: str, reason: str) -> list[str]:
        """Cancel all jobs that match and wait, and erase their payloads; returns their ids.

        Raises:
            InvalidValue: The reason will not do.
        """
        reason = checked_reason(reason)
        cancelled: list[str] = []
        while True:
            with writing(self._engine) as connection:
                batch = cancel_jobs(
                    connection, wanted, actor=actor, reason=reason, now=self._clock()
                )
            if not batch:
                return cancelled
            cancelled += batch

    def cancel_for(self, backend: str, job_id: str, *, reason: str) -> bool:
        """Cancel one job of a backend; False when it does not wait.

        Raises:
            InvalidValue: The reason will not do.
        """
        wanted = JobFilter(ids=(job_id,), backend=backend)
        return bool(self.cancel(wanted, actor=_actor(backend), reason=reason))

    def queues(self) -> Queues:
        """What waits, what is paused, what fails."""
        now = self._clock()
        with self._engine.connect() as connection:
            standing = defaultdict(Standing, look_over(connection, now=now))
            pauses = {(each.scope, each.name): each for each in list_pauses(connection, now=now)}
            alarms = list_alarms(connection, now=now)
            resting = {each.recipient: each.open_until for each in list_circuits(connection)}
        failing = {name for name, until in resting.items() if until is not None}
        paused = {name for scope, name in pauses if scope is Scope.RECIPIENT}
        return Queues(
            queues=[
                QueueView(
                    queue=name,
                    jobs=standing[name].jobs,
                    paused=pauses.get((Scope.QUEUE, name)),
                    oldest=standing[name].oldest,
                    unknown=standing[name].unknown,
                    workers=standing[name].workers,
                )
                for name in QUEUES
            ],
            recipients=[
                RecipientView(
                    recipient=name,
                    paused=pauses.get((Scope.RECIPIENT, name)),
                    resting_until=resting.get(name),
                )
                for name in sorted(paused | failing)
            ],
            alarms=alarms,
        )

    def pause(self, name: str, *, actor: str, reason: str) -> bool:
        """Leave a queue or recipient alone until resumed; False when it was paused already.

        Raises:
            NotFound: There is no such queue or recipient.
            InvalidValue: The reason will not do.
        """
        wanted = Pause(
            scope=self._scope(name),
            name=name,
            since=self._clock(),
            until=None,
            actor=actor,
            reason=checked_reason(reason),
        )
        with writing(self._engine) as connection:
            return begin_pause(connection, wanted)

    def resume(self, name: str, *, actor: str, reason: str) -> bool:
        """End a pause; False when there was none.

        Raises:
            NotFound: There is no such queue or recipient.
            InvalidValue: The reason will not do.
        """
        scope, reason = self._scope(name), checked_reason(reason)
        with writing(self._engine) as connection:
            return end_pause(connection, scope, name, actor=actor, reason=reason, now=self._clock())

    def _scope(self, name: str) -> Scope:
        if name in QUEUES:
            return Scope.QUEUE
        if name in self._recipients:
            return Scope.RECIPIENT
        raise NotFound("there is no such queue or recipient; queues: " + ", ".join(QUEUES))


def _actor(backend: str) -> str:
    """A backend, for the audit."""
    return f"api:{backend}"[:64]
