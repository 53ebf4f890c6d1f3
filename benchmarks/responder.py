"""The provider of every contestant: answers any POST after a set time, and notes its arrival.

One process, one loop over bare sockets, because an HTTP framework would take a good part of the
two cores that are being measured. It checks nothing: a provider's checks are not a worker's cost.
"""

from __future__ import annotations

import multiprocessing
import re
import selectors
import socket
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import Any, Self

__all__ = ["Responder"]

_BODY = (
    b'{"Message":"OK","RequestId":"819BE656-D2E0-4858-8B21-B2E477085AAF","Code":"OK",'
    b'"BizId":"900619746936498440^0"}'
)
"""What Aliyun answers to an accepted SendSms (help.aliyun.com, "SendSms", response)."""
_REPLY = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json;charset=utf-8\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"OutId=([0-9a-f]{32})")
_START_SECONDS = 20


class Responder:
    """The process, seen from the harness; close it, or leave its ``with`` block.

    Attributes:
        url: Where it listens, ``http://127.0.0.1:port``.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.url: str = self._answer("start", _START_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(5)

    def reset(self, latency_ms: float) -> None:
        """Forget what arrived, and from now on answer after so many milliseconds."""
        self._ask("reset", latency_ms / 1000)

    def count(self) -> int:
        """How many requests arrived since the reset, repeated ones included."""
        counted: int = self._ask("count")
        return counted

    def wait(self, count: int, seconds: float) -> bool:
        """Wait until ``count`` requests have arrived since the reset; whether they have."""
        self._pipe.send(("wait", count))
        if self._pipe.poll(seconds):
            self._pipe.recv()
            return True
        self._pipe.send(("cancel",))
        arrived = self._pipe.recv() is not None  # at the very last moment
        if arrived:
            self._pipe.recv()
        return arrived

    def arrivals(self) -> dict[str, float]:
        """The first arrival of each id, in seconds of ``time.monotonic``."""
        arrived: dict[str, float] = self._ask("arrivals")
        return arrived

    def _ask(self, *command: object) -> Any:
        self._pipe.send(command)
        return self._answer(str(command[0]), 10)

    def _answer(self, what: str, seconds: float) -> Any:
        if not self._pipe.poll(seconds):
            raise TimeoutError(f"the responder does not answer: {what}")
        return self._pipe.recv()


def _serve(pipe: Connection) -> None:
    try:
        _Loop(pipe).run()
    except (EOFError, KeyboardInterrupt):
        return  # the harness is gone


class _Loop:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._selector = selectors.DefaultSelector()
        self._delay = 0.0
        self._due: deque[tuple[float, socket.socket]] = deque()
        self._count = 0
        self._awaited: int | None = None
        self._arrivals: dict[bytes, float] = {}
        self._partial: dict[socket.socket, bytes] = {}

    def run(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._pipe.send(f"http://127.0.0.1:{listener.getsockname()[1]}")
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, _ in self._selector.select(wait):
                if key.fileobj is listener:
                    self._accept(listener)
                elif key.fileobj is self._pipe:
                    self._obey(*self._pipe.recv())
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._read(key.fileobj)
            self._reply_to_due()

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(client, selectors.EVENT_READ)

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(client)
            self._partial.pop(client, None)
            client.close()
            return
        data = self._partial.pop(client, b"") + data
        end = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data)
        # Some clients send headers and body apart.
        if end < 0 or length is None or len(data) < end + 4 + int(length[1]):
            self._partial[client] = data
            return
        self._take(client, data)

    def _take(self, client: socket.socket, request: bytes) -> None:
        now = time.monotonic()
        self._count += 1
        if match := _ID.search(request):
            self._arrivals.setdefault(match[1], now)
        if self._delay:
            self._due.append((now + self._delay, client))
        else:
            _send(client)
        self._tell_who_waits()

    def _reply_to_due(self) -> None:
        # All replies wait equally long, so the first to arrive is the first to be due.
        while self._due and self._due[0][0] <= time.monotonic():
            _send(self._due.popleft()[1])

    def _tell_who_waits(self) -> None:
        if self._awaited is not None and self._count >= self._awaited:
            self._awaited = None
            self._pipe.send(self._count)

    def _obey(self, command: str, argument: float = 0) -> None:
        match command:
            case "reset":
                self._delay = argument
                self._count = 0
                self._arrivals.clear()
                self._pipe.send(None)
            case "count":
                self._pipe.send(self._count)
            case "wait":
                self._awaited = int(argument)
                self._tell_who_waits()
            case "cancel":
                self._awaited = None
                self._pipe.send(None)
            case "arrivals":
                self._pipe.send({name.decode(): at for name, at in self._arrivals.items()})


def _send(client: socket.socket) -> None:
    try:
        client.send(_REPLY)
    except OSError:
        return  # it left meanwhile; the selector will say so
