"""The lock cannot be taken off again, so what is really locked runs in a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from integrations import egress_guard
from models.errors import DeniedError
from tests.integrations.recording_server import RecordingServer

PRELUDE = """
import asyncio, socket, threading, urllib.request
from integrations import egress_guard
from models.errors import DeniedError

allowed, other = {allowed}, {other}

def refused(action):
    try:
        action()
    except DeniedError:
        return
    raise SystemExit("went through")

def reaches(port, host="127.0.0.1"):
    socket.create_connection((host, port), timeout=2).close()

egress_guard.install([("localhost", allowed)])
"""


def _run(script: str, allowed: int, other: int) -> None:
    code = PRELUDE.format(allowed=allowed, other=other) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            "reaches(allowed)\nreaches(allowed, 'localhost')", id="the listed are reached"
        ),
        pytest.param("refused(lambda: reaches(other))", id="others are not"),
        pytest.param(
            "refused(lambda: socket.socket().connect_ex(('127.0.0.1', other)))", id="connect_ex"
        ),
        pytest.param(
            """
            with egress_guard.passage('localhost', 1):
                with egress_guard.passage('127.0.0.1', other):
                    reaches(other)
                refused(lambda: reaches(other))
                socket.getaddrinfo('localhost', 1)
            refused(lambda: reaches(other))
            """,
            id="a passage within a passage ends with it",
        ),
        pytest.param("refused(lambda: reaches(443, 'example.com'))", id="a name"),
        pytest.param("refused(lambda: socket.getaddrinfo('example.com', 443))", id="a lookup"),
        pytest.param("refused(lambda: socket.gethostbyname('example.com'))", id="an old lookup"),
        pytest.param("refused(lambda: socket.gethostbyaddr('192.0.2.7'))", id="a reverse lookup"),
        pytest.param(
            "refused(lambda: reaches(allowed, '192.0.2.7'))", id="a listed port elsewhere"
        ),
        pytest.param(
            "udp = socket.socket(type=socket.SOCK_DGRAM)\n"
            "refused(lambda: udp.sendto(b'16400001234', ('127.0.0.1', other)))\n"
            "refused(lambda: udp.sendmsg([b'1'], [], 0, ('127.0.0.1', other)))\n"
            "udp.close()",
            id="datagrams",
        ),
        pytest.param(
            "refused(lambda: urllib.request.urlopen(f'http://127.0.0.1:{other}/'))", id="urllib"
        ),
        pytest.param(
            "refused(lambda: asyncio.run(asyncio.open_connection('127.0.0.1', other)))",
            id="asyncio",
        ),
        pytest.param(
            "import httpx\nrefused(lambda: httpx.get(f'http://127.0.0.1:{other}/'))", id="httpx"
        ),
        pytest.param(
            "import redis\nredis.Redis(port=allowed).connection_pool.make_connection()\n"
            "from redis.backoff import NoBackoff\nfrom redis.retry import Retry\n"
            "refused(lambda: redis.Redis(port=other, retry=Retry(NoBackoff(), 0)).ping())",
            id="another broker",
        ),
        pytest.param(
            "with egress_guard.passage('127.0.0.1', other):\n"
            "    reaches(other)\n"
            "    refused(lambda: socket.getaddrinfo('example.com', other))\n"
            "    refused(lambda: reaches(other, '127.0.0.2'))\n"
            "    refused(lambda: reaches(allowed + 1))\n"
            "refused(lambda: reaches(other))",
            id="a passage ends",
        ),
        pytest.param(
            "result = []\n"
            "def elsewhere():\n"
            "    try: reaches(other)\n"
            "    except DeniedError: result.append('refused')\n"
            "with egress_guard.passage('127.0.0.1', other):\n"
            "    thread = threading.Thread(target=elsewhere); thread.start(); thread.join()\n"
            "assert result == ['refused']",
            id="a passage is one thread's",
        ),
        pytest.param(
            "egress_guard.install([('127.0.0.1', other)])\nreaches(other)\nreaches(allowed)",
            id="the list can grow",
        ),
        pytest.param(
            "import tempfile, os\n"
            "server = socket.socket(socket.AF_UNIX); path = os.path.join(tempfile.mkdtemp(), 's')\n"
            "server.bind(path); server.listen()\n"
            "client = socket.socket(socket.AF_UNIX); client.connect(path)\n"
            "client.close(); server.close()",
            id="unix sockets",
        ),
        pytest.param(
            "import os, subprocess, sys\n"
            "program = [sys.executable, '-c', 'pass']\n"
            "refused(lambda: subprocess.run(program))\n"
            "refused(lambda: os.system('true'))\n"
            "refused(lambda: os.popen('true'))\n"
            "refused(lambda: os.posix_spawn(sys.executable, program, {}))\n"
            "refused(lambda: os.execv(sys.executable, program))",
            id="other programs are not started",
        ),
        pytest.param(
            "import ctypes.util\nassert ctypes.util.find_library('no-such-library') is None\n"
            "from Cryptodome.Cipher import AES",
            id="libraries are found without asking one",
        ),
        pytest.param(
            "import http.server\n"
            "http.server.HTTPServer(('', 0), http.server.BaseHTTPRequestHandler).server_close()",
            id="servers can bind",
        ),
    ],
)
def test_nothing_reaches_the_network_around_the_gate(script: str) -> None:
    with RecordingServer() as allowed, RecordingServer() as other:
        _run(script, allowed.port, other.port)


def test_the_gate_passes_and_the_same_address_stays_closed_to_others() -> None:
    script = """
    from integrations.policy import load_policy
    from tests.integrations.gate.parts import (
        CONFIGURED, MemoryLedger, make_attempt, make_gate, sign
    )
    policy = load_policy()
    gate = make_gate(policy, MemoryLedger(), f"http://127.0.0.1:{other}")
    attempt = make_attempt(policy)
    operation = policy.operation("aliyun.sms.send")
    gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)
    refused(lambda: reaches(other))
    gate.close()
    """
    with RecordingServer() as allowed, RecordingServer() as other:
        _run(script, allowed.port, other.port)
        assert len(other.requests) == 1


# The rule itself, asked as the interpreter would ask it.

Hook = Callable[[str, tuple[Any, ...]], None]
LISTED = [("localhost", 5432), ("192.0.2.5", 6379), ("nowhere.invalid", 7)]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Hook:
    """What the lock would hang into the interpreter, without locking this one."""
    hooks: list[Hook] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    monkeypatch.setattr(egress_guard, "_installed", threading.Lock())
    monkeypatch.setattr(egress_guard, "_allowed", {})
    egress_guard.install(LISTED)
    egress_guard.install([("192.0.2.6", 6380)])
    (hook,) = hooks
    return hook


@pytest.fixture(scope="module")
def tcp() -> Iterator[socket.socket]:
    with socket.socket() as one:
        yield one


@pytest.fixture(scope="module")
def unix() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as one:
        yield one


@pytest.mark.parametrize("event", ["socket.connect", "socket.sendto", "socket.sendmsg"])
def test_only_listed_addresses_are_connected_to(
    hook: Hook, tcp: socket.socket, unix: socket.socket, event: str
) -> None:
    listed: tuple[object, ...] = (
        *(("localhost", 5432), ("127.0.0.1", 5432), ("127.0.0.1", 5432, 0, 0)),
        *(("192.0.2.5", 6379), ("192.0.2.6", 6380), None),
    )
    for address in listed:
        hook(event, (tcp, address))
    hook(event, (unix, "/run/somewhere"))
    others: tuple[object, ...] = (
        *(("127.0.0.1", 5433), ("localhost", 6379), ("127.0.0.1", 6379), ("192.0.2.5", 5432)),
        *(("192.0.2.5", 6380), ("192.0.2.7", 6379), ("192.0.2.1", 7), "/run/somewhere"),
    )
    for address in others:
        with pytest.raises(DeniedError):
            hook(event, (tcp, address))


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("socket.getaddrinfo", lambda name: (name, 443, 0, 0, 0)),
        ("socket.gethostbyname", lambda name: (name,)),
        ("socket.gethostbyaddr", lambda name: (name,)),
        ("socket.getnameinfo", lambda name: ((name, 443), 0)),
    ],
)
def test_only_listed_names_and_the_machines_own_are_looked_up(
    hook: Hook, event: str, arguments: Callable[[object], tuple[Any, ...]]
) -> None:
    for name in (
        *("localhost", b"localhost", "192.0.2.5", "nowhere.invalid", None, "", "127.0.0.1"),
        *("::1", "0.0.0.0", "::", socket.gethostname()),
    ):
        hook(event, arguments(name))
    for name in ("example.com", b"example.com", b"\xff", "192.0.2.7", "local", "2001:db8::1"):
        with pytest.raises(DeniedError):
            hook(event, arguments(name))


@pytest.mark.parametrize(
    "event",
    ["subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"],
)
def test_no_program_is_started_that_nobody_would_watch(hook: Hook, event: str) -> None:
    with pytest.raises(DeniedError, match="a program"), egress_guard.passage("192.0.2.9", 443):
        hook(event, ("curl", ["curl", "https://192.0.2.9"], None, None))


def test_other_events_are_none_of_its_business(hook: Hook) -> None:
    hook("open", ("/etc/hosts", "r", 0))
    hook("socket.bind", (None, ("192.0.2.7", 80)))


def test_a_passage_by_name_lets_that_name_and_its_port_through(
    hook: Hook, tcp: socket.socket
) -> None:
    with egress_guard.passage("pay.example.com", 443):
        hook("socket.getaddrinfo", ("pay.example.com", 443))
        hook("socket.getaddrinfo", (b"pay.example.com", 443))
        hook("socket.connect", (tcp, ("192.0.2.9", 443)))
        hook("socket.connect", (tcp, ("127.0.0.1", 5432)))
        for event, arguments in (
            ("socket.getaddrinfo", ("www.example.com", 443)),
            ("socket.connect", (tcp, ("192.0.2.9", 444))),
        ):
            with pytest.raises(DeniedError):
                hook(event, arguments)


def test_a_passage_by_address_lets_that_address_through_until_it_ends(
    hook: Hook, tcp: socket.socket
) -> None:
    def refused(address: str, port: int = 443) -> None:
        with pytest.raises(DeniedError):
            hook("socket.connect", (tcp, (address, port)))

    with contextlib.suppress(KeyError), egress_guard.passage("192.0.2.9", 443):
        hook("socket.connect", (tcp, ("192.0.2.9", 443)))
        refused("192.0.2.8")
        refused("192.0.2.9", 444)
        with egress_guard.passage("192.0.2.8", 443):
            hook("socket.connect", (tcp, ("192.0.2.8", 443)))
            refused("192.0.2.9")
        hook("socket.connect", (tcp, ("192.0.2.9", 443)))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(refused, "192.0.2.9").result()
        raise KeyError
    refused("192.0.2.9")
