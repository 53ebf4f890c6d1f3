"""``POST /v1/sms-codes`` and ``…/verify``: have a code made and sent, and check what was typed."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Request, Response
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from models.codes import Reason
from models.pii import Phone, VerificationCode
from tasks.payload import WHOLE, Payload, UserId
from tasks.sms_code import Scene, SmsCode
from workers.codes import CodeGuess, CodeService
from workers.gateway.acceptance import (
    IdempotencyKey,
    acceptance,
    accepted,
    idempotency_header,
)
from workers.gateway.authentication import Backend
from workers.gateway.body import json_body
from workers.gateway.jobs import JobReference
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import Kind, problem_responses

__all__ = ["router"]

router = APIRouter(tags=["sms codes"])


class SmsCodeRequest(Payload):
    """A code for one phone.

    Without ``code`` we make one, and ``/v1/sms-codes/verify`` checks what the person types. With
    ``code`` it is yours, and you check it.
    """

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["code", "length"]}})

    phone: Phone
    scene: Scene
    code: VerificationCode | None = Field(default=None, description="Yours; leave it out for ours.")
    length: Annotated[int, Field(ge=4, le=6, strict=True), WHOLE] = Field(
        default=6, description="Digits of the code that we make."
    )
    user: UserId | None = Field(
        default=None, description="The backend's opaque id for the person; never leaves."
    )
    client: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")] | None = Field(
        default=None,
        description="Names whoever asked you (a device, a session, an address), so that there is "
        "a limit for each; kept as a keyed digest for a day and never sent on.",
    )

    @model_validator(mode="after")
    def _only_ours_has_a_length(self) -> Self:
        if {"code", "length"} <= self.model_fields_set:
            raise PydanticCustomError(
                "invalid_value", "{reason}", {"reason": "has a length only without a code"}
            )
        return self


class VerificationBody(BaseModel):
    """What became of a guess."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    verified: bool
    attempts_left: int = Field(description="Guesses that this code still allows.")
    reason: Reason | None = Field(
        description="Null when verified. `none`: there is no code, or it is long over."
    )


async def _codes(request: Request) -> CodeService:
    codes: CodeService = request.app.state.codes
    return codes


Codes = Annotated[CodeService, Depends(_codes)]


@router.post(
    "/v1/sms-codes",
    operation_id="sendSmsCode",
    summary="Send one verification code by SMS",
    status_code=202,
    response_model=JobReference,
    responses=acceptance(Kind.WAIT),
    openapi_extra=json_request_body(SmsCodeRequest),
)
async def send_sms_code(
    backend: Backend,
    asked: Annotated[SmsCodeRequest, Depends(json_body(SmsCodeRequest))],
    idempotency_key: IdempotencyKey,
    codes: Codes,
    request: Request,
    response: Response,
) -> Any:
    """The same key with the same payload gives the same job; with another payload 409.

    202 means that the job is stored, even while the dispatcher is down. 429 tells in `Retry-After`
    when there is a permit again; a key that was accepted before is never refused so.
    """
    if asked.code is None:
        job = await codes.issue_async(
            asked.phone,
            asked.scene,
            backend=backend,
            length=asked.length,
            user=asked.user,
            idempotency_key=idempotency_key,
            client=asked.client,
        )
    else:
        job = await codes.jobs.enqueue_async(
            SmsCode(phone=asked.phone, code=asked.code, scene=asked.scene, user=asked.user),
            backend=backend,
            idempotency_key=idempotency_key,
            client=asked.client,
        )
    return accepted(job, request, response)


@router.post(
    "/v1/sms-codes/verify",
    operation_id="verifySmsCode",
    summary="Check what a person typed",
    response_model=VerificationBody,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.INVALID, Kind.UNAVAILABLE),
    openapi_extra=json_request_body(CodeGuess),
)
async def verify_sms_code(
    backend: Backend,
    guess: Annotated[CodeGuess, Depends(json_body(CodeGuess))],
    codes: Codes,
    idempotency_key: Annotated[
        str | None,
        idempotency_header(
            "Names this verification. Repeated with the same key after a lost reply, the right "
            "code passes again; under another key it is `used`."
        ),
    ] = None,
) -> Any:
    """Of all requests with the right code one is verified; every wrong one uses up a guess.

    A code that you brought yourself is not known here: `none`.
    """
    return await codes.verify_async(guess, backend=backend, idempotency_key=idempotency_key)
