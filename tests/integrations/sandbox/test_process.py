from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.sandbox.server import SandboxServer, listen
from tests.integrations.sandbox.calling import Caller

ROOT = Path(__file__).parents[3]


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "integrations.sandbox", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    started = start("--no-limits")
    yield started
    if started.poll() is None:
        started.kill()
    started.communicate()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline().rpartition(":")[2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_tells_its_port_serves_and_ends_in_peace(
    process: subprocess.Popen[str], number: signal.Signals
) -> None:
    caller = Caller(f"http://127.0.0.1:{port_of(process)}")
    with caller.http:
        assert {caller.send()["Code"] for _ in range(3)} == {"OK"}
        process.send_signal(number)
        assert process.wait(10) == 0


def test_a_hanging_reply_does_not_hold_up_the_end(process: subprocess.Popen[str]) -> None:
    port = port_of(process)
    caller = Caller(f"http://127.0.0.1:{port}")
    with caller.http, socket.create_connection(("127.0.0.1", port)) as waiting:
        caller.fault(kind="hang", seconds=3600)
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: dysmsapi.aliyuncs.com\r\n\r\n")
        while not caller.http.get("/_sandbox/counters").json()["requests"]:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_replies_do_not_wait_for_nagle() -> None:
    with listen() as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_nothing_that_it_prints_names_a_number_or_a_code(process: subprocess.Popen[str]) -> None:
    caller = Caller(f"http://127.0.0.1:{port_of(process)}")
    with caller.http:
        caller.send()
        caller.send(PhoneNumbers="164000012345")
        caller.call("SendSms", {"PhoneNumbers": "16400001234"}, in_query=True)
        caller.http.post("/16400001234?PhoneNumbers=16400001234", content=b"\xff\xfe")
    process.send_signal(signal.SIGTERM)
    printed = "".join(process.communicate(timeout=10))
    assert "16400001234" not in printed
    assert "246810" not in printed
    assert printed == ""


def test_the_port_is_also_written_where_it_is_asked_for(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    port_file = tmp_path / "sandbox.port"
    process = start("--port-file", str(port_file), "--ready-fd", str(writing), pass_fds=[writing])
    os.close(writing)
    try:
        with os.fdopen(reading) as ready:
            told = ready.read()
        assert told.strip() == port_file.read_text(encoding="ascii") == str(port_of(process))
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_a_taken_port_is_said_in_one_sentence() -> None:
    with SandboxServer() as server:
        process = start("--port", str(server.port))
        _, said = process.communicate(timeout=10)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{server.port}: Address already in use" in said


def test_a_configuration_is_read_from_a_file(tmp_path: Path) -> None:
    config = tmp_path / "sandbox.json"
    config.write_text('{"sign_names": ["别家"], "latency_ms": 1}', encoding="utf-8")
    process = start("--config", str(config))
    caller = Caller(f"http://127.0.0.1:{port_of(process)}")
    with caller.http:
        assert caller.send()["Code"] == "isv.SMS_SIGNATURE_ILLEGAL"
        assert caller.send(SignName="别家")["Code"] == "OK"
    process.terminate()
    process.communicate(timeout=10)


def test_a_configuration_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "sandbox.json"
    config.write_text('{"signs": []}', encoding="utf-8")
    process = start("--config", str(config))
    _, said = process.communicate(timeout=10)
    assert process.returncode == 2
    assert "signs" in said
