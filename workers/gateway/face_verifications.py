"""``POST /v1/face-verifications`` and Aliyun's callback; there only where it is switched on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from models.errors import DatabaseUnavailable
from tasks.face_verification import FaceVerification
from workers.faces import FACE_CALLBACK, FaceCallbacks
from workers.gateway.acceptance import IdempotencyKey, accept, acceptance
from workers.gateway.authentication import Backend
from workers.gateway.body import json_body
from workers.gateway.jobs import JobReference, Service
from workers.gateway.openapi import json_request_body
from workers.logs import get_logger

__all__ = ["router"]

_log = get_logger()

router = APIRouter(tags=["face verifications"])


@router.post(
    "/v1/face-verifications",
    operation_id="verifyFace",
    summary="Begin to verify a face",
    status_code=202,
    response_model=JobReference,
    responses=acceptance(),
    openapi_extra=json_request_body(FaceVerification),
)
async def verify_face(
    backend: Backend,
    payload: Annotated[FaceVerification, Depends(json_body(FaceVerification))],
    idempotency_key: IdempotencyKey,
    service: Service,
    request: Request,
    response: Response,
) -> Any:
    """The job's `result` has the `certify_id` for the app's SDK, and the `verdict_job`.

    The verdict (match, mismatch or unavailable) stands in the `result` of that job.
    """
    return await accept(
        payload,
        backend=backend,
        idempotency_key=idempotency_key,
        service=service,
        request=request,
        response=response,
    )


@router.get(FACE_CALLBACK + "/{job_id}", include_in_schema=False)
async def take_callback(
    job_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")], request: Request
) -> Response:
    """Aliyun says that something has happened; what it says of it is not read.

    Anything but 200 makes it come back, twice within 3 seconds.
    """
    callbacks: FaceCallbacks = request.app.state.faces
    if not callbacks.knows(job_id, request.query_params.get("callbackToken", "")):
        _log.info("callback.refused", channel="aliyun_face", code="callback.bad_token")
        return Response(status_code=404)
    try:
        known = await callbacks.hear_async(job_id)
    except DatabaseUnavailable as error:
        _log.warning("callback.not_kept", channel="aliyun_face", code=error.code)
        return Response(status_code=503)
    return Response(status_code=200 if known else 503)
