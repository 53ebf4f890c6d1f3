"""What every request passes first and every reply passes last.

One log line per request without path, query, headers or body; the headers that every reply
carries; and the last resort for a fault of our own, which must not reach the server's logger,
because that one prints the text of exceptions.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.gateway.problems import fault
from workers.logs import get_logger

__all__ = ["Edge"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET_ROUTES = frozenset({"/healthz", "/readyz"})
_NOBODY_LISTENS = 499

_log = get_logger()


class Edge:
    """Outermost middleware.

    Events: ``gateway.request`` (``debug`` for health checks) with method, route template,
    status, milliseconds, backend and job id; ``gateway.failed`` with the class and the places of
    an unexpected exception, without its message (see :mod:`workers.logs`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        scope["state"] = {**scope.get("state", {}), "backend": None, "job_id": None}
        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = _NOBODY_LISTENS
        except Exception as error:  # noqa: BLE001 - nothing may reach the server's logger
            _log.error("gateway.failed", exc_info=error)
            if status is None:
                await fault().response()(scope, receive, send_with_headers)
        finally:
            _write_line(scope, status, time.perf_counter() - started)


def _write_line(scope: Scope, status: int | None, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", None) or "unmatched"
    write = _log.debug if route in _QUIET_ROUTES else _log.info
    optional: dict[str, Any] = {
        name: scope["state"][name] for name in ("backend", "job_id") if scope["state"][name]
    }
    write(
        "gateway.request",
        # A method is whatever the caller typed.
        method=scope["method"] if scope["method"] in _METHODS else "other",
        route=route,
        status=status,
        milliseconds=round(seconds * 1000, 1),
        **optional,
    )
