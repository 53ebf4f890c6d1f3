"""Every refusal of the gateway, as problem details (RFC 9457) that never repeat a value.

A refusal is raised as a :class:`Problem` anywhere below the routes and rendered here. Reasons
come from a fixed table, never from a library's message, because those may quote the input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from models.errors import (
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidValue,
    NotFound,
    RetryError,
    Throttled,
    WaitError,
    ZjjError,
)
from models.group_commit import IN_DOUBT
from workers.logs import get_logger

__all__ = [
    "PROBLEM_MEDIA_TYPE",
    "PROBLEM_SCHEMA",
    "FieldError",
    "Kind",
    "Problem",
    "fault",
    "field_errors",
    "handle_problems",
    "not_found",
    "problem_responses",
]

_log = get_logger()

PROBLEM_MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_SECONDS = 2.0
_DATABASE_ERRORS = (OperationalError, InterfaceError, PoolTimeout)


class Kind(Enum):
    """What went wrong: HTTP status, last part of the ``type`` URN, title."""

    UNAUTHENTICATED = (401, "unauthenticated", "A valid API key is needed")
    FORBIDDEN = (403, "missing-scope", "The API key may not be used for this")
    NOT_FOUND = (404, "not-found", "There is no such thing for this API key")
    GONE = (410, "gone", "It was handed out before, or nobody came for it in time")
    CONFLICT = (409, "idempotency-conflict", "The idempotency key was used for something else")
    JOB_STATE = (409, "job-state", "The state of the job does not allow this")
    INVALID = (422, "invalid-request", "The request cannot be accepted as it is")
    WAIT = (429, "wait", "Too many requests")
    INTERNAL = (500, "internal", "A fault of the gateway")
    UNAVAILABLE = (503, "unavailable", "Not accepted")
    IN_DOUBT = (503, "in-doubt", "Perhaps accepted")

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.value[0]

    @property
    def type(self) -> str:
        """The problem type, a URN: stable, made to be compared."""
        return f"urn:problem-type:zjj:{self.value[1]}"

    @property
    def title(self) -> str:
        """One fixed line for a person."""
        return self.value[2]


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: its name and a reason, without the value."""

    field: str
    reason: str
    code: str


class Problem(Exception):
    """A refusal on its way to the caller.

    Args:
        kind: Decides status, type and title.
        detail: One sentence for a person, free of values.
        errors: The fields at fault.
        headers: Sent with the reply.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind.type)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    @classmethod
    def invalid(cls, *errors: FieldError) -> Problem:
        """The request is at fault, field by field."""
        names = ", ".join(dict.fromkeys(error.field for error in errors))
        return cls(Kind.INVALID, f"Nothing was stored. At fault: {names}.", errors=errors)

    def response(self) -> JSONResponse:
        """The reply itself."""
        body: dict[str, Any] = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = [asdict(error) for error in self.errors]
        return JSONResponse(
            body, self.kind.status, headers=self.headers, media_type=PROBLEM_MEDIA_TYPE
        )


# pydantic's error type -> (our code, the reason). Only numbers and our own words go in.
_REASONS: dict[str, tuple[str, str]] = {
    "missing": ("missing", "is required"),
    "extra_forbidden": ("unknown_field", "is not a field of this request"),
    "invalid_value": ("invalid_value", "{reason}"),
    "json_invalid": ("invalid_json", "must be well-formed JSON in UTF-8"),
    "model_type": ("wrong_type", "must be a JSON object"),
    "model_attributes_type": ("wrong_type", "must be a JSON object"),
    "string_type": ("wrong_type", "must be text"),
    "string_unicode": ("wrong_type", "must be Unicode text"),
    "int_type": ("wrong_type", "must be a whole number"),
    "bool_type": ("wrong_type", "must be true or false"),
    "enum": ("unknown_choice", "must be one of {expected}"),
    "literal_error": ("unknown_choice", "must be one of {expected}"),
    "string_pattern_mismatch": ("wrong_form", "must match {pattern}"),
    "string_too_short": ("wrong_length", "must have at least {min_length} characters"),
    "string_too_long": ("wrong_length", "must have at most {max_length} characters"),
}
_OTHER_REASON = ("invalid_value", "is not valid")

_NO_DATABASE = (
    "The database does not answer, so nothing was promised. Send the same request again, with the "
    "same Idempotency-Key."
)
_UNSAID = (
    "The provider that made this code does not say whether it is right. The guess stays counted."
)

# Code of a limit -> (the field it hangs on, what to say).
_LIMITS: dict[str, tuple[str, str]] = {
    "limit.phone_scene": ("phone", "This phone has had its codes for this scene."),
    "limit.phone": ("phone", "This phone has had its codes."),
    "limit.client": ("client", "This client has had its codes."),
    "limit.backend": ("body", "This backend has had its codes."),
    "limit.alarm": ("phone", "Unusually many new phones: new ones are let in slowly."),
}

# A key sent by the caller can itself be personal (a phone number, a name, an OpenID): it is
# repeated only when it reads like a field name of ours, that is short lower-case words.
_HARMLESS_NAME = re.compile(r"(?=.{1,24}\Z)[a-z]+(?:_[a-z]+)*")


def field_errors(
    errors: Iterable[Mapping[str, Any]], known: Iterable[str] = ()
) -> tuple[FieldError, ...]:
    """Turn pydantic's error list into ours.

    Args:
        errors: ``ValidationError.errors()``; inputs and messages in it are ignored.
        known: Names of the declared fields; every other name is repeated only if it looks
            harmless, else the field is called ``unknown``.
    """
    known = frozenset(known)

    def name(location: tuple[Any, ...]) -> str:
        parts = [part for part in location if part not in ("body", "header", "query", "path")]
        if not parts:
            return "body"
        first = str(parts[0])
        return first if first in known or _HARMLESS_NAME.fullmatch(first) else "unknown"

    found = []
    for error in errors:
        code, reason = _REASONS.get(error["type"], _OTHER_REASON)
        field = "body" if code == "invalid_json" else name(error["loc"])
        found.append(FieldError(field, reason.format_map(error.get("ctx", {})), code))
    return tuple(dict.fromkeys(found))


def handle_problems(app: FastAPI) -> None:
    """Make ``app`` answer every error as problem details."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        return _answer(error)

    for error in (Problem, ZjjError, *_DATABASE_ERRORS, RequestValidationError, HTTPException):
        app.add_exception_handler(error, handle)


