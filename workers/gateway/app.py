"""The gateway's ASGI application, put together."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from models.api_keys import ApiKeys
from workers.codes import CodeService
from workers.consents import Consents
from workers.desk import Desk
from workers.endpoints import EndpointRegister
from workers.faces import FaceCallbacks
from workers.gateway import callbacks as callback_routes
from workers.gateway import consents as consent_routes
from workers.gateway import (
    face_verifications,
    health,
    identity_checks,
    job_search,
    jobs,
    logins,
    masks,
    pushes,
    queues,
    replays,
    sms_codes,
)
from workers.gateway import payments as payment_routes
from workers.gateway import sms_receipts as receipt_routes
from workers.gateway import webhooks as webhook_routes
from workers.gateway.edge import Edge
from workers.gateway.openapi import describe
from workers.gateway.problems import handle_problems
from workers.gateway.sms_receipts import SmsReceipts
from workers.payments import PaymentService
from workers.service import JobService

__all__ = ["create_gateway"]

# FastAPI would hand paths, bodies and exception texts to any OpenTelemetry exporter that the
# environment configures; telemetry of this product is made of static names only.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def create_gateway(  # noqa: PLR0913 - one for each thing that routes stand on
    service: JobService,
    api_keys: ApiKeys,
    *,
    codes: CodeService,
    consents: Consents,
    login_door: logins.LoginDoor,
    desk: Desk,
    payments: PaymentService,
    dependencies: Sequence[health.Dependency],
    sms_receipts: SmsReceipts | None = None,
    faces: FaceCallbacks | None = None,
    endpoints: EndpointRegister | None = None,
    version: str = "dev",
) -> FastAPI:
    """The HTTP gateway for web backends, as an ASGI application.

    Args:
        service: Stores and finds jobs.
        api_keys: Knows which backend a key belongs to.
        codes: Makes and checks verification codes.
        consents: Records what people agree to and forbid.
        login_door: Hands out the numbers of logins.
        desk: Finds, replays and cancels jobs, pauses queues.
        payments: Expects payments, gives money back, takes in callbacks.
        dependencies: What ``/readyz`` asks about.
        sms_receipts: Takes delivery receipts in; None for an installation without their address.
        faces: Takes callbacks about faces; None where face verification is switched off.
        endpoints: Where backends are told; None for an installation where only operators say so.
        version: Shown in ``/openapi.json``.
    """
    app = FastAPI(
        title="Zhongjiujiu Workers",
        summary="Hands jobs of web backends to the workers.",
        version=version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    app.state.service = service
    app.state.api_keys = api_keys
    app.state.consents = consents
    app.state.codes = codes
    app.state.logins = login_door
    app.state.desk = desk
    app.state.payments = payments
    app.state.dependencies = tuple(dependencies)
    app.state.sms_receipts = sms_receipts
    app.state.faces = faces
    app.state.endpoints = endpoints
    app.add_middleware(Edge)
    handle_problems(app)
    for routes in (
        # Routes are tried in this order, and here somebody waits who gives up early.
        callback_routes,
        sms_codes,
        identity_checks,
        logins,
        pushes,
        masks,
        job_search,
        jobs,
        replays,
        queues,
        consent_routes,
        receipt_routes,
        payment_routes,
        health,
        *(() if faces is None else (face_verifications,)),
        *(() if endpoints is None else (webhook_routes,)),
    ):
        app.include_router(routes.router)
    describe(app)
    return app
