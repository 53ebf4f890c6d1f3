"""The protocol without the network: what to send, when to repeat, what a reply means.

A conversation is a generator: it yields a :class:`Request` or a :class:`Pause` and is sent what
came of it. The sync and the async client only differ in how they carry that out.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

from zjj._errors import (
    AuthenticationError,
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    NotSettledError,
    RetryError,
    UnexpectedReplyError,
    WaitError,
    ZjjError,
)
from zjj._jobs import Job, job_from
from zjj._replays import JobPage, Replay, SearchTerms, page_from, replay_from
from zjj._verifications import Verification, verification_from

__all__ = [
    "Conversation",
    "Failure",
    "Pause",
    "Reply",
    "Request",
    "cancel_job",
    "check_identity",
    "check_phone",
    "exchange",
    "get_job",
    "invalid",
    "log_in",
    "push",
    "reader",
    "replay_job",
    "search_jobs",
    "send_sms_code",
    "take_phone",
    "verify_sms_code",
    "wait_for_job",
]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_LONGEST_RETRY_AFTER = 30.0
"""Seconds; a gateway that asks for more gets no automatic retry, the caller decides."""
_FIRST_LOOK, _LATEST_LOOK = 0.05, 1.0
_TRANSIENT = frozenset({429, 502, 503, 504})
_NOT_FOUND = "urn:problem-type:zjj:not-found"
_UNDER_WAY = "urn:problem-type:zjj:job-state"
_REFUSALS: dict[int, tuple[type[ZjjError], str]] = {
    401: (AuthenticationError, "the gateway does not accept this API key"),
    403: (AuthenticationError, "the gateway does not accept this API key"),
    409: (ConflictError, "the idempotency key was used before with another payload"),
    429: (WaitError, "too many requests"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An HTTP request to make; ``path`` is relative to the gateway's URL."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """The HTTP reply; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """There was no reply; ``reason`` is the name of the transport's error."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds to sleep."""

    seconds: float


T = TypeVar("T")
Conversation = Generator["Request | Pause", "Reply | Failure | None", T]


def send_sms_code(
    *,
    phone: str,
    scene: str,
    idempotency_key: str | None,
    attempts: int,
    **optional: str | int | None,
) -> Conversation[Job]:
    """Ask for one code to be sent; every repetition carries the same key."""
    body = {"phone": phone, "scene": scene, **optional}
    return _hand_in("/v1/sms-codes", body, idempotency_key, attempts)


def verify_sms_code(
    *, phone: str, code: str, scene: str, idempotency_key: str | None, attempts: int
) -> Conversation[Verification]:
    """Have one typed code judged; under the same key a repetition passes again."""
    key = _key(idempotency_key)
    body = {"phone": phone, "code": code, "scene": scene}
    request = _post("/v1/sms-codes/verify", body, key)
    return exchange(request, attempts, _verification_in, idempotency_key=key)


def check_identity(
    body: Mapping[str, object], *, idempotency_key: str | None, attempts: int
) -> Conversation[Job]:
    """Ask whether a name and an identity number belong together."""
    return _hand_in("/v1/identity-checks", body, idempotency_key, attempts)


def verify_face(
    body: Mapping[str, object], *, idempotency_key: str | None, attempts: int
) -> Conversation[Job]:
    """Begin to verify a face."""
    return _hand_in("/v1/face-verifications", body, idempotency_key, attempts)


def log_in(
    body: Mapping[str, object], *, idempotency_key: str | None, attempts: int
) -> Conversation[Job]:
    """Have a login token exchanged for a phone number."""
    return _hand_in("/v1/logins", body, idempotency_key, attempts)


def check_phone(
    body: Mapping[str, object], *, idempotency_key: str | None, attempts: int
) -> Conversation[Job]:
    """Ask whether a number is the phone's own."""
    return _hand_in("/v1/phone-checks", body, idempotency_key, attempts)


def push(
    body: Mapping[str, object], *, idempotency_key: str | None, attempts: int
) -> Conversation[Job]:
    """Have a notice pushed to one device."""
    return _hand_in("/v1/pushes", body, idempotency_key, attempts)


