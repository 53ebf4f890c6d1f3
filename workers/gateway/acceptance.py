"""Accepting a job: what every route that enqueues answers, and how it describes that."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Request, Response

from models.jobs import EnqueuedJob
from tasks.payload import Payload
from workers.gateway.problems import Kind, problem_responses
from workers.service import JobService

__all__ = ["IdempotencyKey", "accept", "acceptance", "accepted", "idempotency_header"]


def idempotency_header(description: str) -> Any:
    """The header that names a request: 1 to 255 visible ASCII characters."""
    return Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description=description,
    )


IdempotencyKey = Annotated[
    str,
    idempotency_header(
        "Names this request, best a random UUID. Repeat the request with the same key after a "
        "lost reply: the same job answers and nothing is done twice."
    ),
]


def acceptance(*more: Kind) -> dict[int | str, dict[str, Any]]:
    """The replies of a route that enqueues, in the form of FastAPI's ``responses``.

    Args:
        more: Refusals of this route besides those of every route that enqueues.
    """
    return {
        202: {
            "description": "Accepted: the job is stored and will run.",
            "headers": {
                "Location": {
                    "description": "Where the job can be read.",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^/v1/jobs/[0-9a-f]{32}$"},
                },
                "Idempotency-Result": {
                    "description": "`created`: this request made the job. "
                    "`repeated`: the key was known, this is the job it made then.",
                    "required": True,
                    "schema": {"type": "string", "enum": ["created", "repeated"]},
                },
            },
        },
        **problem_responses(
            Kind.UNAUTHENTICATED, Kind.CONFLICT, Kind.INVALID, *more, Kind.UNAVAILABLE
        ),
    }


async def accept(
    payload: Payload,
    *,
    backend: str,
    idempotency_key: str,
    service: JobService,
    request: Request,
    response: Response,
) -> EnqueuedJob:
    """Store a job and say where it can be read."""
    job = await service.enqueue_async(payload, backend=backend, idempotency_key=idempotency_key)
    return accepted(job, request, response)


def accepted(job: EnqueuedJob, request: Request, response: Response) -> EnqueuedJob:
    """Say where a stored job can be read, to the caller and to the log."""
    request.state.job_id = job.id
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Idempotency-Result"] = "created" if job.created else "repeated"
    return job
