"""Nothing that others wait for stands still for the interpreter's own housekeeping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from integrations.sandbox.server import SandboxServer
from models.database import migrate, open_database
from tests.journeys.houses import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30.0
TOLD_AT_THE_END = """
import atexit, gc, sys

def tell():
    print("spared", gc.get_freeze_count(), "turn", sys.getswitchinterval(), flush=True)

atexit.register(tell)
from workers.cli.app import main
main()
"""


@pytest.fixture
def house(sqlite_url: str, redis_url: str, server: SandboxServer, tmp_path: Path) -> dict[str, str]:
    engine = open_database(sqlite_url)
    migrate(engine)
    engine.dispose()
    return {
        **os.environ,
        "ZJJ_DATA": str(tmp_path),
        "ZJJ_DATABASE_URL": sqlite_url,
        "ZJJ_REDIS_URL": redis_url,
        "ZJJ_SANDBOX_URL": server.url,
        "ZJJ_GATEWAY_PORT": str(free_port()),
        "ZJJ_LOG_FORMAT": "json",
    }


def test_a_gateway_spares_what_it_has_loaded(house: dict[str, str], tmp_path: Path) -> None:
    def serves() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(house["ZJJ_GATEWAY_PORT"]))) == 0

    assert_prompt(tmp_path / "output", house, serves, "gateway")


def test_a_worker_spares_what_it_has_loaded(house: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "output"
    assert_prompt(output, house, lambda: "worker.started" in output.read_text(), "worker")


def assert_prompt(
    output: Path, environment: dict[str, str], ready: Callable[[], bool], command: str
) -> None:
    with output.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", TOLD_AT_THE_END, command],
            cwd=ROOT,
            env=environment,
            stdout=written,
            stderr=written,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            assert time.monotonic() < deadline, output.read_text()
            assert process.poll() is None, output.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
    (told,) = [line for line in output.read_text().splitlines() if line.startswith("spared")]
    _, spared, _, turn = told.split()
    assert int(spared) > 100_000
    assert float(turn) < 0.001
