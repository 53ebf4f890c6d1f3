"""Jobs as the caller sees them, and ``GET /v1/jobs/{id}``."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from workers.gateway.authentication import Backend
from workers.gateway.problems import Kind, not_found, problem_responses
from workers.service import JobService
from workers.timeline import timeline

__all__ = ["JobBody", "JobId", "JobReference", "Service", "router"]

router = APIRouter(tags=["jobs"])


async def _service(request: Request) -> JobService:
    service: JobService = request.app.state.service
    return service


Service = Annotated[JobService, Depends(_service)]
"""The job service behind this gateway."""


class _Body(BaseModel):
    model_config = ConfigDict(from_attributes=True, extra="forbid")


JobId = Annotated[str, Field(pattern="^[0-9a-f]{32}$", description="Opaque id of a job.")]
State = Annotated[
    str,
    Field(
        description="scheduled, queued, running or retrying while there is something to do; "
        "succeeded, failed, unknown, expired or cancelled at the end."
    ),
]


class JobReference(_Body):
    """A job as it was accepted."""

    id: JobId
    kind: str
    state: State
    created_at: dt.datetime


class AttemptBody(_Body):
    """One attempt at a job."""

    number: int
    counted: bool = Field(description="False when the job was only handed back.")
    started_at: dt.datetime
    ended_at: dt.datetime
    outcome: str = Field(
        validation_alias="event", description="succeed, retry, wait, fail, lose or expire"
    )
    code: str | None = Field(description="Our reason code.")
    provider_code: str | None = Field(description="The provider's own code.")
    milliseconds: float


class DisclosureBody(_Body):
    """What one attempt disclosed, or was denied to disclose; categories and names, no values."""

    attempt: int
    recipient: str
    operation: str
    purpose: str
    clauses: list[str] = Field(description="Clauses of the published privacy policy.")
    policy_version: str
    categories: list[str] = Field(description="Fideslang data categories that were sent.")
    stripped: list[str] = Field(description="Fields of the job that stayed inside.")
    verdict: str = Field(description="admitted or denied")
    reason: str | None = Field(description="Why it was denied.")
    result: str | None = Field(description="answered, unsent or unknown; null while open.")
    at: dt.datetime
    milliseconds: float | None


class JobBody(JobReference):
    """A job with its attempts and its minimization receipt."""

    updated_at: dt.datetime
    expires_at: dt.datetime | None
    attempts: list[AttemptBody]
    reason: str | None = Field(description="Why the job stands where it stands: a static code.")
    result: dict[str, str | int | float | bool | None] = Field(
        description="What the task kept of the provider's reply."
    )
    receipt: list[DisclosureBody] = Field(
        validation_alias="disclosures",
        description="Minimization receipt: who got which categories, for what, by which clause.",
    )


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="getJob",
    summary="One job, with its attempts and its minimization receipt",
    response_model=JobBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.UNAVAILABLE),
)
async def get_job(
    backend: Backend,
    job_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    service: Service,
    request: Request,
) -> Any:
    """Another backend's job does not exist for you: 404."""
    job = await service.find_async(job_id, backend=backend)
    if job is None:
        raise not_found()
    request.state.job_id = job.id
    return job


class MomentBody(_Body):
    """Something that happened to a job."""

    at: dt.datetime
    event: str = Field(
        description="enqueued; attempt.… (succeed, retry, wait, fail, lose, expire); disclosure.… "
        "(admitted, denied); or what somebody did, such as job.replay."
    )
    attempt: int | None
    code: str | None = Field(description="Our reason code.")
    provider_code: str | None = Field(description="The provider's own code.")
    recipient: str | None
    operation: str | None
    purpose: str | None
    clauses: list[str] = Field(description="Clauses of the published privacy policy.")
    categories: list[str] = Field(description="Fideslang data categories that were sent.")
    by: str | None = Field(description="Who intervened: backend, operator or worker.")
    reason: str | None = Field(description="Why they did.")
    milliseconds: float | None


class TimelineBody(BaseModel):
    """The story of a job, oldest first."""

    id: JobId
    state: State
    timeline: list[MomentBody]


@router.get(
    "/v1/jobs/{job_id}/timeline",
    operation_id="getJobTimeline",
    summary="What happened to a job, in order",
    response_model=TimelineBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.UNAVAILABLE),
)
async def get_timeline(
    backend: Backend,
    job_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    service: Service,
    request: Request,
) -> Any:
    """Codes, names and times; no value."""
    job = await service.find_async(job_id, backend=backend)
    if job is None:
        raise not_found()
    request.state.job_id = job.id
    return {"id": job.id, "state": job.state, "timeline": timeline(job)}
