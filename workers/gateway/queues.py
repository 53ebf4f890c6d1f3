"""Queues and recipients, for keys that may operate what all backends share."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from workers.gateway.authentication import Operator
from workers.gateway.body import json_body
from workers.gateway.job_search import Bench
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import Kind, problem_responses
from workers.gateway.replays import ReasonText

__all__ = ["router"]

router = APIRouter(tags=["queues"])

_Name = Annotated[str, Path(pattern="^[a-z][a-z0-9_]{0,63}$", description="Queue or recipient.")]


class _Body(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class PauseBody(_Body):
    """A pause in force."""

    since: dt.datetime
    until: dt.datetime | None = Field(description="It ends by itself then.")
    actor: str
    reason: str


class QueueBody(_Body):
    """What waits in a queue."""

    queue: str
    jobs: dict[str, int] = Field(description="State to number.")
    oldest: dt.datetime | None = Field(
        description="Since when the oldest queued job could have run."
    )
    unknown: int = Field(description="Jobs whose outcome is not known.")
    workers: int = Field(
        description="Processes that serve it and have shown themselves in the last half minute."
    )
    paused: PauseBody | None


class RecipientBody(_Body):
    """A recipient that is left alone."""

    recipient: str
    paused: PauseBody | None
    resting_until: dt.datetime | None = Field(description="It fails, and is tried again then.")


class AlarmBody(_Body):
    """Far more new phones than usual are asked for."""

    scope: str = Field(description="`all` or `backend:` and its name.")
    since: dt.datetime
    until: dt.datetime = Field(description="It is over then, unless another one is refused before.")
    refused: int


class QueuesBody(_Body):
    """All queues, the recipients about which there is something to say, and what alarms."""

    queues: list[QueueBody]
    recipients: list[RecipientBody]
    alarms: list[AlarmBody]


class PauseRequest(BaseModel):
    """Why a queue or recipient is paused or resumed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    reason: ReasonText


class PausedBody(_Body):
    """How it stands now."""

    name: str
    paused: bool
    changed: bool = Field(description="False when it stood like that already.")


_REFUSALS = problem_responses(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.INVALID, Kind.UNAVAILABLE)


@router.get(
    "/v1/queues",
    operation_id="listQueues",
    summary="What waits, what is paused, what fails",
    response_model=QueuesBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.UNAVAILABLE),
)
def list_queues(_: Operator, desk: Bench) -> Any:
    """Counts over all backends; no job is named."""
    return desk.queues()


@router.post(
    "/v1/queues/{name}/pause",
    operation_id="pauseQueue",
    summary="Leave a queue's or recipient's jobs alone until resumed",
    response_model=PausedBody,
    responses=_REFUSALS,
    openapi_extra=json_request_body(PauseRequest),
)
def pause(
    backend: Operator,
    name: _Name,
    wanted: Annotated[PauseRequest, Depends(json_body(PauseRequest))],
    desk: Bench,
) -> Any:
    """What is paused already stays as it is. Lifetimes go on."""
    changed = desk.pause(name, actor=f"api:{backend}"[:64], reason=wanted.reason)
    return PausedBody(name=name, paused=True, changed=changed)


@router.post(
    "/v1/queues/{name}/resume",
    operation_id="resumeQueue",
    summary="End a pause",
    response_model=PausedBody,
    responses=_REFUSALS,
    openapi_extra=json_request_body(PauseRequest),
)
def resume(
    backend: Operator,
    name: _Name,
    wanted: Annotated[PauseRequest, Depends(json_body(PauseRequest))],
    desk: Bench,
) -> Any:
    """Jobs that wait for it are brought forward."""
    changed = desk.resume(name, actor=f"api:{backend}"[:64], reason=wanted.reason)
    return PausedBody(name=name, paused=False, changed=changed)
