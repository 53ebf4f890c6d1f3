"""Serves the sandbox over real HTTP, on loopback only.

uvicorn does the work. One thing it has no door for is a TCP reset, so its protocol class is
extended by a register of connections, and the application is offered a function that resets its
own (the ASGI extension ``zjj.abort``).
"""

from __future__ import annotations

import functools
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from integrations.sandbox.app import ABORT, Sandbox, create_sandbox

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["HOST", "Listener", "SandboxServer", "listen", "make_server"]

HOST = "127.0.0.1"

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_Peer = tuple[str, int]
_Connections = dict[_Peer, "asyncio.Transport"]
Listener = Callable[[_Peer, bytes], object]
"""Hears the raw bytes of a connection as they arrive, before anybody reads them."""


def listen(port: int = 0) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """
    # asyncio turns Nagle's delay off only where the protocol is named, and create_server does not.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def make_server(sandbox: Sandbox, hear: Listener = lambda _peer, _data: None) -> uvicorn.Server:
    """A server without access log; run it with ``server.run(sockets=[listen()])``."""
    connections: _Connections = {}
    return uvicorn.Server(
        uvicorn.Config(
            _offer_abort(sandbox, connections),
            http=_registering(connections, hear),
            ws="none",
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
            # Longer than any client keeps an idle connection, so a closing one is never reused.
            timeout_keep_alive=120,
            # A hanging reply must not hold up the end.
            timeout_graceful_shutdown=1,
        )
    )


class SandboxServer:
    """A sandbox served by a thread of this process, for tests and benchmarks.

    ::

        with SandboxServer() as server:
            server.url, server.sandbox.journal
    """

    def __init__(
        self,
        sandbox: Sandbox | None = None,
        *,
        port: int = 0,
        hear: Listener = lambda _peer, _data: None,
    ) -> None:
        self.sandbox = sandbox or create_sandbox()
        self._listener = listen(port)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self._server = make_server(self.sandbox, hear)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="sandbox"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


def _registering(connections: _Connections, hear: Listener) -> type[asyncio.Protocol]:
    """The protocol that uvicorn prefers here, noting each connection by its client's address."""
    base: Any = AutoHTTPProtocol

    class Registering(base):  # type: ignore[misc]  # chosen at run time
        def connection_made(self, transport: asyncio.Transport) -> None:
            self._peer = transport.get_extra_info("peername")
            connections[self._peer] = transport
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            hear(self._peer, data)
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self._peer, None)
            super().connection_lost(exc)

    return Registering


def _offer_abort(app: ASGIApp, connections: _Connections) -> ASGIApp:
    async def offering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            reset = functools.partial(_reset, connections, tuple(scope["client"]))
            scope.setdefault("extensions", {})[ABORT] = reset
        await app(scope, receive, send)

    return offering


def _reset(connections: _Connections, peer: tuple[str, int]) -> None:
    if transport := connections.get(peer):
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
