"""Verification codes as a service: made here, checked here, so that a backend never holds one.

The code is in clear inside the sealed payload of its sending and nowhere else; what is kept for
checking is a keyed digest (:mod:`models.codes`). About a code that a provider made (see
:func:`models.codes.hand_over`) the provider is asked, by a job, since only workers reach out.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import time
from dataclasses import dataclass, replace
from functools import partial

from models.clock import Clock, utc_now
from models.codes import (
    CheckElsewhere,
    Guess,
    NewCode,
    Verdict,
    Verification,
    write_guesses,
    write_verdicts,
)
from models.errors import ConfigurationError, InvalidValue, RetryError
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.jobs import EnqueuedJob, JobView, NewJob
from models.pii import Phone, VerificationCode
from models.pseudonyms import Pseudonyms
from models.states import SETTLED, State
from tasks.payload import Payload
from tasks.sms_code import Scene, SmsCode
from tasks.sms_code_check import SmsCodeCheck
from workers.service import AsyncTransaction, JobService, SyncTransaction

__all__ = ["CodeGuess", "CodeService"]

_LENGTHS = range(4, 7)
_ATTEMPTS = 5
_LIFETIME = dt.timedelta(minutes=5)
_PATIENCE = 12.0
"""Seconds for a question; it expires in ten."""
_LOOK = 0.03
_QUESTIONS = {"aliyun_sms_auth": SmsCodeCheck}
"""By ``checked_by``."""
_UNANSWERED = SETTLED - {State.SUCCEEDED}


class CodeGuess(Payload):
    """A code as somebody typed it, for one phone and scene."""

    phone: Phone
    scene: Scene
    code: VerificationCode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issue:
    """What makes two requests for a code the same."""

    payload: SmsCode
    length: int
    backend: str


class CodeService:
    """Makes codes, has them sent, and checks what people type.

    Args:
        jobs: Stores the sending jobs.
        commits: Where guesses are written.
        pseudonyms: Makes the digests.
        lifetime: How long a code can be verified, from its making.
        attempts: Guesses that a code allows.
    """

    def __init__(
        self,
        jobs: JobService,
        commits: GroupCommit,
        pseudonyms: Pseudonyms,
        *,
        lifetime: dt.timedelta = _LIFETIME,
        attempts: int = _ATTEMPTS,
        clock: Clock = utc_now,
    ) -> None:
        self.jobs = jobs
        self._commits = commits
        self._pseudonyms = pseudonyms
        self._lifetime = lifetime
        self._attempts = attempts
        self._clock = clock

    def issue(
        self,
        phone: Phone | str,
        scene: Scene,
        *,
        backend: str,
        length: int = 6,
        user: str | None = None,
        idempotency_key: str | None = None,
        client: str | None = None,
        transaction: SyncTransaction | None = None,
    ) -> EnqueuedJob:
        """Make a code and have it sent; an older code of this phone and scene is void then.

        Args:
            phone: Mainland mobile number.
            scene: Chooses the reviewed template; the code is good for this scene alone.
            backend: Who asks; the code is good for this backend alone.
            length: Digits, 4 to 6.
            user: The backend's opaque id for the person; never leaves.
            idempotency_key: The same key is the same code, sent once.
            client: Names the backend's own client, for its limit; see :class:`SmsLimits`.
            transaction: The caller's own; see :meth:`JobService.enqueue`.

        Raises:
            pydantic.ValidationError: Phone, scene or user are not what they should be.
            InvalidValue: The length is not 4 to 6.
            Throttled: A limit is reached; ``retry_after`` says for how long.
            IdempotencyConflict: The key was used for something else.
            DatabaseUnavailable: Nothing was stored.
        """
        issue = _issue(phone, scene, backend, length, user)
        return self.jobs.enqueue(
            issue.payload,
            backend=backend,
            idempotency_key=idempotency_key,
            transaction=transaction,
            client=client,
            code=partial(self._code_of, issue),
        )

    async def issue_async(
        self,
        phone: Phone | str,
        scene: Scene,
        *,
        backend: str,
        length: int = 6,
        user: str | None = None,
        idempotency_key: str | None = None,
        client: str | None = None,
        transaction: AsyncTransaction | None = None,
    ) -> EnqueuedJob:
        """:meth:`issue` for an event loop."""
        issue = _issue(phone, scene, backend, length, user)
        return await self.jobs.enqueue_async(
            issue.payload,
            backend=backend,
            idempotency_key=idempotency_key,
            transaction=transaction,
            client=client,
            code=partial(self._code_of, issue),
        )

    def verify(
        self, guess: CodeGuess, *, backend: str, idempotency_key: str | None = None
    ) -> Verification:
        """Judge what somebody typed; a code passes once.

        Args:
            guess: Phone, scene and code.
            backend: Who asks: another backend's code does not exist for it.
            idempotency_key: A repetition after a lost reply passes again under the same key.

        Raises:
            DatabaseUnavailable: Nothing was judged.
            RetryError: The provider that made the code did not say; the guess stays counted.
        """
        judged = self._guess(guess, backend, idempotency_key)
        answer = self._commits.run(write_guesses, judged)
        if isinstance(answer, Verification):
            return answer
        payload, key = _question(answer, guess), _question_key(answer, judged)
        question = self.jobs.enqueue(payload, backend=backend, idempotency_key=key)
        if question.state in _UNANSWERED:
            question = self.jobs.enqueue(payload, backend=backend)
        deadline = time.monotonic() + _PATIENCE
        while (passed := _passed(self.jobs.find(question.id), deadline)) is None:
            time.sleep(_LOOK)
        return self._commits.run(write_verdicts, self._verdict(judged, answer, passed=passed))

    async def verify_async(
        self, guess: CodeGuess, *, backend: str, idempotency_key: str | None = None
    ) -> Verification:
        """:meth:`verify` for an event loop."""
        judged = self._guess(guess, backend, idempotency_key)
        answer = await asyncio.wrap_future(self._commits.submit(write_guesses, judged))
        if isinstance(answer, Verification):
            return answer
        payload, key = _question(answer, guess), _question_key(answer, judged)
        question = await self.jobs.enqueue_async(payload, backend=backend, idempotency_key=key)
        if question.state in _UNANSWERED:
            question = await self.jobs.enqueue_async(payload, backend=backend)
        deadline = time.monotonic() + _PATIENCE
        # The worker that asks is another process: there is no event to wait for.
        while (  # noqa: ASYNC110
            passed := _passed(await self.jobs.find_async(question.id), deadline)
        ) is None:
            await asyncio.sleep(_LOOK)
        verdict = self._verdict(judged, answer, passed=passed)
        return await asyncio.wrap_future(self._commits.submit(write_verdicts, verdict))

    def _guess(self, guess: CodeGuess, backend: str, idempotency_key: str | None) -> Guess:
        place = self._pseudonyms.code_place(backend, guess.scene, guess.phone)
        name = new_id() if idempotency_key is None else idempotency_key
        return Guess(
            place=place,
            digest=lambda job_id: self._pseudonyms.code(place, job_id, guess.code),
            id=self._pseudonyms.idempotency_key(backend, "verification", name),
            cap=self._attempts,
            at=self._clock(),
        )

    def _verdict(self, guess: Guess, answer: CheckElsewhere, *, passed: bool) -> Verdict:
        return Verdict(
            place=guess.place,
            job_id=answer.job_id,
            guess_id=guess.id,
            at=self._clock(),
            passed=passed,
            attempts_left=answer.attempts_left,
        )

    def _code_of(self, issue: _Issue, job: NewJob) -> tuple[NewJob, NewCode]:
        """The sending job, and what is kept of its code."""
        payload = issue.payload
        now = job.created_at
        expires_at = now + self._lifetime
        place = self._pseudonyms.code_place(issue.backend, payload.scene, payload.phone)
        asked: dict[str, object] = {
            "phone": payload.phone,
            "scene": payload.scene,
            "length": issue.length,
        }
        if payload.user is not None:
            asked["user"] = payload.user
        code = NewCode(
            place=place,
            subject=self._pseudonyms.subject(payload.phone),
            job_id=job.id,
            backend=issue.backend,
            scene=payload.scene,
            digest=self._pseudonyms.code(place, job.id, payload.code),
            created_at=now,
            expires_at=expires_at,
        )
        job = replace(
            job,
            # Each call draws another code, and is the same request all the same.
            fingerprint=self._pseudonyms.fingerprint(job.kind, asked),
            # Nothing is sent that could not be verified any more.
            expires_at=expires_at if job.expires_at is None else min(job.expires_at, expires_at),
        )
        return job, code


def _question(answer: CheckElsewhere, guess: CodeGuess) -> Payload:
    """The job that asks whoever made the code."""
    try:
        payload = _QUESTIONS[answer.checked_by]
    except KeyError:
        raise ConfigurationError(
            f"nobody can be asked about codes of {answer.checked_by}"
        ) from None
    return payload(phone=guess.phone, code=guess.code, scene=guess.scene)


def _question_key(answer: CheckElsewhere, guess: Guess) -> str:
    """The same verification of the same code asks once: a provider says yes once only."""
    return f"{guess.id}-{guess.digest(answer.job_id)}"


def _passed(question: JobView | None, deadline: float) -> bool | None:
    """What the provider said; None while there may still come something."""
    if question is not None and question.state is State.SUCCEEDED:
        return bool(question.result.get("verdict") == "pass")
    if question is None or question.state in SETTLED or time.monotonic() > deadline:
        raise RetryError("the provider did not say whether the code is right", code="code.unsaid")
    return None


def _issue(phone: Phone | str, scene: Scene, backend: str, length: int, user: str | None) -> _Issue:
    if length not in _LENGTHS:
        raise InvalidValue("length must be 4 to 6")
    digits = f"{secrets.randbelow(10**length):0{length}d}"
    payload = SmsCode.model_validate(
        {"phone": phone, "code": VerificationCode(digits), "scene": scene, "user": user}
    )
    return _Issue(payload=payload, length=length, backend=backend)