def not_found() -> Problem:
    """The same words whether the thing does not exist or belongs to another backend."""
    return Problem(Kind.NOT_FOUND, "What the URL names does not exist for this API key.")


def _answer(error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException):
        return _plain(error)
    if isinstance(error, RequestValidationError):
        return _parameters(error).response()
    if isinstance(error, Problem):
        return error.response()
    if isinstance(error, _DATABASE_ERRORS):
        error = DatabaseUnavailable("the database does not answer")
    return _from_tree(error).response()


def _plain(error: HTTPException) -> JSONResponse:
    """No such path, no such method: HTTP itself says it all."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
    }
    return JSONResponse(
        body, error.status_code, headers=error.headers, media_type=PROBLEM_MEDIA_TYPE
    )


def _parameters(error: RequestValidationError) -> Problem:
    faults = error.errors()
    if any(fault["loc"][0] == "path" for fault in faults):
        return not_found()
    headers = {str(fault["loc"][1]) for fault in faults if fault["loc"][0] == "header"}
    return Problem.invalid(*field_errors(faults, known=headers))


def _from_tree(error: Exception) -> Problem:
    match error:
        case RetryError():
            return _retry(error)
        case WaitError():
            return _wait(error)
        case IdempotencyConflict():
            return Problem(
                Kind.CONFLICT,
                "This Idempotency-Key belongs to an earlier job with another payload. "
                "Use a new key for a new job.",
                errors=[FieldError("Idempotency-Key", "was used before", error.code)],
            )
        case InvalidValue():
            return Problem.invalid(FieldError("body", error.message, error.code))
        case NotFound():
            return not_found()
        case _:
            _log.error("gateway.failed", exc_info=error)
            return fault()


def _retry(error: RetryError) -> Problem:
    kind, detail = Kind.UNAVAILABLE, _NO_DATABASE
    if error.code == IN_DOUBT:
        kind, detail = Kind.IN_DOUBT, _DOUBT
    elif error.code == "code.unsaid":
        detail = _UNSAID
    return Problem(kind, detail, headers=_retry_after(error))


_DOUBT = (
    "The database went away while it was storing this. Send the same request again, with the same "
    "Idempotency-Key: then it is accepted once."
)


def _wait(error: WaitError) -> Problem:
    if not isinstance(error, Throttled):
        return Problem(Kind.WAIT, error.message, headers=_retry_after(error))
    field, detail = _LIMITS.get(error.code, ("body", "A limit is reached."))
    return Problem(
        Kind.WAIT,
        f"{detail} Nothing was stored; Retry-After says when to ask again.",
        errors=[FieldError(field, "has no permit left", error.code)],
        headers=_retry_after(error),
    )


def fault() -> Problem:
    """Our own fault, about which the caller learns nothing."""
    return Problem(Kind.INTERNAL, "The gateway failed; the fault is in its log.")


def _retry_after(error: ZjjError) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(error.retry_after or _RETRY_AFTER_SECONDS))}


PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "Problem details (RFC 9457). Never contains a value that was sent.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "reason", "code"],
                "properties": {
                    "field": {"type": "string"},
                    "reason": {"type": "string"},
                    "code": {"type": "string"},
                },
                "additionalProperties": False,
            },
        },
    },
}

_CHALLENGE: dict[str, Any] = {
    "WWW-Authenticate": {
        "description": "The scheme to use, and the scope that is missing.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_HEADERS: dict[Kind, dict[str, Any]] = {
    Kind.UNAUTHENTICATED: _CHALLENGE,
    Kind.FORBIDDEN: _CHALLENGE,
    Kind.WAIT: {
        "Retry-After": {
            "description": "Seconds to wait.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}
_HEADERS[Kind.UNAVAILABLE] = _HEADERS[Kind.WAIT]


def problem_responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """What a route may refuse with, in the form of FastAPI's ``responses``."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        kind.status: {
            "description": kind.title,
            "content": content,
            "headers": _HEADERS.get(kind, {}),
        }
        for kind in kinds
    }
