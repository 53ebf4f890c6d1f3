"""The HTTP server around the gateway: uvicorn, told to keep quiet."""

from __future__ import annotations

import logging
import signal
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from models.errors import ConfigurationError

__all__ = ["gateway_server"]


def gateway_server(app: ASGIApp, *, host: str, port: int) -> uvicorn.Server:
    """A server that is ready to ``run()``, or to ``serve()`` inside a running loop.

    No access log (it prints paths), no ``Server`` header, no logging set-up of its own, no
    trust in ``X-Forwarded-*``; HTTP/1.1 only, headers up to h11's 16 KiB.

    Args:
        app: From :func:`~workers.gateway.create_gateway`.
        host: Address to listen on.
        port: 0 lets the system choose.

    ``run()`` and ``serve()`` return after SIGTERM or SIGINT, once running requests are answered
    (5 s at most), and raise ConfigurationError when the address cannot be listened on.
    """
    # access_log=False only removes handlers, and whoever sets up logging later brings them back.
    logging.getLogger("uvicorn.access").disabled = True
    return _Server(
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


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # Left to itself, uvicorn would tell a logger why it cannot listen, and end the process.
        await super().startup(sockets or [_listen(self.config.host, self.config.port)])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # Left to itself, uvicorn would raise the signal again after serving, and the process
        # would die before its owner has closed what it opened.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise ConfigurationError(
            f"the gateway cannot listen on {host} port {port}: {reason}"
        ) from None
    # Connections inherit it. asyncio sets it on sockets that it has made itself only, and without
    # it the second part of a reply waits 40 ms for the caller's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
