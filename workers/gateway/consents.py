"""Consents and restrictions: what backends tell us that people agree to, and forbid."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from models.errors import IdempotencyConflict, NotFound
from workers.consents import Agreement, Consents, Objection, Stopped
from workers.gateway.authentication import Backend
from workers.gateway.body import json_body
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import FieldError, Kind, Problem, problem_responses

__all__ = ["router"]

router = APIRouter(tags=["consents"])


async def _consents(request: Request) -> Consents:
    consents: Consents = request.app.state.consents
    return consents


_Service = Annotated[Consents, Depends(_consents)]
_Ref = Annotated[str, Path(pattern="^[A-Za-z0-9_.:-]{1,64}$")]
_RestrictionId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class _Body(BaseModel):
    model_config = ConfigDict(from_attributes=True, extra="forbid")


class ConsentBody(_Body):
    """A consent as it stands; whose it is, is not repeated."""

    ref: str
    kind: str
    purpose: str
    granted_at: dt.datetime
    policy_version: str
    withdrawn_at: dt.datetime | None


class WithdrawalBody(ConsentBody):
    """A consent that covers nothing any more."""

    cancelled: int = Field(description="Jobs that waited on it; their payloads are erased.")


class RestrictionBody(_Body):
    """A restriction as it stands; whose it is, is not repeated."""

    id: str = Field(pattern="^[0-9a-f]{32}$", description="Names it, to lift it.")
    reason: str
    since: dt.datetime
    lifted_at: dt.datetime | None


class NewRestrictionBody(RestrictionBody):
    """A restriction, and what it stopped."""

    cancelled: int = Field(description="Jobs about the person that waited; payloads are erased.")


@router.post(
    "/v1/consents",
    operation_id="recordConsent",
    summary="Record a person's consent",
    response_model=ConsentBody,
    responses=problem_responses(
        Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.CONFLICT, Kind.INVALID, Kind.UNAVAILABLE
    ),
    openapi_extra=json_request_body(Agreement),
)
async def record_consent(
    backend: Backend,
    agreement: Annotated[Agreement, Depends(json_body(Agreement))],
    service: _Service,
) -> Any:
    """Jobs that need it name its ``ref``. The same consent again is answered as it stands now."""
    try:
        return await service.record_async(agreement, backend=backend)
    except NotFound as error:
        raise Problem(
            Kind.NOT_FOUND,
            "The policy has no such purpose.",
            errors=[FieldError("purpose", "is none of the policy's", error.code)],
        ) from None
    except IdempotencyConflict as error:
        raise Problem(
            Kind.CONFLICT,
            "This ref belongs to an earlier consent with another content.",
            errors=[FieldError("ref", "was used before", error.code)],
        ) from None


@router.post(
    "/v1/consents/{ref}/withdraw",
    operation_id="withdrawConsent",
    summary="Withdraw a consent, and stop what waits on it",
    response_model=WithdrawalBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.UNAVAILABLE),
)
async def withdraw_consent(backend: Backend, ref: _Ref, service: _Service) -> Any:
    """From the answer on, nothing is disclosed on its ground."""
    try:
        stopped = await service.withdraw_async(ref, backend=backend)
    except NotFound:
        raise _none("consent") from None
    return _told(WithdrawalBody, ConsentBody, stopped.consent, stopped)


@router.put(
    "/v1/restrictions",
    operation_id="restrictPerson",
    summary="Let nothing more about a person leave",
    response_model=NewRestrictionBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.INVALID, Kind.UNAVAILABLE),
    openapi_extra=json_request_body(Objection),
)
async def restrict_person(
    backend: Backend,
    objection: Annotated[Objection, Depends(json_body(Objection))],
    service: _Service,
) -> Any:
    """Only what the law demands still leaves, such as the notice of a leak.

    The same person again is the same restriction. The person stands in the body, because URLs
    end in logs.
    """
    stopped = await service.restrict_async(objection, backend=backend)
    return _told(NewRestrictionBody, RestrictionBody, stopped.restriction, stopped)


@router.delete(
    "/v1/restrictions/{restriction_id}",
    operation_id="liftRestriction",
    summary="Lift a restriction",
    response_model=RestrictionBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.UNAVAILABLE),
)
async def lift_restriction(
    backend: Backend, restriction_id: _RestrictionId, service: _Service
) -> Any:
    """Another backend's restriction of the same person stays."""
    try:
        return await service.lift_async(restriction_id, backend=backend)
    except NotFound:
        raise _none("restriction") from None


def _none(what: str) -> Problem:
    return Problem(Kind.NOT_FOUND, f"There is no such {what} for this API key.")


def _told(body: type[_Body], of: type[_Body], fact: object, stopped: Stopped) -> _Body:
    known = of.model_validate(fact).model_dump()
    return body.model_validate(known | {"cancelled": stopped.cancelled})
