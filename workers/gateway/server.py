"""The HTTP server around the gateway: uvicorn, told to keep quiet."""

from __future__ import annotations

import logging

import uvicorn
from starlette.types import ASGIApp

__all__ = ["gateway_server"]


def gateway_server(app: ASGIApp, *, host: str, port: int) -> uvicorn.Server:
    """A server that is ready to ``run()``, or to ``serve()`` inside a running loop.

    No access log (it prints paths), no ``Server`` header, no logging set-up of its own, no
    trust in ``X-Forwarded-*``; HTTP/1.1 only, headers up to h11's 16 KiB.

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
            timeout_graceful_shutdown=5,
        )
    )
