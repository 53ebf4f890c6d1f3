"""Where a backend is told, and the secrets that sign what it is told."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from models.errors import InvalidValue, NotFound
from tasks.payload import WHOLE
from workers.endpoints import EVENTS, EndpointRegister
from workers.gateway.authentication import Listener
from workers.gateway.body import json_body
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import FieldError, Kind, Problem, problem_responses
from workers.gateway.replays import ReasonText

__all__ = ["router"]

router = APIRouter(tags=["webhooks"])

_Id = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
_NO_STORE = {"Cache-Control": "no-store"}


async def _register(request: Request) -> EndpointRegister:
    register: EndpointRegister = request.app.state.endpoints
    return register


_Register = Annotated[EndpointRegister, Depends(_register)]


def _event(name: str) -> str:
    if name not in EVENTS:
        raise ValueError("no such event")
    return name


_Event = Annotated[str, AfterValidator(_event), Field(json_schema_extra={"enum": [*EVENTS]})]


class _Wish(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    reason: ReasonText


class EndpointRequest(_Wish):
    """Where to be told, and of what."""

    url: Annotated[str, StringConstraints(max_length=300)] = Field(
        description="Over TLS, at a host that the deployment allows; no query, no user name.",
        json_schema_extra={"format": "webhook-url"},
    )
    events: Annotated[list[_Event], Field(min_length=1, max_length=len(EVENTS))] = Field(
        default=["*"], description="Types such as payment.paid, families such as payment.*, or *."
    )


class RotationRequest(_Wish):
    """How long the old secret signs beside the new one."""

    hours: Annotated[int, Field(ge=0, le=720), WHOLE] = 24


class EndpointRemoval(_Wish):
    """Why nothing is to be sent there any more."""


class EndpointBody(BaseModel):
    """An endpoint; its secret is not shown again."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    url: str
    events: list[str]
    key_id: str
    previous_key_id: str | None
    previous_until: dt.datetime | None = Field(
        description="Until then the secret before this one signs as well."
    )
    created_at: dt.datetime
    disabled_at: dt.datetime | None
    disabled_because: str | None


class EndpointWithSecret(EndpointBody):
    """An endpoint with its secret, if that was made just now."""

    secret: str | None = Field(
        description="whsec_…, shown this once; null for an endpoint that was there before."
    )


class EndpointsBody(BaseModel):
    """All endpoints of the backend."""

    endpoints: list[EndpointBody]


_REFUSALS = problem_responses(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.INVALID, Kind.UNAVAILABLE)


@router.get(
    "/v1/webhooks",
    operation_id="listWebhooks",
    summary="Where this backend is told",
    response_model=EndpointsBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.UNAVAILABLE),
)
def list_webhooks(backend: Listener, register: _Register) -> Any:
    """Disabled ones too; never a secret."""
    return {"endpoints": [EndpointBody.model_validate(each) for each in register.of(backend)]}


@router.put(
    "/v1/webhook",
    operation_id="putWebhook",
    summary="Be told at this URL",
    response_model=EndpointWithSecret,
    responses={
        **problem_responses(Kind.UNAUTHENTICATED, Kind.INVALID, Kind.UNAVAILABLE),
        201: {"model": EndpointWithSecret, "description": "It is new."},
    },
    openapi_extra=json_request_body(EndpointRequest),
)
def put_webhook(
    backend: Listener,
    wanted: Annotated[EndpointRequest, Depends(json_body(EndpointRequest))],
    register: _Register,
    response: Response,
) -> Any:
    """One URL is one endpoint. If the reply with its secret was lost, rotate with ``hours`` 0."""
    try:
        endpoint, secret = register.put(
            wanted.url, wanted.events, backend=backend, reason=wanted.reason
        )
    except InvalidValue as error:
        raise Problem.invalid(FieldError("url", error.message, error.code)) from None
    response.status_code = 200 if secret is None else 201
    response.headers.update(_NO_STORE)
    return {**EndpointBody.model_validate(endpoint).model_dump(), "secret": secret}


@router.post(
    "/v1/webhooks/{id}/rotate",
    operation_id="rotateWebhookSecret",
    summary="Make a new secret",
    response_model=EndpointWithSecret,
    responses=_REFUSALS,
    openapi_extra=json_request_body(RotationRequest),
)
def rotate_webhook_secret(
    backend: Listener,
    id: _Id,  # noqa: A002 - the word the API uses
    wanted: Annotated[RotationRequest, Depends(json_body(RotationRequest))],
    register: _Register,
    response: Response,
) -> Any:
    """Meanwhile deliveries bear a signature of both."""
    try:
        endpoint, secret = register.rotate(id, wanted.hours, backend=backend, reason=wanted.reason)
    except NotFound:
        raise _nobodys() from None
    response.headers.update(_NO_STORE)
    return {**EndpointBody.model_validate(endpoint).model_dump(), "secret": secret}


@router.post(
    "/v1/webhooks/{id}/disable",
    operation_id="disableWebhook",
    summary="Be told nothing at this URL any more",
    response_model=EndpointBody,
    responses=_REFUSALS,
    openapi_extra=json_request_body(EndpointRemoval),
)
def disable_webhook(
    backend: Listener,
    id: _Id,  # noqa: A002 - the word the API uses
    wanted: Annotated[EndpointRemoval, Depends(json_body(EndpointRemoval))],
    register: _Register,
) -> Any:
    """What waits for it fails; putting the URL again takes it back into use."""
    try:
        return register.disable(id, backend=backend, reason=wanted.reason)
    except NotFound:
        raise _nobodys() from None


def _nobodys() -> Problem:
    return Problem(Kind.NOT_FOUND, "There is no such endpoint of this backend.")
