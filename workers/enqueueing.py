"""``enqueue`` for Python backends that share our environment.

::

    from tasks import SmsCode
    from workers import enqueue

    job = enqueue(SmsCode(phone=phone, code=code, scene="register"), idempotency_key=key)

or, with a code that is made and checked here::

    job = issue_code(phone, "register", idempotency_key=key)
    if verify_code(phone, "register", typed).verified: ...

Settings come from the environment (:mod:`workers.settings`). Importing this module pulls in no
provider's code. A backend with its own ``models`` or ``tasks`` package uses the ``zjj`` client
instead, which speaks HTTP.
"""

from __future__ import annotations

import datetime as dt

from models.codes import Verification
from models.jobs import EnqueuedJob
from models.pii import Phone, VerificationCode
from tasks.payload import Payload
from tasks.sms_code import Scene
from workers.codes import CodeGuess
from workers.consents import Consents
from workers.entrance import shared_entrance
from workers.service import AsyncTransaction, JobService, SyncTransaction

__all__ = [
    "enqueue",
    "enqueue_async",
    "issue_code",
    "issue_code_async",
    "open_consents",
    "verify_code",
    "verify_code_async",
]

_BACKEND = "python"


def enqueue(
    payload: Payload,
    *,
    idempotency_key: str | None = None,
    run_at: dt.datetime | None = None,
    backend: str = _BACKEND,
    transaction: SyncTransaction | None = None,
    client: str | None = None,
) -> EnqueuedJob:
    """Store a job and ring for it; see :meth:`workers.service.JobService.enqueue`."""
    return _service().enqueue(
        payload,
        backend=backend,
        idempotency_key=idempotency_key,
        run_at=run_at,
        transaction=transaction,
        client=client,
    )


async def enqueue_async(
    payload: Payload,
    *,
    idempotency_key: str | None = None,
    run_at: dt.datetime | None = None,
    backend: str = _BACKEND,
    transaction: AsyncTransaction | None = None,
    client: str | None = None,
) -> EnqueuedJob:
    """:func:`enqueue` for an event loop."""
    return await _service().enqueue_async(
        payload,
        backend=backend,
        idempotency_key=idempotency_key,
        run_at=run_at,
        transaction=transaction,
        client=client,
    )


def open_consents() -> Consents:
    """Where this process records what people agree to and what they forbid."""
    return shared_entrance().consents


def issue_code(
    phone: Phone | str,
    scene: Scene,
    *,
    backend: str = _BACKEND,
    length: int = 6,
    user: str | None = None,
    idempotency_key: str | None = None,
    client: str | None = None,
    transaction: SyncTransaction | None = None,
) -> EnqueuedJob:
    """Make a code and have it sent; see :meth:`workers.codes.CodeService.issue`."""
    return shared_entrance().codes.issue(
        phone,
        scene,
        backend=backend,
        length=length,
        user=user,
        idempotency_key=idempotency_key,
        client=client,
        transaction=transaction,
    )


async def issue_code_async(
    phone: Phone | str,
    scene: Scene,
    *,
    backend: str = _BACKEND,
    length: int = 6,
    user: str | None = None,
    idempotency_key: str | None = None,
    client: str | None = None,
    transaction: AsyncTransaction | None = None,
) -> EnqueuedJob:
    """:func:`issue_code` for an event loop."""
    return await shared_entrance().codes.issue_async(
        phone,
        scene,
        backend=backend,
        length=length,
        user=user,
        idempotency_key=idempotency_key,
        client=client,
        transaction=transaction,
    )


def verify_code(
    phone: Phone | str,
    scene: Scene,
    code: VerificationCode | str,
    *,
    backend: str = _BACKEND,
    idempotency_key: str | None = None,
) -> Verification:
    """Judge what somebody typed; see :meth:`workers.codes.CodeService.verify`.

    Raises:
        pydantic.ValidationError: It cannot be such a phone, scene or code; no guess is used up.
    """
    guess = CodeGuess.model_validate({"phone": phone, "scene": scene, "code": code})
    codes = shared_entrance().codes
    return codes.verify(guess, backend=backend, idempotency_key=idempotency_key)


async def verify_code_async(
    phone: Phone | str,
    scene: Scene,
    code: VerificationCode | str,
    *,
    backend: str = _BACKEND,
    idempotency_key: str | None = None,
) -> Verification:
    """:func:`verify_code` for an event loop."""
    guess = CodeGuess.model_validate({"phone": phone, "scene": scene, "code": code})
    codes = shared_entrance().codes
    return await codes.verify_async(guess, backend=backend, idempotency_key=idempotency_key)


def _service() -> JobService:
    return shared_entrance().service
