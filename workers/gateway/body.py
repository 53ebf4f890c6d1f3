"""Reading a request body: never more than the cap, one strict JSON parser, no value in errors.

FastAPI's own reading is not used because it reads a body of any length before anybody asked
who is calling, and keeps the input inside its errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from workers.gateway.problems import FieldError, Problem, field_errors

__all__ = ["BODY_LIMIT", "json_body", "read_body"]

BODY_LIMIT = 16 * 1024
"""Bytes of a request body that are accepted."""

_Payload = TypeVar("_Payload", bound=BaseModel)


async def read_body(request: Request, *, limit: int = BODY_LIMIT) -> bytes:
    """The whole body, counted while it arrives: a ``Content-Length`` may be absent or a lie.

    Raises:
        Problem: Longer than ``limit`` bytes; 422 that names ``body``.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Problem.invalid(
                FieldError("body", f"must have at most {limit} bytes", "too_large")
            )
    return bytes(body)


def json_body(
    payload: type[_Payload], *, limit: int = BODY_LIMIT
) -> Callable[[Request], Awaitable[_Payload]]:
    """A dependency that reads the body as ``payload``; refuses everything else with a 422."""

    async def read(request: Request) -> _Payload:
        if not _is_json(request.headers.get("content-type", "")):
            raise Problem.invalid(
                FieldError("Content-Type", "must be application/json", "wrong_type")
            )
        raw = await read_body(request, limit=limit)
        try:
            return payload.model_validate_json(raw)
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False)
        # Outside the except block: the refusal must not carry the input as its context.
        raise Problem.invalid(*field_errors(faults, known=payload.model_fields))

    return read


def _is_json(content_type: str) -> bool:
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.replace(" ", "").replace('"', "").lower()
    return media_type.strip().lower() == "application/json" and charset in ("", "charset=utf-8")
