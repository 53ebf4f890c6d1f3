"""A worker process is locked: what a task opens by itself is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.sandbox.app import create_sandbox
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.server import SandboxServer
from models.database import migrate, open_database
from tests.integrations.recording_server import RecordingServer
from workers.egress import allowed_addresses
from workers.settings import Settings

# A kind of job that somebody adds in good faith, run by the real worker.
WORKER = """
import dataclasses, os, signal, socket, sys, threading, time, urllib.request

from models.pii import Phone, VerificationCode
from models.states import SETTLED
from tasks import SmsCode, registry, sms_code
from tasks.outcomes import succeeded
from workers import process
from workers.entrance import open_entrance
from workers.logs import configure_logs
from workers.settings import load_settings

configure_logs(level="warning")


class Around(SmsCode):
    pass


def connect(payload, attempt, context):
    socket.socket().connect(("127.0.0.1", int(sys.argv[1])))
    return succeeded()


task = dataclasses.replace(sms_code.SMS_CODE, kind="around", payload=Around, handle=connect, roads=())
registry.TASKS = {**registry.TASKS, "around": task}
settings = load_settings()


def watch():
    entrance = open_entrance(settings)
    views = []
    for kind, phone in ((Around, "16400001234"), (SmsCode, "16400001235")):
        payload = kind(phone=Phone(phone), code=VerificationCode("246810"), scene="login")
        job = entrance.service.enqueue(payload, backend="test")
        while (view := entrance.service.find(job.id)).state not in SETTLED:
            time.sleep(0.02)
        print(view.kind, view.state, view.reason, flush=True)
    entrance.close()
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=watch).start()
process.run_worker(settings, ["urgent"])
"""


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(create_sandbox(SandboxConfig(limits=False))) as running:
        yield running


def test_a_task_that_opens_a_socket_of_its_own_is_refused_and_the_gate_is_not(
    database_url: str, redis_url: str, sandbox: SandboxServer, tmp_path: Path
) -> None:
    engine = open_database(database_url)
    migrate(engine)
    engine.dispose()
    with RecordingServer() as elsewhere:
        done = subprocess.run(
            [sys.executable, "-c", WORKER, str(elsewhere.port)],
            env={
                "ZJJ_DATABASE_URL": database_url,
                "ZJJ_REDIS_URL": redis_url,
                "ZJJ_SANDBOX_URL": sandbox.url,
                "ZJJ_DATA": str(tmp_path / "zjj"),
                "ZJJ_WORKER_THREADS": "2",
                "PATH": "",
            },
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert elsewhere.connections == 0
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "around failed egress_denied",
        "sms_code succeeded None",
    ], done.stderr


@pytest.mark.parametrize(
    ("database", "redis", "allowed"),
    [
        (None, None, []),
        ("no url", "no url", []),
        ("sqlite:///zjj.db", "unix:///run/redis.sock?db=1", []),
        ("postgresql://u@db/zjj", "redis://broker:6380/0", [("db", 5432), ("broker", 6380)]),
        ("postgresql+psycopg://u@db:77/zjj", "rediss://broker", [("db", 77), ("broker", 6379)]),
        ("postgresql://u@/zjj?host=/run/pg", "unix:///r", []),
        ("postgresql://u@/zjj?host=a,b&port=1,2", "unix:///r", [("a", 1), ("b", 2)]),
        ("postgresql://u@/zjj?host=a:1&host=b:2", "unix:///r", [("a", 1), ("b", 2)]),
        (
            "postgresql://u@db/zjj?hostaddr=192.0.2.7",
            "unix:///r",
            [("db", 5432), ("192.0.2.7", 5432)],
        ),
    ],
)
def test_database_and_broker_are_the_only_addresses(
    database: str | None, redis: str | None, allowed: list[tuple[str, int]]
) -> None:
    settings = Settings(database_url=database, redis_url=redis)
    assert allowed_addresses(settings) == allowed


# A command that somebody adds in good faith, beside the real ones.
COMMAND = """
import socket, subprocess, sys
from workers.cli import app as cli

port = int(sys.argv.pop(1))


@cli.app.command("around")
def around():
    socket.socket().connect(("127.0.0.1", port))


@cli.app.command("aside")
def aside():
    subprocess.run([sys.executable, "-c", "pass"], check=True)


cli.main()
"""


@pytest.mark.parametrize("settings", [{}, {"ZJJ_ENV": "production"}], ids=["usual", "broken"])
@pytest.mark.parametrize("words", [["around"], ["aside"]], ids=" ".join)
def test_a_command_is_locked_whatever_its_settings(
    words: list[str], settings: dict[str, str], tmp_path: Path
) -> None:
    with RecordingServer() as elsewhere:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, str(elsewhere.port), *words],
            env={"ZJJ_DATA": str(tmp_path / "zjj"), "ZJJ_LANG": "en", "PATH": "", **settings},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert elsewhere.connections == 0
    assert done.returncode != 0
    assert "refused" in done.stderr or "not started" in done.stderr, done.stderr
    assert not (tmp_path / "zjj").exists(), "a lock writes nothing"
