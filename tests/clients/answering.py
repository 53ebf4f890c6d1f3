"""A loopback server that answers as it is told: the faults no real gateway has on demand."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["JOB", "Heard", "answering", "reply"]

JOB = {
    "id": "0" * 32,
    "kind": "sms_code",
    "state": "queued",
    "created_at": "2026-11-23T21:04:24.648707Z",
}
"""What the gateway says about an accepted job."""


@dataclass
class Heard:
    """Where the server listens and the requests that reached it, as they came over the wire."""

    url: str
    requests: list[bytes] = field(default_factory=list)

    @property
    def keys(self) -> list[bytes]:
        """The idempotency key of each request."""
        return [
            line.partition(b": ")[2]
            for request in self.requests
            for line in request.split(b"\r\n")
            if line.lower().startswith(b"idempotency-key:")
        ]


def reply(status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of an HTTP reply, after which the connection closes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


@contextlib.contextmanager
def answering(*answers: bytes | None) -> Iterator[Heard]:
    """Serve ``answers`` one by one, each on a connection of its own; None hangs up unheard."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        heard = Heard(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread = threading.Thread(target=_serve, args=(server, answers, heard))
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown(socket.SHUT_RDWR)  # wakes a waiting accept()
            thread.join()


def _serve(server: socket.socket, answers: Sequence[bytes | None], heard: Heard) -> None:
    for answer in answers:
        try:
            connection, _ = server.accept()
        except OSError:  # the test is over before all answers were asked for
            return
        with connection:
            connection.settimeout(10)
            heard.requests.append(_read(connection))
            if answer is not None:
                connection.sendall(answer)


def _read(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    head, _, body = request.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
