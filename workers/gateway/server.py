"""The HTTP server around the gateway: uvicorn, told to keep quiet."""

from __future__ import annotations

import logging

import uvicorn
from starlette.types import ASGIApp

__all__ = ["gateway_server"]

_HEADER_LIMIT = 16 * 1024


def gateway_server(app: ASGIApp, *, host: str, port: int) -> uvicorn.Server:
    """A server that is ready to ``run()``, or to ``serve()`` inside a running loop.

    No access log (it prints paths), no ``Server`` header, no logging set-up of its own, no
    trust in ``X-Forwarded-*``, headers up to 16 KiB, HTTP/1.1 only.

    Args:
        app: From :func:`~workers.gateway.create_gateway`.
        host: Address to listen on.
        port: 0 lets the system choose.
    """
    # access_log=False only removes handlers, and whoever sets up logging later brings them back.
    logging.getLogger("uvicorn.access").disabled = True
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="h11",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=_HEADER_LIMIT,
            timeout_graceful_shutdown=5,
        )
    )
