"""Replaying and cancelling a backend's own jobs; the rules are :mod:`workers.replays`'."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from models.job_search import JobFilter
from models.pii import Phone
from models.states import State
from workers.gateway.acceptance import IdempotencyKey
from workers.gateway.authentication import Canceller, Replayer
from workers.gateway.body import json_body
from workers.gateway.job_search import Bench, Choice
from workers.gateway.jobs import JobId, JobReference, Service
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import Kind, Problem, not_found, problem_responses
from workers.replays import MOST_REFUSALS, Plan

__all__ = ["ReasonText", "router"]

router = APIRouter(tags=["replays"])

ReasonText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        description="Why, for the audit: one line without anything personal.",
    ),
]
_PathId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class JobReplay(_Request):
    """One job, once more."""

    reason: ReasonText
    even_if_sent: bool = Field(
        default=False,
        description="Also if the outcome is unknown, although somebody may be reached twice.",
    )


class JobsReplay(Choice, JobReplay):
    """Failed and unknown jobs that match, once more."""

    ids: list[JobId] = Field(default=[], max_length=200)
    phone: Phone | None = None
    dry_run: bool = Field(default=True, description="Only say what would happen.")


class JobCancel(_Request):
    """A job that is not to run."""

    reason: ReasonText


class RefusalBody(BaseModel):
    """A job that is not replayed."""

    model_config = ConfigDict(from_attributes=True)

    job_id: JobId
    reason: str


_Refusals = Annotated[
    list[RefusalBody],
    Field(max_length=MOST_REFUSALS, description="Which jobs; of very many the first ones."),
]


class ReplayBody(BaseModel):
    """How far a replay has come."""

    model_config = ConfigDict(from_attributes=True)

    id: JobId
    created_at: dt.datetime
    reason: str
    even_if_sent: bool
    replayed: int
    refused: dict[str, int] = Field(description="How many jobs for which reason.")
    refusals: _Refusals
    pending: int = Field(description="Jobs to which the workers have not come yet.")


class LeavingBody(BaseModel):
    """What would leave, and to whom."""

    recipient: str
    operation: str
    purpose: str
    clauses: list[str]
    categories: list[str]
    jobs: int


class PlanBody(BaseModel):
    """What a replay would do."""

    policy_version: str
    replayable: int
    refused: dict[str, int] = Field(description="How many jobs for which reason.")
    refusals: _Refusals
    leaving: list[LeavingBody]


_REFUSALS = problem_responses(
    Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.CONFLICT, Kind.INVALID, Kind.UNAVAILABLE
)


@router.post(
    "/v1/jobs/{job_id}/replay",
    operation_id="replayJob",
    summary="Send a settled job on its way again, under today's policy",
    response_model=ReplayBody,
    responses=_REFUSALS,
    openapi_extra=json_request_body(JobReplay),
)
def replay_job(  # noqa: PLR0917 - a route's parts
    backend: Replayer,
    job_id: _PathId,
    wanted: Annotated[JobReplay, Depends(json_body(JobReplay))],
    idempotency_key: IdempotencyKey,
    service: Service,
    desk: Bench,
    request: Request,
) -> Any:
    """200 also when it was refused: `refused` says why. The same key replays nothing twice."""
    if service.find(job_id, backend=backend) is None:
        raise not_found()
    request.state.job_id = job_id
    replay_id = desk.begin_replay(
        JobFilter(ids=(job_id,), backend=backend),
        backend=backend,
        reason=wanted.reason,
        even_if_sent=wanted.even_if_sent,
        idempotency_key=idempotency_key,
    )
    desk.replays.advance(replay_id, at_most=1)
    return desk.batch(replay_id, backend=backend)


@router.post(
    "/v1/replays",
    operation_id="replayJobs",
    summary="Send settled jobs on their way again, or only say what would happen",
    status_code=202,
    response_model=ReplayBody,
    responses={
        200: {"description": "A dry run: nothing was touched.", "model": PlanBody},
        202: {
            "description": "Accepted: the batch is stored, and workers carry it out.",
            "headers": {
                "Location": {
                    "description": "Where its progress can be read.",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^/v1/replays/[0-9a-f]{32}$"},
                }
            },
        },
        **problem_responses(Kind.UNAUTHENTICATED, Kind.CONFLICT, Kind.INVALID, Kind.UNAVAILABLE),
    },
    openapi_extra=json_request_body(JobsReplay),
)
def replay_jobs(
    backend: Replayer,
    wanted: Annotated[JobsReplay, Depends(json_body(JobsReplay))],
    idempotency_key: IdempotencyKey,
    desk: Bench,
    response: Response,
) -> Any:
    """`dry_run` is true unless you say otherwise. The same key is the same batch."""
    chosen = wanted.as_filter(backend, desk)
    if wanted.dry_run:
        plan = desk.replays.plan(chosen, even_if_sent=wanted.even_if_sent)
        return JSONResponse(_plan(plan).model_dump(mode="json"))
    replay_id = desk.begin_replay(
        chosen,
        backend=backend,
        reason=wanted.reason,
        even_if_sent=wanted.even_if_sent,
        idempotency_key=idempotency_key,
    )
    response.headers["Location"] = f"/v1/replays/{replay_id}"
    return desk.batch(replay_id, backend=backend)


@router.get(
    "/v1/replays/{replay_id}",
    operation_id="getReplay",
    summary="How far a replay has come",
    response_model=ReplayBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.UNAVAILABLE),
)
def get_replay(backend: Replayer, replay_id: _PathId, desk: Bench) -> Any:
    """Another backend's replay does not exist for you: 404."""
    batch = desk.batch(replay_id, backend=backend)
    if batch is None:
        raise not_found()
    return batch


@router.post(
    "/v1/jobs/{job_id}/cancel",
    operation_id="cancelJob",
    summary="Cancel a job that waits, and erase its payload",
    response_model=JobReference,
    responses=problem_responses(
        Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.JOB_STATE, Kind.INVALID, Kind.UNAVAILABLE
    ),
    openapi_extra=json_request_body(JobCancel),
)
def cancel_job(
    backend: Canceller,
    job_id: _PathId,
    wanted: Annotated[JobCancel, Depends(json_body(JobCancel))],
    service: Service,
    desk: Bench,
    request: Request,
) -> Any:
    """Cancelling a cancelled job changes nothing. What runs or is settled stays: 409."""
    desk.cancel_for(backend, job_id, reason=wanted.reason)
    job = service.find(job_id, backend=backend)
    if job is None:
        raise not_found()
    request.state.job_id = job_id
    if job.state is not State.CANCELLED:
        raise Problem(Kind.JOB_STATE, f"The job is {job.state}; only a waiting job is cancelled.")
    return job


def _plan(plan: Plan) -> PlanBody:
    return PlanBody(
        policy_version=plan.policy_version,
        replayable=plan.replayable,
        refused=dict(plan.refused),
        refusals=[RefusalBody.model_validate(each) for each in plan.refusals],
        leaving=[
            LeavingBody(
                recipient=each.recipient,
                operation=each.operation,
                purpose=each.purpose,
                clauses=list(each.clauses),
                categories=list(each.categories),
                jobs=jobs,
            )
            for each, jobs in plan.leaving
        ],
    )
