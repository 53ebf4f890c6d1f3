"""Replays: sending settled jobs on their way again, on purpose, under today's policy.

The command line and the console stand on these functions. A batch is stored before its first job
is touched, so it can be stopped and gone on with, and going on with a finished one does nothing.
"""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Engine

from integrations.admission import Refused
from integrations.consents import demands_of
from integrations.detectors import detect
from integrations.policy import Operation, Policy
from models.clock import Clock, utc_now
from models.consents import obstacle
from models.database import writing
from models.errors import (
    ConfigurationError,
    IdempotencyConflict,
    InvalidValue,
    NotFound,
    SealBroken,
)
from models.identifiers import new_id
from models.job_search import JobFilter
from models.pii import Personal
from models.replays import (
    REPLAYABLE,
    REPLAYED,
    Candidate,
    Replay,
    candidates,
    close_item,
    disclosed_before,
    find_replay,
    open_replay,
    pending_items,
    put_back,
    refused_items,
    replay_verdicts,
)
from models.sealing import Sealer, seal_identity
from models.states import State
from tasks.registry import TASKS
from tasks.roads import in_order
from tasks.task import Task

__all__ = [
    "MOST_REFUSALS",
    "UNKNOWN_OUTCOME",
    "Leaving",
    "Plan",
    "Refusal",
    "Replays",
    "checked_reason",
]

MOST_REFUSALS = 200
"""So many refused jobs are named."""

UNKNOWN_OUTCOME = "outcome.unknown"
"""Reason of a refusal: it may have been done, and nothing keeps it from being done twice."""

