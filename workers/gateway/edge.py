"""What every request passes first and every reply passes last.

One log line per request without path, query, headers or body; the headers that every reply
carries; what is left of a body that nobody wanted; and the last resort for a fault of our own, which must not reach the server's logger,
because that one prints the text of exceptions.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.gateway.problems import fault
from workers.logs import get_logger

__all__ = ["Edge"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET_ROUTES = frozenset({"/healthz", "/readyz"})
_NOBODY_LISTENS = 499
_DRAINED_BYTES = 8 * 1024 * 1024
_DRAINING_SECONDS = 5.0

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
        body = _Body(scope, receive)

        async def send_last(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
                if not await body.drain():
                    headers["Connection"] = "close"
            await send(message)

        scope["state"] = {**scope.get("state", {}), "backend": None, "job_id": None}
        try:
            await self._app(scope, body.receive, send_last)
        except ClientDisconnect:
            status = _NOBODY_LISTENS
        except Exception as error:  # noqa: BLE001 - nothing may reach the server's logger
            _log.error("gateway.failed", exc_info=error)
            if status is None:
                await fault().response()(scope, body.receive, send_last)
        finally:
            _write_line(scope, status, time.perf_counter() - started)


class _Body:
    """The request's body on its way in.

    An ordinary client writes first and reads later, so a refusal that comes while it still
    writes would be lost with the connection: the rest is read and thrown away, within bounds.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        self._is_open = length != "0" or "transfer-encoding" in headers
        self._is_bounded = not length.isdigit() or int(length) <= _DRAINED_BYTES
        self._receive = receive

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._is_open = False
        return message

    async def drain(self) -> bool:
        """Whether the body has come to its end, or could be brought there."""
        if self._is_open and self._is_bounded:
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAINING_SECONDS):
                    await self._read_on()
        return not self._is_open

    async def _read_on(self) -> None:
        seen = 0
        while seen <= _DRAINED_BYTES:
            message = await self.receive()
            seen += len(message.get("body", b""))
            if not message.get("more_body", False):
                return


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
