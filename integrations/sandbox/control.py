"""The sandbox's own doors, below ``/_sandbox``: mishaps, settings, and what was seen.

===========================  =============================================================
POST   /_sandbox/faults      play a mishap (:class:`integrations.sandbox.faults.Fault`)
GET    /_sandbox/faults      those in waiting
DELETE /_sandbox/faults      none any more
GET    /_sandbox/requests    what was seen; ``?reference=`` for one job
GET    /_sandbox/counters    totals
GET    /_sandbox/codes       what was texted under ``?reference=``, as a person would read it
GET    /_sandbox/receipts    how many pushes of delivery receipts were made, and taken
PATCH  /_sandbox/settings    latency_ms, limits, delivery_seconds, receipt_url, receipt_repeats,
                             receipt_scale
POST   /_sandbox/reset       forget everything; settings as they were at the start
===========================  =============================================================

The payment providers' doors are in :mod:`integrations.sandbox.till_control`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from integrations.sandbox.config import LOOPBACK
from integrations.sandbox.faults import Fault
from integrations.sandbox.till_control import till_routes

if TYPE_CHECKING:
    from starlette.requests import Request

    from integrations.sandbox.app import Sandbox

__all__ = ["control_routes"]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    latency_ms: float | None = Field(default=None, ge=0)
    limits: bool | None = None
    delivery_seconds: float | None = Field(default=None, ge=0)
    receipt_url: str | None = Field(default=None, pattern=LOOPBACK)
    receipt_repeats: int | None = Field(default=None, ge=0, le=3)
    receipt_scale: float | None = Field(default=None, gt=0, le=1)


def control_routes(sandbox: Sandbox, prefix: str) -> Router:
    """The routes over one sandbox."""
    control = _Control(sandbox)
    return Router(
        [
            *till_routes(sandbox.tills, prefix),
            Route(f"{prefix}/faults", control.add_fault, methods=["POST"]),
            Route(f"{prefix}/faults", control.list_faults, methods=["GET"]),
            Route(f"{prefix}/faults", control.clear_faults, methods=["DELETE"]),
            Route(f"{prefix}/requests", control.list_requests, methods=["GET"]),
            Route(f"{prefix}/counters", control.show_counters, methods=["GET"]),
            Route(f"{prefix}/codes", control.list_codes, methods=["GET"]),
            Route(f"{prefix}/receipts", control.count_receipts, methods=["GET"]),
            Route(f"{prefix}/settings", control.change_settings, methods=["PATCH"]),
            Route(f"{prefix}/reset", control.reset, methods=["POST"]),
        ]
    )


class _Control:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def add_fault(self, request: Request) -> Response:
        try:
            fault = Fault.model_validate_json(await request.body())
        except ValidationError as error:
            return _refused(error)
        self._sandbox.faults.add(fault)
        return JSONResponse(fault.model_dump(), 201)

    async def list_faults(self, _: Request) -> Response:
        return JSONResponse([fault.model_dump() for fault in self._sandbox.faults.waiting()])

    async def clear_faults(self, _: Request) -> Response:
        self._sandbox.faults.clear()
        return Response(status_code=204)

    async def list_requests(self, request: Request) -> Response:
        journal = self._sandbox.journal
        reference = request.query_params.get("reference")
        found: dict[str, object] = {"requests": journal.entries(reference)}
        if reference is not None:
            found |= {"seen": journal.count(reference), "accepted": journal.accepted(reference)}
        return JSONResponse(found)

    async def show_counters(self, _: Request) -> Response:
        return JSONResponse(self._sandbox.journal.totals())

    async def list_codes(self, request: Request) -> Response:
        reference = request.query_params.get("reference", "")
        providers = (self._sandbox.aliyun_sms, self._sandbox.dypns)
        found = [code for provider in providers for code in provider.codes(reference)]
        return JSONResponse({"codes": found})

    async def count_receipts(self, _: Request) -> Response:
        receipts = self._sandbox.aliyun_sms.receipts
        return JSONResponse({"pushed": receipts.pushed, "taken": receipts.taken})

    async def change_settings(self, request: Request) -> Response:
        try:
            wanted = _Settings.model_validate_json(await request.body())
        except ValidationError as error:
            return _refused(error)
        if wanted.latency_ms is not None:
            self._sandbox.latency_ms = wanted.latency_ms
        if wanted.limits is not None:
            self._sandbox.aliyun_sms.limits = wanted.limits
            self._sandbox.dypns.limits = wanted.limits
        if wanted.delivery_seconds is not None:
            self._sandbox.aliyun_sms.delivery_seconds = wanted.delivery_seconds
        receipts = self._sandbox.aliyun_sms.receipts
        receipts.url = wanted.receipt_url or receipts.url
        receipts.scale = wanted.receipt_scale or receipts.scale
        if wanted.receipt_repeats is not None:
            receipts.repeats = wanted.receipt_repeats
        return Response(status_code=204)

    async def reset(self, _: Request) -> Response:
        self._sandbox.reset()
        return Response(status_code=204)


def _refused(error: ValidationError) -> Response:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return JSONResponse({"errors": found}, 422)
