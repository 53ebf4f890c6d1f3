"""Which connections are made: where to, how many, and how much is read from one."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Collection, Iterator

import httpx
import pytest

from integrations import egress_guard
from integrations._wire import Lost, Origins, Timeouts, Unsent, Wire
from integrations.admission import Admitted
from integrations.policy import Policy
from tests.integrations.gate.parts import HOST, admitted_callback
from tests.integrations.recording_server import RecordingServer, answer

OURS = "backend.example.com"
FOUND, JUDGED = "93.184.216.34", "93.184.216.35"
QUICK = Timeouts(connect=0.2, reconnect=0, answer=5)


@pytest.fixture
def admitted(policy: Policy) -> Admitted:
    return admitted_callback(policy, OURS)


@pytest.fixture
def wire(server: RecordingServer) -> Iterator[Wire]:
    wire = Wire(dial={OURS: server.url}, timeouts=QUICK)
    yield wire
    wire.close()


def test_of_an_answer_256_kib_are_read_and_not_a_byte_more(
    wire: Wire, admitted: Admitted, server: RecordingServer
) -> None:
    whole = b" " * (256 * 1024)
    server.reply = answer(whole)
    assert wire.send(admitted).body == whole

    server.reply = answer(whole + b" ")
    with pytest.raises(Lost):
        wire.send(admitted)


def test_a_thread_has_eight_connections_at_most_and_keeps_four(
    wire: Wire, admitted: Admitted, server: RecordingServer
) -> None:
    def eight() -> list[httpx.Response]:
        final = admitted.request
        request = httpx.Request(
            final.method,
            server.url + final.target.decode(),
            headers=list(final.headers),
            content=final.body,
            extensions={"admitted": admitted, "timeout": {"pool": 2}},
        )
        return [wire._transport().handle_request(request) for _ in range(8)]

    answers = eight()
    with pytest.raises(Unsent):
        wire.send(admitted)
    assert (server.connections, len(server.requests)) == (8, 8)

    for each in answers:
        each.read()
    eight()
    assert (server.connections, len(server.requests)) == (12, 16)


def test_a_host_speaks_https_and_only_loopback_plain_http() -> None:
    origins = Origins()
    for host in (HOST, "backend.example.com:8443", "127.0.0.1.example.com"):
        assert origins[host] == httpx.URL(f"https://{host}")
    for host in ("localhost:8123", "127.0.0.1:8123", "[::1]:8123"):
        assert origins[host] == httpx.URL(f"http://{host}")


def test_a_host_on_loopback_that_is_not_dialled_is_reached(
    policy: Policy, server: RecordingServer
) -> None:
    host = f"127.0.0.1:{server.port}"
    wire = Wire(dial={}, timeouts=QUICK)
    assert wire.send(admitted_callback(policy, host)).status == 200
    wire.close()

    assert server.requests[0].startswith(f"POST /hook HTTP/1.1\r\nhost: {host}\r\n".encode())


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where the lock on the process let a connection through; then nobody answers there."""
    hooks: list[Callable[[str, tuple[object, ...]], None]] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    monkeypatch.setattr(egress_guard, "_installed", threading.Lock())
    monkeypatch.setattr(egress_guard, "_allowed", {})
    egress_guard.install([])
    (judge,) = hooks
    tried: list[tuple[str, int]] = []

    def look_up(name: str, port: int, *rest: object) -> list[tuple[object, ...]]:
        judge("socket.getaddrinfo", (name, port, *rest))
        address = FOUND if name.endswith("com") else name
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))]

    def connect(connection: socket.socket, address: tuple[str, int]) -> None:
        judge("socket.connect", (connection, address))
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", connect)
    return tried


@pytest.mark.parametrize(
    ("host", "dialled", "guarded", "address"),
    [
        (OURS, None, {}, (FOUND, 443)),
        (OURS, None, {OURS}, (JUDGED, 443)),
        (f"{OURS}:8443", None, {}, (FOUND, 8443)),
        (f"{OURS}:8443", None, {f"{OURS}:8443"}, (JUDGED, 8443)),
        (OURS, "http://127.0.0.1", {OURS}, ("127.0.0.1", 80)),
        (OURS, "https://127.0.0.1/", {OURS}, ("127.0.0.1", 443)),
        (OURS, "http://127.0.0.1:8123/", {OURS}, ("127.0.0.1", 8123)),
        ("127.0.0.1:8123", None, {OURS}, ("127.0.0.1", 8123)),
    ],
)
def test_the_lock_is_open_for_the_one_address_of_a_request(
    policy: Policy,
    tried: list[tuple[str, int]],
    host: str,
    dialled: str | None,
    guarded: Collection[str],
    address: tuple[str, int],
) -> None:
    wire = Wire(
        dial={host: dialled} if dialled else {},
        timeouts=QUICK,
        guarded=guarded,
        resolve=lambda *_: [JUDGED],
    )
    with pytest.raises(Unsent):
        wire.send(admitted_callback(policy, host))
    wire.close()

    assert {*tried} == {address}


def test_a_connection_is_tried_four_times(admitted: Admitted, tried: list[tuple[str, int]]) -> None:
    wire = Wire(dial={}, timeouts=Timeouts(connect=0.5, reconnect=30, answer=1))
    with pytest.raises(Unsent):
        wire.send(admitted)
    wire.close()

    assert tried == [(FOUND, 443)] * 4