def take_phone(job_id: str) -> Conversation[str]:
    """Take a login's number; asked once only, because a second fetch finds nothing."""
    _check_id(job_id)
    return exchange(Request(method="POST", path=f"/v1/logins/{job_id}/phone"), 1, _phone_in)


def _check_id(job_id: str) -> None:
    # So that nothing else than a job id ever becomes part of a URL.
    if not re.fullmatch(r"[0-9a-f]{32}", job_id):
        raise invalid("id", "is not a job id")


def _hand_in(
    path: str, fields: Mapping[str, object], idempotency_key: str | None, attempts: int
) -> Conversation[Job]:
    """Enqueue a job; fields that are None are left out."""
    key = _key(idempotency_key)
    body = {name: value for name, value in fields.items() if value is not None}
    return exchange(_post(path, body, key), attempts, _job_in, idempotency_key=key)


def get_job(job_id: str, *, attempts: int) -> Conversation[Job]:
    """Read one job."""
    _check_id(job_id)
    return exchange(Request(method="GET", path=f"/v1/jobs/{job_id}"), attempts, _job_in)


def search_jobs(terms: SearchTerms, *, attempts: int) -> Conversation[JobPage]:
    """A page of the backend's own jobs."""
    body = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in terms.items()}
    request = Request(
        method="POST",
        path="/v1/jobs/search",
        headers={"Content-Type": "application/json"},
        content=json.dumps(body).encode("ascii"),
    )
    return exchange(request, attempts, reader(page_from))


def replay_job(
    job_id: str, *, reason: str, even_if_sent: bool, idempotency_key: str | None, attempts: int
) -> Conversation[Replay]:
    """Send a settled job on its way again; a repetition under the same key does nothing more."""
    _check_id(job_id)
    key = _key(idempotency_key)
    body = {"reason": reason, "even_if_sent": even_if_sent}
    request = _post(f"/v1/jobs/{job_id}/replay", body, key)
    return exchange(request, attempts, reader(replay_from), idempotency_key=key)


def cancel_job(job_id: str, *, reason: str, attempts: int) -> Conversation[Job]:
    """Cancel a job that waits; cancelling it again changes nothing."""
    _check_id(job_id)
    request = _post(f"/v1/jobs/{job_id}/cancel", {"reason": reason}, _key(None))
    try:
        return (yield from exchange(request, attempts, _job_in))
    except WaitError as error:
        if error.status != 409:
            raise
    raise ConflictError("the job runs or is settled; only a waiting one is cancelled", status=409)


