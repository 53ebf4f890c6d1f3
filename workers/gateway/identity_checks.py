"""``POST /v1/identity-checks``: ask whether a name and an identity number belong together."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from tasks.identity_check import IdentityCheck
from workers.gateway.acceptance import IdempotencyKey, accept, acceptance
from workers.gateway.authentication import Backend
from workers.gateway.body import json_body
from workers.gateway.jobs import JobReference, Service
from workers.gateway.openapi import json_request_body

__all__ = ["router"]

router = APIRouter(tags=["identity checks"])


@router.post(
    "/v1/identity-checks",
    operation_id="checkIdentity",
    summary="Check a real name",
    status_code=202,
    response_model=JobReference,
    responses=acceptance(),
    openapi_extra=json_request_body(IdentityCheck),
)
async def check_identity(
    backend: Backend,
    payload: Annotated[IdentityCheck, Depends(json_body(IdentityCheck))],
    idempotency_key: IdempotencyKey,
    service: Service,
    request: Request,
    response: Response,
) -> Any:
    """The verdict (match, mismatch, no_record or unavailable) stands in the job's `result`.

    Name and number are erased the moment it stands; a webhook tells of it.
    """
    return await accept(
        payload,
        backend=backend,
        idempotency_key=idempotency_key,
        service=service,
        request=request,
        response=response,
    )
