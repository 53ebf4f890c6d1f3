"""``enqueue`` for Python backends that share our environment.

::

    from tasks import SmsCode
    from workers import enqueue

    job = enqueue(SmsCode(phone=phone, code=code, scene="register"), idempotency_key=key)

Settings come from the environment (:mod:`workers.settings`). Importing this module pulls in no
provider's code. A backend with its own ``models`` or ``tasks`` package uses the ``zjj`` client
instead, which speaks HTTP.
"""

from __future__ import annotations

import atexit
import datetime as dt
import os
from functools import cache

from models.jobs import EnqueuedJob
from tasks.payload import Payload
from workers.consents import Consents
from workers.entrance import Entrance, open_entrance
from workers.service import AsyncTransaction, JobService, SyncTransaction
from workers.settings import load_settings

__all__ = ["enqueue", "enqueue_async", "open_consents"]

_BACKEND = "python"


def enqueue(
    payload: Payload,
    *,
    idempotency_key: str | None = None,
    run_at: dt.datetime | None = None,
    backend: str = _BACKEND,
    transaction: SyncTransaction | None = None,
) -> EnqueuedJob:
    """Store a job and ring for it; see :meth:`workers.service.JobService.enqueue`."""
    return _service().enqueue(
        payload,
        backend=backend,
        idempotency_key=idempotency_key,
        run_at=run_at,
        transaction=transaction,
    )


async def enqueue_async(
    payload: Payload,
    *,
    idempotency_key: str | None = None,
    run_at: dt.datetime | None = None,
    backend: str = _BACKEND,
    transaction: AsyncTransaction | None = None,
) -> EnqueuedJob:
    """:func:`enqueue` for an event loop."""
    return await _service().enqueue_async(
        payload,
        backend=backend,
        idempotency_key=idempotency_key,
        run_at=run_at,
        transaction=transaction,
    )


def open_consents() -> Consents:
    """Where this process records what people agree to and what they forbid."""
    return _entrance_of(os.getpid()).consents


def _service() -> JobService:
    return _entrance_of(os.getpid()).service


@cache
def _entrance_of(_pid: int) -> Entrance:
    """One entrance for each process: threads and connections do not survive a fork."""
    entrance = open_entrance(load_settings())
    atexit.register(entrance.close)
    return entrance
