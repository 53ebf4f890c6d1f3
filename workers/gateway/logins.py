"""One-click login: ``/v1/logins``, the number that it brings, and ``/v1/phone-checks``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from models.states import SETTLED
from tasks.payload import Payload
from tasks.phone_login import JiguangLogin, PhoneCheck, PhoneLogin
from workers.gateway.acceptance import IdempotencyKey, accept, acceptance
from workers.gateway.authentication import Backend
from workers.gateway.body import json_body
from workers.gateway.jobs import JobReference, Service
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import Kind, Problem, problem_responses
from workers.login_phones import LoginPhones

__all__ = ["LoginDoor", "router"]

router = APIRouter(tags=["logins"])

_LOGINS = frozenset({"phone_login", "jiguang_login"})


class LoginDoor:
    """What the routes need: the numbers, and whose SDK brings China Mobile's tokens."""

    def __init__(
        self, phones: LoginPhones, china_mobile_road: Literal["aliyun", "jiguang"]
    ) -> None:
        self.phones = phones
        self.china_mobile_road = china_mobile_road


def _door(request: Request) -> LoginDoor:
    door: LoginDoor = request.app.state.logins
    return door


class Login(PhoneLogin):
    """A login token, and whose SDK made it."""

    road: Literal["aliyun", "jiguang", "china_mobile"] = Field(
        description="Whose SDK made the token; china_mobile goes the road that is configured."
    )

    def payload(self, china_mobile_road: str) -> Payload:
        """The job of its road."""
        road = china_mobile_road if self.road == "china_mobile" else self.road
        kind = JiguangLogin if road == "jiguang" else PhoneLogin
        return kind(login_token=self.login_token, consent_ref=self.consent_ref, user=self.user)


class LoginPhone(BaseModel):
    """The number behind a login's token."""

    model_config = ConfigDict(extra="forbid")

    phone: str = Field(pattern="^1[3-9][0-9]{9}$", description="11 digits. Not given twice.")


@router.post(
    "/v1/logins",
    operation_id="logIn",
    summary="Have a one-click login token exchanged for a phone number",
    status_code=202,
    response_model=JobReference,
    responses=acceptance(),
    openapi_extra=json_request_body(Login),
)
async def log_in(
    backend: Backend,
    login: Annotated[Login, Depends(json_body(Login))],
    idempotency_key: IdempotencyKey,
    service: Service,
    request: Request,
    response: Response,
) -> Any:
    """The token is sent at most once. If the job does not succeed, ask the app for a new one.

    The number is in no job and no webhook: fetch it, once and within two minutes.
    """
    return await accept(
        login.payload(_door(request).china_mobile_road),
        backend=backend,
        idempotency_key=idempotency_key,
        service=service,
        request=request,
        response=response,
    )


@router.post(
    "/v1/logins/{job_id}/phone",
    operation_id="takeLoginPhone",
    summary="Take the phone number of a login, once",
    response_model=LoginPhone,
    responses=problem_responses(
        Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.JOB_STATE, Kind.GONE, Kind.UNAVAILABLE
    ),
)
async def take_phone(
    backend: Backend,
    job_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    service: Service,
    request: Request,
) -> Any:
    """A second fetch finds nothing: 410. So does one that comes too late.

    409 while the login is under way; another backend's login does not exist for you.
    """
    phone = await _door(request).phones.take_async(job_id, backend=backend)
    if phone is not None:
        request.state.job_id = job_id
        return LoginPhone(phone=phone)
    job = await service.find_async(job_id, backend=backend)
    if job is None or job.kind not in _LOGINS:
        raise Problem(Kind.NOT_FOUND, "There is no such login for this API key.")
    request.state.job_id = job_id
    if job.state not in SETTLED:
        raise Problem(Kind.JOB_STATE, "The login is still under way. Ask again in a moment.")
    raise Problem(Kind.GONE, "There is no number any more. Ask the app for a new token.")


@router.post(
    "/v1/phone-checks",
    operation_id="checkPhone",
    summary="Check whether a number is the phone's own",
    status_code=202,
    response_model=JobReference,
    responses=acceptance(),
    openapi_extra=json_request_body(PhoneCheck),
)
async def check_phone(
    backend: Backend,
    payload: Annotated[PhoneCheck, Depends(json_body(PhoneCheck))],
    idempotency_key: IdempotencyKey,
    service: Service,
    request: Request,
    response: Response,
) -> Any:
    """For password recovery. The verdict (match, mismatch, unavailable) stands in `result`."""
    return await accept(
        payload,
        backend=backend,
        idempotency_key=idempotency_key,
        service=service,
        request=request,
        response=response,
    )
