"""The product in a folder of its own: real Redis, real worker, real gateway, tapped sandbox."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from pydantic import SecretStr

from integrations.sandbox.app import create_sandbox
from integrations.sandbox.callbacks import CallbackPlan
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.merchants import TillKeys, use_till_keys
from integrations.sandbox.server import SandboxServer
from models.api_keys import Scope, create_api_key
from models.circuits import CircuitNote, list_circuits, write_notes
from models.claims import sign_off
from models.clock import utc_now
from models.database import migrate, open_database, writing
from models.dump import dump_rows
from models.errors import ConfigurationError
from models.group_commit import Transaction
from models.keys import generate_key
from models.upkeep import list_workers
from models.webhooks import add_endpoint
from tasks.webhook import EXAMPLE_ENDPOINT
from workers.embedded.merchants import SandboxMerchants
from workers.embedded.redis_server import RedisServer
from workers.embedded.supervisor import Child, open_log
from workers.entrance import open_entrance
from workers.proofs.lab import Wiretap
from workers.settings import Settings

__all__ = ["House", "await_"]

_PATIENCE_SECONDS = 40.0
_STOP_SECONDS = 15.0


class House:
    """Use as a context manager.

    Args:
        folder: Everything is kept here.
        policy_file: The policy in force.
        database_url: A PostgreSQL database without jobs; default: SQLite in the folder.

    Raises:
        ConfigurationError: The database has jobs of its own, or a part does not start.
    """

    def __init__(
        self, folder: Path, *, policy_file: Path | None = None, database_url: str | None = None
    ) -> None:
        self._folder = folder
        self._on_file = database_url is None
        self.tap = Wiretap()
        port = _free_port()
        merchants = SandboxMerchants(folder / "merchants")
        merchants.lay_out("proof")
        use_till_keys(TillKeys.load(merchants.keys.read_text("utf-8")))
        callbacks = CallbackPlan(urls=merchants.callback_urls(port), scale=0.01)
        sandbox = create_sandbox(SandboxConfig(limits=False, callbacks=callbacks))
        self.sandbox = SandboxServer(sandbox, hear=self.tap)
        secrets = {
            "master_keys": f"proof:{generate_key()}",
            "pseudonym_key": generate_key(),
        }
        given: dict[str, Any] = {
            "env": "development",
            "data": folder,
            "database_url": database_url or f"sqlite:///{folder / 'zjj.db'}",
            "redis_url": f"unix://{folder / 'redis.sock'}",
            "sandbox_url": self.sandbox.url,
            "policy_file": policy_file,
            "gateway_port": port,
            "merchants": merchants.file,
            # Counted like any other, so that what is kept for limits is searched too.
            **dict.fromkeys(("sms_limit_phone_scene", "sms_limit_phone"), "1000/minute"),
            **dict.fromkeys(("sms_alarm_backend", "sms_alarm_all"), "100000/10minutes"),
            "sms_limit_backend": "100000/day",
        }
        hidden: dict[str, Any] = {name: SecretStr(text) for name, text in secrets.items()}
        self.settings = Settings(**given, **hidden, aliyun_access_key_id=None)
        # Whatever this machine is configured for, empty means not set.
        self.environment = {name: "" for name in os.environ if name.startswith("ZJJ_")} | {
            f"ZJJ_{name.upper()}": str(value)
            for name, value in (given | secrets).items()
            if value is not None
        }
        self.environment |= {
            "ZJJ_LANG": "en",
            "ZJJ_LOG_LEVEL": "debug",
            "ZJJ_LOG_FORMAT": "json",
            "ZJJ_WORKER_THREADS": "32",
            "ZJJ_GRACE_SECONDS": "12",
        }
        self.engine = open_database(self.settings.database)
        self.entrance = open_entrance(self.settings)
        self.replies: list[bytes] = []
        """All that the gateway and the command line have said."""
        self._children: dict[str, Child] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _open(self) -> None:
        self._stack.callback(self.engine.dispose)
        server = RedisServer(
            self._folder / "redis.sock",
            self._folder / "redis",
            self._stack.enter_context(open_log(self._folder / "logs", "redis")),
        )
        self._stack.callback(server.stop)
        server.start()
        self._stack.enter_context(self.sandbox)
        migrate(self.engine)
        with self.engine.connect() as connection:
            if any(dump_rows(connection)):
                raise ConfigurationError("the database for the proofs must be empty")
        with writing(self.engine) as connection:
            self._key = create_api_key(connection, "proof", scopes=tuple(Scope))
            _, secret = add_endpoint(
                connection,
                self.settings.keys,
                endpoint_id=EXAMPLE_ENDPOINT,
                backend="proof",
                url=f"{self.sandbox.url}/webhooks",
                # Enough to deliver to; what other jobs announce would meet their mishaps.
                events=["webhook.test"],
                now=utc_now(),
            )
            self.sandbox.sandbox.backend.secrets.add(secret)
        self._stack.callback(self.entrance.close)
        self._stack.callback(self.stop)
        self.start_worker()
        self._start("gateway", "gateway")
        await_(self._accepts, "the gateway serves")

    def start_worker(self) -> None:
        """Start a worker process."""
        self._start("worker", "worker")

    def kill_worker(self) -> None:
        """``kill -9``, and tell the database that nobody need wait for it."""
        child = self._children["worker"]
        assert child.process is not None  # noqa: S101 - started on entry
        child.process.kill()
        child.process.wait()
        with writing(self.engine) as connection:
            for worker in list_workers(connection):
                if worker.pid == child.process.pid and worker.host == socket.gethostname():
                    sign_off(connection, worker.id, now=utc_now())

    def close_circuits(self) -> None:
        """Forget the failures of recipients, which are the proof's doing."""
        with self.engine.connect() as connection:
            failed = [each.recipient for each in list_circuits(connection) if each.failures]
        if failed:
            notes = [CircuitNote(recipient, failed=False, at=utc_now()) for recipient in failed]
            with writing(self.engine) as connection:
                write_notes(Transaction(connection), notes)

    def stop(self) -> None:
        """Stop worker and gateway in order."""
        running = [child.process for child in self._children.values() if child.process]
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin:
                process.stdin.close()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """One request to the gateway over a plain socket; returns status and JSON."""
        data = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.settings.gateway_port}",
            f"Authorization: Bearer {self._key}",
            f"Content-Length: {len(data)}",
            "Content-Type: application/json",
            "Connection: close",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        reply = bytearray()
        with socket.socket() as connection:
            connection.settimeout(_PATIENCE_SECONDS)
            connection.connect(("127.0.0.1", self.settings.gateway_port))
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
            while chunk := connection.recv(65536):
                reply += chunk
        self.replies.append(bytes(reply))
        head, _, content = bytes(reply).partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        try:
            return status, json.loads(content)
        except ValueError:
            return status, None

    def command(self, *arguments: str, typed: str = "") -> int:
        """Run one ``zjj`` command to its end; returns its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", *arguments],
            env={**os.environ, **self.environment},
            input=typed.encode(),
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
        self.replies.append(done.stdout + done.stderr)
        return done.returncode

    def commands(self, lines: Sequence[Sequence[str]]) -> list[int]:
        """Run several commands in one process, which asks nobody; returns their exit codes."""
        done = subprocess.run(
            [sys.executable, "-c", _ONE_AFTER_ANOTHER],
            env={**os.environ, **self.environment},
            input=json.dumps(lines).encode(),
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
        self.replies.append(done.stdout + done.stderr)
        *_, codes = done.stdout.rpartition(b"\n")
        return [int(code) for code in codes.split()]

    def places(self) -> Iterator[tuple[str, bytes]]:
        """Everything that was left behind, by where it is."""
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.suffix != ".sock":
                yield str(path.relative_to(self._folder)), path.read_bytes()
        with self.engine.connect() as connection:
            yield "rows of the database", b"".join(dump_rows(connection))
        with redis.Redis(unix_socket_path=str(self._folder / "redis.sock")) as client:
            yield "keys of Redis", b"\n".join(_contents(client))
        yield "replies of gateway and command line", b"\n".join(self.replies)

    def _start(self, name: str, command: str) -> None:
        child = Child(
            name=name,
            arguments=["workers.cli", command],
            log=self._stack.enter_context(open_log(self._folder / "logs", name)),
            environment=self.environment,
        )
        child.start()
        self._children[name] = child

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.settings.gateway_port)) == 0


_ONE_AFTER_ANOTHER = """
import json, sys
from workers.cli.app import main

codes = []
for words in json.load(sys.stdin):
    sys.argv[1:] = words
    try:
        main()
        codes.append(0)
    except SystemExit as end:
        codes.append(end.code or 0)
print()
print(*codes, end="")
"""


def await_(happens: Callable[[], object], what: str, seconds: float = _PATIENCE_SECONDS) -> None:
    """Wait for something.

    Raises:
        ConfigurationError: It did not happen in time.
    """
    deadline = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > deadline:
            raise ConfigurationError(f"waited in vain until {what}")
        time.sleep(0.05)


def _contents(client: Any) -> Iterator[bytes]:
    """Every key with its value, of any type."""
    readers = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
    }
    for key in client.scan_iter("*"):
        yield key
        read = readers.get(client.type(key))
        value = read(key) if read else client.dump(key)
        if isinstance(value, dict):
            yield from (part for pair in value.items() for part in pair)
        elif isinstance(value, bytes):
            yield value
        else:
            yield from value or ()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