_LONGEST_REASON = 200
_CHANGED = "changed"
"""Something happened to the job between choosing and replaying it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """What a replay would disclose, and to whom."""

    recipient: str
    operation: str
    purpose: str
    clauses: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A job that is not replayed."""

    job_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a replay would do."""

    policy_version: str
    replayable: int
    refused: Mapping[str, int]
    """How many jobs for which reason."""
    leaving: tuple[tuple[Leaving, int], ...]
    """Each with its number of jobs."""
    refusals: tuple[Refusal, ...]
    """Which jobs; of very many the first ones."""


class Replays:
    """Plans, begins and runs replays.

    Args:
        policy: Today's.
        roads: Names of the roads that codes take, the preferred one first.
    """

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        policy: Policy,
        *,
        roads: Sequence[str] = (),
        clock: Clock = utc_now,
    ) -> None:
        self._roads = roads
        self._engine = engine
        self._sealer = sealer
        self._policy = policy
        self._clock = clock

    def plan(self, wanted: JobFilter, *, even_if_sent: bool = False) -> Plan:
        """Judge jobs without touching them."""
        refused: Counter[str] = Counter()
        refusals: list[Refusal] = []
        leaving: Counter[Leaving] = Counter()
        replayable = 0
        for page in self._pages(_replayable(wanted)):
            before = self._disclosed_before(page)
            for job in page:
                judged = self._judge(job, before.get(job.id, {}), even_if_sent=even_if_sent)
                if isinstance(judged, str):
                    refused[judged] += 1
                    if len(refusals) < MOST_REFUSALS:
                        refusals.append(Refusal(job_id=job.id, reason=judged))
                else:
                    replayable += 1
                    leaving.update(judged.leaving)
        return Plan(
            policy_version=self._policy.version,
            replayable=replayable,
            refused=dict(refused.most_common()),
            leaving=tuple(leaving.most_common()),
            refusals=tuple(refusals),
        )

    def begin(
        self,
        wanted: JobFilter,
        *,
        actor: str,
        reason: str,
        even_if_sent: bool = False,
        batch_id: str | None = None,
        fingerprint: str | None = None,
    ) -> str:
        """Store a batch of the jobs that match now; returns its id.

        Args:
            actor: Who replays.
            reason: Why, for the audit; nothing personal.
            even_if_sent: Unknown outcomes too, although somebody may be reached twice.
            batch_id: A backend's own batch (that of ``wanted``), which workers carry out. A batch
                of this id that stands already is left as it is.
            fingerprint: What the backend asked for.

        Raises:
            InvalidValue: The reason is empty, too long, or holds something personal.
            IdempotencyConflict: The batch stands, and something else was asked for then.
        """
        batch = Replay(
            id=batch_id or new_id(),
            created_at=self._clock(),
            actor=actor,
            reason=checked_reason(reason),
            even_if_sent=even_if_sent,
            backend=wanted.backend if batch_id else None,
            fingerprint=fingerprint,
        )
        known = self.find(batch.id) if batch_id else None
        if known is None:
            chosen = [job for page in self._pages(_replayable(wanted)) for job in page]
            with writing(self._engine) as connection:
                if open_replay(connection, batch, chosen):
                    return batch.id
            known = self.find(batch.id)
        if known is None or known.fingerprint != fingerprint:
            raise IdempotencyConflict("this idempotency key was used before for something else")
        return known.id

    def find(self, replay_id: str) -> Replay | None:
        """A batch as it was begun."""
        with self._engine.connect() as connection:
            return find_replay(connection, replay_id)

    def advance(self, replay_id: str, *, at_most: int) -> int:
        """Replay some of what is left of a batch; returns how many jobs it came to.

        Several may do so at once: each job is replayed by one of them.
        """
        batch = self._batch(replay_id)
        items = self._pending(replay_id)[:at_most]
        for job_id in items:
            self._replay(batch, job_id)
        return len(items)

    def run(
        self,
        replay_id: str,
        *,
        per_second: float = 20.0,
        on_progress: Callable[[int], object] = lambda _: None,
    ) -> dict[str | None, int]:
        """Replay what is left of a batch.

        Args:
            per_second: At most so many jobs.
            on_progress: Told how many more are done.

        Returns:
            How many jobs of the whole batch ended with which verdict.

        Raises:
            NotFound: There is no such batch.
        """
        batch = self._batch(replay_id)
        began, done = time.monotonic(), 0
        while items := self._pending(replay_id):
            for job_id in items:
                time.sleep(max(0.0, began + done / per_second - time.monotonic()))
                self._replay(batch, job_id)
                done += 1
                on_progress(1)
        return self.verdicts(replay_id)

    def verdicts(self, replay_id: str) -> dict[str | None, int]:
        """How many jobs of a batch ended with which verdict; None counts those still to come."""
        with self._engine.connect() as connection:
            return replay_verdicts(connection, replay_id)

    def refusals(self, replay_id: str) -> tuple[Refusal, ...]:
        """Which jobs of a batch were refused so far; of very many the first ones."""
        with self._engine.connect() as connection:
            found = refused_items(connection, replay_id, limit=MOST_REFUSALS)
        return tuple(Refusal(job_id=job_id, reason=verdict) for job_id, verdict in found)

    def masks(self, job_id: str) -> dict[str, str]:
        """What a job still holds of a person, masked, by field; nothing once it has forgotten."""
        with self._engine.connect() as connection:
            found = candidates(connection, JobFilter(ids=(job_id,)))
        task = TASKS.get(found[0].kind) if found else None
        if task is None or found[0].sealed is None or found[0].bucket is None:
            return {}
        try:
            held = task.payload.model_validate(self._opened(found[0])).held()
        except (SealBroken, ConfigurationError, ValidationError):
            return {}
        return {name: value.mask() for name, value in held.items() if isinstance(value, Personal)}

    def _batch(self, replay_id: str) -> Replay:
        batch = self.find(replay_id)
        if batch is None:
            raise NotFound("there is no such replay")
        return batch

    def _pending(self, replay_id: str) -> list[str]:
        with self._engine.connect() as connection:
            return pending_items(connection, replay_id)

    def _pages(self, wanted: JobFilter) -> Iterator[list[Candidate]]:
        after = ""
        while True:
            with self._engine.connect() as connection:
                page = candidates(connection, wanted, after=after)
            if not page:
                return
            yield page
            after = page[-1].id

    def _disclosed_before(self, page: list[Candidate]) -> dict[str, dict[str, set[str]]]:
        with self._engine.connect() as connection:
            return disclosed_before(connection, [job.id for job in page])

    def _replay(self, batch: Replay, job_id: str) -> None:
        with self._engine.connect() as connection:
            found = candidates(connection, JobFilter(ids=(job_id,)))
            before = disclosed_before(connection, [job_id]).get(job_id, {})
        judged: str | _Passed = "pruned"
        if found:
            judged = self._judge(found[0], before, even_if_sent=batch.even_if_sent)
        now = self._clock()
        verdict = judged if isinstance(judged, str) else REPLAYED
        with writing(self._engine) as connection:
            # The item comes first: who closes it replays the job, and nobody else does.
            if not close_item(connection, batch.id, job_id, verdict, now=now):
                return
            if isinstance(judged, _Passed) and not put_back(
                connection,
                batch,
                found[0],
                sealed=self._resealed(found[0], judged),
                policy_version=self._policy.version,
                now=now,
            ):
                close_item(connection, batch.id, job_id, _CHANGED, now=now, instead_of=REPLAYED)

    def _resealed(self, job: Candidate, passed: _Passed) -> bytes:
        """The payload bound to today's policy; as it is, if it is bound to that already."""
        assert job.sealed is not None  # noqa: S101 - it was judged
        assert job.bucket is not None  # noqa: S101
        if job.policy_version == self._policy.version:
            return job.sealed
        identity = seal_identity(job.id, job.kind, self._policy.version)
        return self._sealer.seal(passed.held, identity=identity, bucket=job.bucket)

    def _judge(
        self, job: Candidate, before: Mapping[str, set[str]], *, even_if_sent: bool
    ) -> str | _Passed:
        """A static reason to refuse, or what the replay needs to know."""
        task = TASKS.get(job.kind)
        if refusal := self._refusal(job, task, even_if_sent=even_if_sent):
            return refusal
        assert task is not None  # noqa: S101 - else it was refused
        try:
            held = task.payload.model_validate(self._opened(job)).held()
        except (SealBroken, ConfigurationError) as error:
            return "payload.erased" if error.code == "seal.forgotten" else error.code
        except ValidationError:
            return "payload.outdated"
        leaving = self._leaving(job, task, held, before)
        return leaving if isinstance(leaving, str) else _Passed(held, leaving)

    def _leaving(
        self,
        job: Candidate,
        task: Task,
        held: Mapping[str, object],
        before: Mapping[str, set[str]],
    ) -> str | tuple[Leaving, ...]:
        """What today's policy lets out of it, or why that will not do."""
        leaving = []
        for name in self._operations(task, held):
            operation = self._policy.operations.get(name)
            if operation is None:
                return "policy.narrower"
            if reason := self._obstacle(operation, job, held):
                return reason
            categories = _categories(operation, held)
            if before.get(name, set()) - set(categories):
                return "policy.narrower"
            if any(
                field.held and field.required and field.held not in held
                for field in operation.fields.values()
            ):
                return "policy.asks_for_more"
            leaving.append(
                Leaving(
                    recipient=operation.recipient,
                    operation=name,
                    purpose=operation.purpose,
                    clauses=self._policy.purposes[operation.purpose].clauses,
                    categories=categories,
                )
            )
        return tuple(leaving)

    def _operations(self, task: Task, held: Mapping[str, object]) -> tuple[str, ...]:
        """What a job with these fields may perform; of several roads, those in use that come first.

        A road on which the recipient makes the code cannot take every job, so the next one counts.
        """
        if task.reaches is not None:
            return task.reaches(held)
        names: list[str] = []
        for road in in_order(task.roads, self._roads):
            names += road.operations
            if not road.makes_codes:
                break
        return tuple(names) or task.operations

    def _obstacle(
        self, operation: Operation, job: Candidate, held: Mapping[str, object]
    ) -> str | None:
        """What the gate would refuse it for."""
        try:
            demands = demands_of(
                self._policy,
                operation,
                held,
                backend=job.backend,
                consent_ref=job.consent_ref,
                guardian_ref=job.guardian_ref,
                now=self._clock(),
            )
        except Refused as refusal:
            return str(refusal)
        with self._engine.connect() as connection:
            return obstacle(
                connection,
                demands,
                job_id=job.id,
                subject=job.subject,
                purpose=operation.purpose,
                policy_version=self._policy.version,
            )

    def _refusal(self, job: Candidate, task: Task | None, *, even_if_sent: bool) -> str | None:
        if job.state is State.EXPIRED or (job.expires_at and job.expires_at <= self._clock()):
            return "expired"
        if job.state not in REPLAYABLE:
            return f"state.{job.state}"
        if job.sealed is None or job.bucket is None:
            return "payload.erased"
        if task is None:
            return "kind.unknown"
        if job.state is State.UNKNOWN and not (task.repeatable or even_if_sent):
            return UNKNOWN_OUTCOME
        return None

    def _opened(self, job: Candidate) -> dict[str, Any]:
        assert job.sealed is not None  # noqa: S101 - else it was refused
        assert job.bucket is not None  # noqa: S101
        identity = seal_identity(job.id, job.kind, job.policy_version)
        return self._sealer.open(job.sealed, identity=identity, bucket=job.bucket)


@dataclass(frozen=True, slots=True, repr=False)
class _Passed:
    held: Mapping[str, object]
    leaving: tuple[Leaving, ...]


def checked_reason(reason: str) -> str:
    """A reason fit for the audit.

    Raises:
        InvalidValue: It is empty, too long, or holds something personal.
    """
    reason = reason.strip()
    if not 1 <= len(reason) <= _LONGEST_REASON:
        raise InvalidValue(f"reason: must have 1 to {_LONGEST_REASON} characters")
    if any(unicodedata.category(character) == "Cc" for character in reason):
        raise InvalidValue("reason: must be one line of text")
    if detect(reason) is not None:
        raise InvalidValue("reason: must hold no phone, identity or card number")
    return reason


def _replayable(wanted: JobFilter) -> JobFilter:
    """Jobs named by id are judged whatever their state, others only if a replay makes sense."""
    return wanted if wanted.ids or wanted.states else replace(wanted, states=REPLAYABLE)


def _categories(operation: Operation, held: Mapping[str, object]) -> tuple[str, ...]:
    leaving = (
        field.category
        for field in operation.fields.values()
        if field.category and field.held in held
    )
    return tuple(dict.fromkeys(leaving))
