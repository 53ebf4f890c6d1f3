"""Asks recipients what became of jobs whose outcome is unknown.

It repeats one only where the recipient itself makes sure that nothing happens twice: a push under
its cid.

Aliyun does not say how soon a text shows in QuerySendDetails, so a text that is not found may
still be on its way: nothing short of a person's decision sends it again. After the last question
the job stays ``unknown`` and waits for that person. Each question discloses, so their number is
bounded, and each is recorded like any other disclosure.
"""

from __future__ import annotations

import datetime as dt
import time
from functools import partial

from sqlalchemy import Engine

from models.attempts import Attempt
from models.clock import Clock, utc_now
from models.database import writing
from models.errors import SealBroken, WaitError, ZjjError
from models.group_commit import GroupCommit
from models.ledger import LedgerWriter
from models.reconciliation import Answer, Due, Question, claim_question, settle_answers, unknown_due
from models.sealing import Sealer, seal_identity
from models.states import Event
from tasks.outcomes import Outcome
from tasks.registry import TASKS
from tasks.task import Context, Task
from workers.circuits import Circuits
from workers.logs import get_logger
from workers.webhooks import Announcer

__all__ = ["Reconciler"]

_log = get_logger()

_PAUSES = (15, 60, 300, 1800, 3600, 3 * 3600)
"""Seconds from one question to the next; there is one question more than there are pauses."""


class Reconciler:
    """Settles unknown outcomes by the recipient's own account.

    Args:
        policy_version: The policy under which questions are asked.
        announcer: Makes webhooks of what answers announce; without one nobody is told.
    """

    name = "reconciler"
    interval = 1.0

    def __init__(  # noqa: PLR0913 - it does what a worker does, for one question
        self,
        engine: Engine,
        commits: GroupCommit,
        ledger: LedgerWriter,
        sealer: Sealer,
        context: Context,
        circuits: Circuits,
        *,
        worker_id: str,
        policy_version: str,
        announcer: Announcer | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._announcer = announcer
        self._engine = engine
        self._commits = commits
        self._settle = partial(settle_answers, write_results=ledger.write_results)
        self._sealer = sealer
        self._context = context
        self._circuits = circuits
        self._worker_id = worker_id
        self._policy_version = policy_version
        self._clock = clock
        self._tasks = {kind: task for kind, task in TASKS.items() if task.reconcile is not None}

    def round(self) -> int:
        """Ask about what is due; returns how many outcomes became certain."""
        now = self._clock()
        with self._engine.connect() as connection:
            due = unknown_due(
                connection, list(self._tasks), most_questions=len(_PAUSES) + 1, now=now
            )
        return sum(self._reconcile(each, self._tasks[each.kind]) for each in due)

    def _reconcile(self, due: Due, task: Task) -> bool:
        # Of several companies that do such jobs, only the one that got this job is asked.
        asked = (due.recipient,) if due.recipient else self._circuits.recipients(task)
        try:
            self._circuits.check(asked)
        except WaitError:
            return False
        now = self._clock()
        pause = dt.timedelta(seconds=_PAUSES[min(due.asked, len(_PAUSES) - 1)])
        with writing(self._engine) as connection:
            question = claim_question(
                connection, due.job_id, self._worker_id, again_at=now + pause, now=now
            )
        return question is not None and self._ask(question, task)

    def _ask(self, question: Question, task: Task) -> bool:
        started = time.perf_counter()
        attempt = self._attempt(question, task)
        try:
            payload = task.payload.model_validate(self._open(question))
            attempt.held = payload.held()
            assert task.reconcile is not None  # noqa: S101 - only such tasks are asked about
            if task.asks_about and question.operation not in task.asks_about:
                outcome = Outcome(event=Event.LOSE, code="reconciled.nobody_to_ask")
            else:
                outcome = task.reconcile(payload, attempt, self._context, question.sent_at)
        except ZjjError as error:
            outcome = Outcome(event=Event.LOSE, code=error.code, provider_code=error.provider_code)
        except Exception as error:  # noqa: BLE001 - the question stays open, and comes back
            _log.error("reconciliation.fault", job_id=question.job_id, exc_info=error)
            outcome = Outcome(event=Event.LOSE, code=f"fault.{type(error).__name__}")
        new_jobs = (
            self._announcer.prepare_all(question.backend, outcome.announcements)
            if self._announcer is not None and outcome.announcements
            else ()
        )
        answer = Answer(
            question=question,
            worker_id=self._worker_id,
            event=outcome.event,
            code=outcome.code or "reconciled",
            provider_code=outcome.provider_code,
            at=self._clock(),
            milliseconds=(time.perf_counter() - started) * 1000,
            disclosure_results=tuple(attempt.results),
            change=outcome.change,
            new_jobs=new_jobs,
        )
        counted = self._commits.run(self._settle, answer)
        self._circuits.note(self._circuits.recipients(task, attempt.held), attempt.results)
        _log.info(
            "job.reconciled" if counted else "reconciliation.refused",
            job_id=question.job_id,
            outcome=answer.event.value,
            code=answer.code,
            provider_code=answer.provider_code,
            asked=question.asked,
        )
        return counted and answer.event is not Event.LOSE

    def _attempt(self, question: Question, task: Task) -> Attempt:
        return Attempt(
            job_id=question.job_id,
            kind=question.kind,
            number=question.attempt,
            fence=question.fence,
            worker_id=self._worker_id,
            backend=question.backend,
            policy_version=self._policy_version,
            # A lifetime forbids late messages; most questions send none.
            expires_at=question.expires_at if task.sends_again else None,
            nonce=question.nonce,
            subject=question.subject,
            consent_ref=question.consent_ref,
            guardian_ref=question.guardian_ref,
        )

    def _open(self, question: Question) -> dict[str, object]:
        if question.sealed is None or question.bucket is None:
            raise SealBroken("the payload was erased", code="seal.forgotten")
        identity = seal_identity(question.job_id, question.kind, question.policy_version)
        return self._sealer.open(question.sealed, identity=identity, bucket=question.bucket)
