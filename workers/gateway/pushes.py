"""``POST /v1/pushes``: have a notice pushed to one device."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from tasks.push import Push
from workers.gateway.acceptance import IdempotencyKey, accept, acceptance
from workers.gateway.authentication import Backend
from workers.gateway.body import json_body
from workers.gateway.jobs import JobReference, Service
from workers.gateway.openapi import json_request_body

__all__ = ["router"]

router = APIRouter(tags=["pushes"])


@router.post(
    "/v1/pushes",
    operation_id="push",
    summary="Push a notice to one device",
    status_code=202,
    response_model=JobReference,
    responses=acceptance(),
    openapi_extra=json_request_body(Push),
)
async def push(
    backend: Backend,
    payload: Annotated[Push, Depends(json_body(Push))],
    idempotency_key: IdempotencyKey,
    service: Service,
    request: Request,
    response: Response,
) -> Any:
    """The wording is chosen by name from the catalogue, and nothing is filled into it.

    A job that failed with `provider.token_stale` names a token that no device listens under any
    more: forget it. A webhook tells how the job ends.
    """
    return await accept(
        payload,
        backend=backend,
        idempotency_key=idempotency_key,
        service=service,
        request=request,
        response=response,
    )
