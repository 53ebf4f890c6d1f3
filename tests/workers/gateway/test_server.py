"""The server around the gateway."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from models.errors import ConfigurationError
from tests.workers.gateway.serving import serve_gateway
from workers.gateway import gateway_server
from workers.gateway.server import _listen

ROOT = Path(__file__).parents[3]


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that nobody gets to talk to."""


def test_a_taken_port_is_said_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=f"127.0.0.1 port {port}: Address already in use$"
        ):
            gateway_server(_nothing, host="127.0.0.1", port=port).run()


@pytest.mark.parametrize("host", ["198.51.100.1", "no such host"])
def test_a_host_that_is_not_ours_is_said_in_one_sentence(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot listen on {host} port 0: [A-Z]"):
        gateway_server(_nothing, host=host, port=0).run()


def test_the_second_part_of_a_reply_does_not_wait_for_the_caller() -> None:
    with _listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_stopped_gateway_frees_its_port(sqlite_url: str) -> None:
    with serve_gateway(sqlite_url) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        socket.create_connection((host, int(port))).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    socket.create_server((host, int(port))).close()


OWNER = """
import sys
from workers.gateway import gateway_server
from workers.gateway.server import _listen

async def app(scope, receive, send):
    await receive()

try:
    gateway_server(app, host="127.0.0.1", port=int(sys.argv[1])).run()
finally:
    print("closed")
"""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_owner_close_what_it_opened(stop: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [sys.executable, "-c", OWNER, str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while not listens(port):
            assert process.poll() is None
        process.send_signal(stop)
        output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "closed\n")


def listens(port: int) -> bool:
    time.sleep(0.05)
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
