"""One job, from its id to its settle: claim, open the seal, run the task, settle."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

import structlog

from models.attempts import Attempt
from models.claims import Claim, ClaimRequest, write_claims
from models.clock import Clock, utc_now
from models.database import NO_ANSWER
from models.disclosures import SendResult
from models.errors import DatabaseUnavailable, SealBroken, ZjjError
from models.group_commit import CLOSED, REFUSED, GroupCommit
from models.jobs import NewJob
from models.ledger import LedgerWriter
from models.sealing import Sealer, seal_identity
from models.settlement import Settlement, StaleChange
from models.states import Event
from tasks.outcomes import Outcome, outcome_of
from tasks.payload import Payload
from tasks.registry import task_named
from tasks.task import Context, Task, UnknownKind
from workers.circuits import Circuits
from workers.logs import get_logger
from workers.roads import Roads
from workers.webhooks import Announcer

__all__ = ["FIRST_QUESTION", "Execution"]

_log = get_logger()

FIRST_QUESTION = dt.timedelta(seconds=5)
"""After this the recipient is asked what became of an unknown outcome."""

_MOST_CLAIMS = 5
"""Claims without a settle after which a job is poison."""
_MOST_DECISIONS = 10
"""Times that a job is decided anew because its change came too late."""
_WAIT_SECONDS = 1.0
_NEWER_VERSION_SECONDS = 30.0
_SETTLE_PAUSE_SECONDS = 0.25


class Execution:
    """Runs jobs for one worker process; every method may be called from many threads.

    Args:
        announcer: Makes webhooks of what outcomes announce; without one nobody is told.
        ring: Called with id and queue of jobs that follow from a settle.
    """

    def __init__(  # noqa: PLR0913 - it brings together what a job touches
        self,
        *,
        worker_id: str,
        commits: GroupCommit,
        ledger: LedgerWriter,
        sealer: Sealer,
        context: Context,
        circuits: Circuits,
        announcer: Announcer | None = None,
        ring: Callable[[str, str], None] = lambda _job_id, _queue: None,
        clock: Clock = utc_now,
    ) -> None:
        self._announcer = announcer
        self._ring = ring
        self._worker_id = worker_id
        self._commits = commits
        self._ledger = ledger
        self._sealer = sealer
        self._context = context
        self._circuits = circuits
        self._roads = Roads(commits, circuits, sealer, clock=clock)
        self._clock = clock
        self._active: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def active(self) -> frozenset[str]:
        """Ids of the jobs that are being worked on at this moment."""
        with self._lock:
            return frozenset(self._active)

    def run(self, job_id: str) -> None:
        """Claim a job and bring it as far as it goes; a job that is not ours to take is left.

        Never raises: what a job may raise ends in its settle, and what the database refuses is
        found again by the rescuer or the re-dispatcher.
        """
        with self._working_on(job_id):
            try:
                claim = self._commits.run(
                    write_claims,
                    ClaimRequest(job_id=job_id, worker_id=self._worker_id, at=self._clock()),
                )
            except DatabaseUnavailable as error:
                _log.warning("claim.failed", job_id=job_id, code=error.code)
                return
            if claim is None:
                _log.debug("claim.refused", job_id=job_id)
                return
            with structlog.contextvars.bound_contextvars(
                job_id=job_id, kind=claim.kind, attempt=claim.attempt
            ):
                self._perform(claim)

    def _perform(self, claim: Claim) -> None:
        started = time.perf_counter()
        attempt = _attempt_of(claim, self._worker_id)
        outcome, task = self._outcome(claim, attempt)
        for decisions in count(1):
            settlement = self._settlement(claim, attempt, outcome, task, started)
            try:
                self._settle(settlement, claim, outcome)
                break
            except StaleChange as error:
                if decisions < _MOST_DECISIONS:
                    outcome, task = self._outcome(claim, attempt)
                else:
                    # It carries no change, so this was the last time.
                    outcome = outcome_of(error)
        if task is not None and not task.roads:
            self._draw_conclusions(task, attempt, outcome)

    def _draw_conclusions(self, task: Task, attempt: Attempt, outcome: Outcome) -> None:
        """What the attempt says about the recipient, for the jobs that come after it."""
        recipients = self._circuits.recipients(task, attempt.held)
        self._circuits.note(recipients, attempt.results)
        if outcome.stops_recipient:
            self._circuits.stop(recipients, outcome)

    def _outcome(self, claim: Claim, attempt: Attempt) -> tuple[Outcome, Task | None]:
        if claim.claims > _MOST_CLAIMS:
            return Outcome(event=Event.FAIL, code="poison"), None
        try:
            task = task_named(claim.kind)
        except UnknownKind as error:
            # A newer version of us knows it; a rolling upgrade must not fail its jobs.
            return (
                Outcome(event=Event.WAIT, code=error.code, retry_after=_NEWER_VERSION_SECONDS),
                None,
            )
        try:
            payload = task.payload.model_validate(self._open(claim))
            attempt.held = payload.held()
            return self._done(task, payload, attempt), task
        except ZjjError as error:
            return outcome_of(error), task
        except Exception as error:  # noqa: BLE001 - a fault of ours must not lose the job
            return _unforeseen(error, attempt), task

    def _done(self, task: Task, payload: Payload, attempt: Attempt) -> Outcome:
        if reason := task.refuse(payload):
            return Outcome(event=Event.FAIL, code=reason)
        if task.roads:
            return self._roads.take(task, payload, attempt, self._context)
        self._circuits.check(self._circuits.recipients(task, attempt.held))
        return task.handle(payload, attempt, self._context)

    def _open(self, claim: Claim) -> dict[str, object]:
        if claim.sealed is None or claim.bucket is None:
            raise SealBroken("the payload was erased", code="seal.forgotten")
        identity = seal_identity(claim.job_id, claim.kind, claim.policy_version)
        return self._sealer.open(claim.sealed, identity=identity, bucket=claim.bucket)

    def _settlement(
        self,
        claim: Claim,
        attempt: Attempt,
        outcome: Outcome,
        task: Task | None,
        started: float,
    ) -> Settlement:
        now = self._clock()
        event = outcome.event
        run_at: dt.datetime | None = None
        if event is Event.RETRY and task is not None:
            run_at = task.retry.next_run(
                claim.attempt, now, retry_after=outcome.retry_after, expires_at=claim.expires_at
            )
            event = Event.RETRY if run_at else Event.FAIL
        elif event is Event.LOSE:
            run_at = now + FIRST_QUESTION
        elif event is Event.WAIT:
            run_at = now + dt.timedelta(seconds=outcome.retry_after or _WAIT_SECONDS)
            if claim.expires_at is not None and run_at >= claim.expires_at:
                event, run_at = Event.EXPIRE, None
        return Settlement(
            job_id=claim.job_id,
            fence=claim.fence,
            number=claim.attempt,
            worker_id=self._worker_id,
            event=event,
            started_at=claim.claimed_at,
            at=now,
            milliseconds=(time.perf_counter() - started) * 1000,
            code=outcome.code,
            provider_code=outcome.provider_code,
            run_at=run_at,
            result=outcome.result,
            disclosure_results=tuple(attempt.results),
            change=outcome.change if event is outcome.event else None,
        )

    def _settle(self, settlement: Settlement, claim: Claim, outcome: Outcome) -> None:
        """Store the outcome; while the database is away, hold on to it, however long that is.

        Raises:
            StaleChange: What the job decided upon has changed; nothing was stored.
        """
        counted: bool | None = None
        while counted is None:
            try:
                settlement = replace(settlement, new_jobs=self._following(claim, outcome))
                counted = bool(self._commits.run(self._ledger.write_settlements, settlement))
            except DatabaseUnavailable as error:
                if error.code in {REFUSED, CLOSED}:
                    # The heartbeat, or a rescuer, will find the claim and call it unknown.
                    _log.error("settle.lost", event_name=settlement.event, code=error.code)
                    return
                time.sleep(_SETTLE_PAUSE_SECONDS)
        for job in settlement.new_jobs if counted else ():
            self._ring(job.id, job.queue)
        _log.info(
            "job.settled" if counted else "settle.refused",
            outcome=settlement.event.value,
            code=settlement.code,
            provider_code=settlement.provider_code,
            milliseconds=round(settlement.milliseconds, 1),
        )

    def _following(self, claim: Claim, outcome: Outcome) -> tuple[NewJob, ...]:
        if self._announcer is None or not outcome.announcements:
            return ()
        return self._announcer.prepare_all(claim.backend, outcome.announcements)

    @contextmanager
    def _working_on(self, job_id: str) -> Iterator[None]:
        with self._lock:
            self._active[job_id] += 1
        try:
            yield
        finally:
            with self._lock:
                # A second delivery of a running job's id comes and goes without ending it.
                self._active[job_id] -= 1
                if not self._active[job_id]:
                    del self._active[job_id]


def _unforeseen(error: Exception, attempt: Attempt) -> Outcome:
    """What an error that no handler speaks of means: the database's silence, or a fault of ours."""
    if isinstance(error, NO_ANSWER):
        outcome = outcome_of(DatabaseUnavailable("the database does not answer"))
    else:
        _log.error("task.fault", exc_info=error)
        outcome = outcome_of(error)
    if any(result.result is not SendResult.UNSENT for result in attempt.results):
        return Outcome(event=Event.LOSE, code=outcome.code)
    return outcome


def _attempt_of(claim: Claim, worker_id: str) -> Attempt:
    return Attempt(
        job_id=claim.job_id,
        kind=claim.kind,
        number=claim.attempt,
        fence=claim.fence,
        worker_id=worker_id,
        backend=claim.backend,
        policy_version=claim.policy_version,
        expires_at=claim.expires_at,
        subject=claim.subject,
        consent_ref=claim.consent_ref,
        guardian_ref=claim.guardian_ref,
        nonce=claim.nonce,
    )