def wait_for_job(job_id: str, *, timeout: float, attempts: int) -> Conversation[Job]:
    """Read one job until it is settled; the time is checked between requests."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_LOOK
    while True:
        job = yield from get_job(job_id, attempts=attempts)
        left = deadline - time.monotonic()
        if job.settled:
            return job
        if left <= 0:
            raise NotSettledError(job)
        yield Pause(min(pause, left))
        pause = min(pause * 1.5, _LATEST_LOOK)


def _key(given: str | None) -> str:
    key = str(uuid4()) if given is None else given
    if not re.fullmatch(r"[!-~]{1,255}", key):
        raise invalid("idempotency_key", "must be 1 to 255 visible ASCII characters")
    return key


def _post(path: str, body: Mapping[str, Any], key: str) -> Request:
    return Request(
        method="POST",
        path=path,
        headers={"Content-Type": "application/json", "Idempotency-Key": key},
        content=json.dumps(body).encode("ascii"),
    )


def exchange(
    request: Request,
    attempts: int,
    read: Callable[[Reply], T | ZjjError],
    *,
    idempotency_key: str | None = None,
) -> Conversation[T]:
    """Ask, and ask again while that may help; ``read`` makes sense of a good reply."""
    attempt = 1
    while True:
        answer = yield request
        if answer is None:
            raise TypeError("a request must be answered by a Reply or a Failure")
        meaning = _meaning(answer, read)
        if not isinstance(meaning, ZjjError):
            return meaning
        pause = _pause_before_repeating(answer, meaning.retry_after, attempt)
        if pause is None or attempt >= attempts:
            meaning.idempotency_key = idempotency_key
            raise meaning
        yield Pause(pause)
        attempt += 1


def _pause_before_repeating(
    answer: Reply | Failure, retry_after: float | None, attempt: int
) -> float | None:
    """Full jitter, but never sooner than the gateway asks; None when repeating is pointless."""
    if isinstance(answer, Reply) and answer.status not in _TRANSIENT:
        return None
    if retry_after is not None and retry_after > _LONGEST_RETRY_AFTER:
        return None
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1))
    return (retry_after or 0.0) + random.uniform(0.0, longest)  # noqa: S311 - spreads load


def _meaning(answer: Reply | Failure, read: Callable[[Reply], T | ZjjError]) -> T | ZjjError:
    if isinstance(answer, Failure):
        return RetryError(f"the gateway did not answer ({answer.reason})")
    if answer.status in (200, 202):
        return read(answer)
    document = _json(answer)
    problem: Mapping[str, Any] = document if isinstance(document, dict) else {}
    return _error_in(answer, problem)


def _job_in(reply: Reply) -> Job | ZjjError:
    try:
        return job_from(
            _json(reply), repeated=reply.headers.get("idempotency-result") == "repeated"
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return _not_the_gateway(reply)


def reader(
    read: Callable[[Mapping[str, Any]], T],
) -> Callable[[Reply], T | ZjjError]:
    """What :func:`exchange` reads with, from what reads the JSON."""

    def of(reply: Reply) -> T | ZjjError:
        try:
            return read(_json(reply))
        except (AttributeError, KeyError, TypeError, ValueError):
            return _not_the_gateway(reply)

    return of


def _verification_in(reply: Reply) -> Verification | ZjjError:
    try:
        return verification_from(_json(reply))
    except (KeyError, TypeError, ValueError):
        return _not_the_gateway(reply)


def _phone_in(reply: Reply) -> str | ZjjError:
    document = _json(reply)
    phone = document.get("phone") if isinstance(document, dict) else None
    return phone if isinstance(phone, str) else _not_the_gateway(reply)


def _error_in(reply: Reply, problem: Mapping[str, Any]) -> ZjjError:
    status = reply.status
    if status == 422:
        return InvalidRequestError(_field_errors(problem), status=status)
    if status == 404 and problem.get("type") == _NOT_FOUND:
        return NotFoundError("there is no such job for this API key", status=status)
    if problem.get("type") == _UNDER_WAY:
        return WaitError("it has not come to its end yet", status=status)
    if status == 410:
        return NotFoundError("it was taken before, or nobody came in time", status=status)
    if status in _REFUSALS:
        kind, message = _REFUSALS[status]
    elif status >= 500:
        kind, message = RetryError, f"the gateway answered {status}"
    else:
        return _not_the_gateway(reply)
    return kind(message, status=status, retry_after=_retry_after(reply))


def _not_the_gateway(reply: Reply) -> ZjjError:
    return UnexpectedReplyError(
        f"this is not how the gateway answers (HTTP {reply.status}); is the URL right?",
        status=reply.status,
    )


def _field_errors(problem: Mapping[str, Any]) -> tuple[FieldError, ...]:
    try:
        return tuple(
            FieldError(str(item["field"]), str(item["reason"]), str(item["code"]))
            for item in problem["errors"]
        )
    except (KeyError, TypeError):
        return ()


def _json(reply: Reply) -> Any:
    try:
        return json.loads(reply.content)
    except ValueError:
        return None


def _retry_after(reply: Reply) -> float | None:
    # The gateway sends seconds; a proxy's HTTP date is left to the ordinary backoff.
    text = reply.headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


def invalid(field: str, reason: str) -> InvalidRequestError:
    """A field that need not be sent to be refused."""
    return InvalidRequestError((FieldError(field, reason, "invalid_value"),))
