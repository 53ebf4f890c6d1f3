"""A network that fails at the worst moment: between a COMMIT and its answer.

It stands between the driver and PostgreSQL on loopback and speaks no protocol; it only looks for
the word.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

__all__ = ["SeveringProxy"]

_CHUNK = 65536


class SeveringProxy:
    """Forwards connections, and cuts the next one that commits, once :meth:`sever` was called."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._armed: Literal["before", "after"] | None = None
        self._open: set[socket.socket] = set()
        self._shut = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def sever(self, when: Literal["before", "after"]) -> None:
        """Cut the next connection that commits.

        Args:
            when: Before the server hears of the COMMIT, or after it has answered and before the
                client hears that.
        """
        self._armed = when

    def shut(self) -> None:
        """Let no new connection through."""
        self._shut = True

    def open(self) -> None:
        """Let new connections through again."""
        self._shut = False

    def close(self) -> None:
        """Cut everything."""
        self._listener.close()
        for open_socket in list(self._open):
            open_socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._shut:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open |= {client, server}
                severed = threading.Event()
                for source, sink, upstream in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._forward, args=(source, sink, severed, upstream), daemon=True
                    ).start()

    def _forward(
        self,
        source: socket.socket,
        sink: socket.socket,
        severed: threading.Event,
        upstream: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if upstream and self._armed and b"COMMIT" in data:
                    when, self._armed = self._armed, None
                    self.cuts += 1
                    if when == "before":
                        break
                    severed.set()
                elif not upstream and severed.is_set():
                    break  # the server has answered, so it has committed
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            self._open.discard(end)
