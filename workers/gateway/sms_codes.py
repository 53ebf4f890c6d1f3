"""``POST /v1/sms-codes``: ask for one verification code to be sent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from tasks.sms_code import SmsCode
from workers.gateway.authentication import Backend
from workers.gateway.body import json_body
from workers.gateway.jobs import JobReference, Service
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import Kind, problem_responses

__all__ = ["IdempotencyKey", "router"]

router = APIRouter(tags=["sms codes"])

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="Names this request, best a random UUID. Repeat the request with the same "
        "key after a lost reply: the same job answers and no second text is sent.",
    ),
]


@router.post(
    "/v1/sms-codes",
    operation_id="sendSmsCode",
    summary="Send one verification code by SMS",
    status_code=202,
    response_model=JobReference,
    responses={
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
        **problem_responses(Kind.UNAUTHENTICATED, Kind.CONFLICT, Kind.INVALID, Kind.UNAVAILABLE),
    },
    openapi_extra=json_request_body(SmsCode),
)
async def send_sms_code(
    backend: Backend,
    payload: Annotated[SmsCode, Depends(json_body(SmsCode))],
    idempotency_key: IdempotencyKey,
    service: Service,
    request: Request,
    response: Response,
) -> Any:
    """The same key with the same payload gives the same job; with another payload 409.

    202 means that the job is stored, even while the dispatcher is down.
    """
    job = await service.enqueue_async(payload, backend=backend, idempotency_key=idempotency_key)
    request.state.job_id = job.id
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Idempotency-Result"] = "created" if job.created else "repeated"
    return job
