"""``zjj run``: the whole product on one machine, with nothing installed."""

from __future__ import annotations

import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from sqlalchemy import Engine

from integrations.sandbox.callbacks import CallbackPlan
from models.api_keys import create_api_key
from models.claims import sign_off
from models.clock import utc_now
from models.database import migrate, open_database, writing
from models.errors import ConfigurationError
from models.jobs import JobView
from models.pii import Phone, VerificationCode
from models.states import State
from models.upkeep import list_workers
from tasks import SmsCode
from workers.cli.exits import DONE, ENDED_BADLY
from workers.cli.jobs import wait_for
from workers.cli.language import say_in as t
from workers.cli.show import print_job
from workers.embedded.merchants import SandboxMerchants
from workers.embedded.redis_server import RedisServer
from workers.embedded.supervisor import Child, FolderLock, Supervisor, open_log
from workers.entrance import open_entrance
from workers.settings import Settings, load_settings

__all__ = ["run"]

T = TypeVar("T")

_DEMO_SECONDS = 30.0
_READY_SECONDS = 30.0
_STOP_MARGIN_SECONDS = 5.0
_TRAVEL_SECONDS = "3"
"""What a text takes to arrive in the sandbox, about."""
_WORKERS = {"urgent": "urgent", "standard": "standard,bulk"}
"""Worker processes and the queues they serve: nobody who waits for a code waits for bulk."""
_BACKEND = "demo"
"""Whose key and merchants these are."""


def run(
    phone: Annotated[
        str | None,
        typer.Option(
            envvar="PHONE",
            help=t(
                "Where the first code goes; another 164… each time, which reaches nobody.",
                "首条验证码的号码；默认每次换一个无人使用的 164 号段号码。",
            ),
        ),
    ] = None,
    demo: Annotated[
        bool, typer.Option(help=t("Send one code, then exit.", "发送一条验证码后退出。"))
    ] = False,
) -> None:
    """Run everything on one machine: database, Redis, sandbox, gateway, workers.

    Sends one SMS code through the whole path, shows what happened, and serves until Ctrl-C.
    """
    settings = load_settings()
    if settings.env == "production":
        raise ConfigurationError(
            "`zjj run` is the embedded default; in production run `zjj gateway` and `zjj worker`"
        )
    recipient = Phone(phone or f"164{secrets.randbelow(10**8):08}")
    console = Console(highlight=False)
    with ExitStack() as stack:
        house = _House(settings, console)
        stack.callback(house.close)
        stopping = _stop_on_signals()
        house.open()
        job = house.send_one(recipient)
        code = _report(console, job)
        if not demo:
            house.introduce()
            house.serve(stopping)
        console.print(t("Stopping …", "正在停止……"))
    raise typer.Exit(code if demo else DONE)


class _House:
    """The parts, in the order in which they are opened; closed the other way round."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._logs = settings.data / "logs"
        self._supervisor = Supervisor(lambda en, zh: console.print(f"[yellow]{t(en, zh)}[/]"))
        self._redis: RedisServer | None = None
        self._lock: FolderLock | None = None
        self._engine: Engine | None = None
        self._environment: dict[str, str] = {}

    def open(self) -> None:
        """Start everything and wait until the gateway accepts connections."""
        settings = self._settings
        self._lock = FolderLock(settings.data)
        _check_port(settings.gateway_host, settings.gateway_port)
        if settings.redis_url is None:
            log = open_log(self._logs, "redis")
            self._redis = RedisServer(settings.redis_socket, settings.data / "redis", log)
            self._redis.start()
        self._engine = open_database(settings.database)
        migrate(self._engine)
        self._environment = {
            "ZJJ_DATA": str(settings.data.absolute()),
            "ZJJ_DATABASE_URL": settings.database,
            "ZJJ_REDIS_URL": settings.redis,
        }
        # Made before the children start, so that all of them find the same secrets.
        _ = settings.keys, settings.pseudonym
        if settings.uses_sandbox and settings.sandbox_url is None:
            self._environment["ZJJ_SANDBOX_URL"] = self._start_sandbox()
        for name, queues in _WORKERS.items():
            self._start(f"worker-{name}", ["workers.cli", "worker", "--queues", queues])
        self._start("gateway", ["workers.cli", "gateway"])
        self._wait_until_ready()

    def send_one(self, phone: Phone) -> JobView:
        """Send one code and wait for its end."""
        entrance = open_entrance(self._settings)
        try:
            code = VerificationCode(f"{secrets.randbelow(1_000_000):06d}")
            job = entrance.service.enqueue(
                SmsCode(phone=phone, code=code, scene="register"), backend=_BACKEND
            )
            view = wait_for(entrance, job.id, _DEMO_SECONDS)
        finally:
            entrance.close()
        assert view is not None  # noqa: S101 - it was stored a moment ago
        return view

    def introduce(self) -> None:
        """Say where things are and what to try next."""
        settings = self._settings
        key = self._demo_key()
        url = f"http://{settings.gateway_host}:{settings.gateway_port}"
        self._console.print(
            t(
                f"\nServing on [bold]{url}[/] (OpenAPI: {url}/openapi.json), data in "
                f"{settings.data}/. Ctrl-C stops everything.\nTry:\n",
                f"\n服务地址 [bold]{url}[/]（OpenAPI：{url}/openapi.json），数据目录 "
                f"{settings.data}/。按 Ctrl-C 停止。\n试一试：\n",
            )
            + f"  curl {url}/v1/sms-codes -H 'Authorization: Bearer '\"$(cat {key})\" \\\n"
            "       -H 'Content-Type: application/json' -H 'Idempotency-Key: try-1' \\\n"
            '       -d \'{"phone": "16400005678", "code": "246810", "scene": "login"}\'\n',
            soft_wrap=True,
        )

    def serve(self, stopping: threading.Event) -> None:
        """Keep everything running until told to stop."""
        while not stopping.wait(0.25):
            self._supervisor.check()
            if self._redis is not None and not self._redis.is_running:
                self._console.print(t("Redis ended; restarting it.", "Redis 已退出，正在重启。"))
                self._redis.start()

    def close(self) -> None:
        """Stop every process; safe at any stage."""
        self._supervisor.stop(grace=self._settings.grace_seconds + _STOP_MARGIN_SECONDS)
        if self._redis is not None:
            self._redis.stop()

    def _start(self, name: str, arguments: list[str]) -> None:
        self._supervisor.add(
            Child(
                name=name,
                arguments=arguments,
                log=open_log(self._logs, name),
                environment=self._environment,
                on_end=self._sign_off,
            )
        )

    def _sign_off(self, pid: int) -> None:
        """A worker that fell over need not be waited for: its claims are orphans at once."""
        assert self._engine is not None  # noqa: S101 - children start after the database
        host = socket.gethostname()
        with writing(self._engine) as connection:
            for worker in list_workers(connection):
                if (worker.host, worker.pid) == (host, pid):
                    sign_off(connection, worker.id, now=utc_now())

    def _start_sandbox(self) -> str:
        port_file = (self._settings.data / "sandbox.port").absolute()
        port_file.unlink(missing_ok=True)
        wishes = [*self._receipts(), *self._faces(), *self._merchants()]
        self._start("sandbox", ["workers.cli", "sandbox", "--port-file", str(port_file), *wishes])
        sandbox = self._supervisor.children[-1]
        port = _awaited(lambda: port_file.read_text() if port_file.exists() else None, sandbox)
        if port is None:
            raise ConfigurationError(f"The sandbox does not start; its log is in {self._logs}")
        # A restarted sandbox must come back where the workers look for it.
        sandbox.arguments = ["workers.cli", "sandbox", "--port", port, *wishes]
        return f"http://127.0.0.1:{port}"

    def _receipts(self) -> list[str]:
        """Have the sandbox report deliveries to the gateway, as Aliyun would."""
        settings = self._settings
        given = settings.aliyun_sms_receipt_secret
        secret = given.get_secret_value() if given else secrets.token_hex(16)
        self._environment["ZJJ_ALIYUN_SMS_RECEIPT_SECRET"] = secret
        url = f"http://127.0.0.1:{settings.gateway_port}/v1/callbacks/aliyun-sms/{secret}"
        return ["--delivery-seconds", _TRAVEL_SECONDS, "--receipt-url", url]

    def _faces(self) -> list[str]:
        """Have the sandbox call the gateway back about faces, where they are verified at all."""
        if not self._settings.face_verification:
            return []
        return ["--face-callback-url", f"http://127.0.0.1:{self._settings.gateway_port}/"]

    def _merchants(self) -> list[str]:
        """Be paid at the sandbox, unless there are merchants already."""
        settings = self._settings
        if settings.merchants is not None:
            return []
        merchants = SandboxMerchants(settings.data.absolute() / "merchants")
        merchants.lay_out(_BACKEND)
        self._environment["ZJJ_MERCHANTS"] = str(merchants.file)
        plan = CallbackPlan(urls=merchants.callback_urls(settings.gateway_port))
        return ["--till-keys", str(merchants.keys), "--callbacks", plan.model_dump_json()]

    def _wait_until_ready(self) -> None:
        address = (self._settings.gateway_host, self._settings.gateway_port)

        def accepts() -> bool:
            with socket.socket() as probe:
                probe.settimeout(1)
                return probe.connect_ex(address) == 0

        for child in self._supervisor.children:
            ready = accepts if child.name == "gateway" else partial(self._works, child)
            if child.name != "sandbox" and _awaited(ready, child) is None:
                raise ConfigurationError(
                    f"The {child.name} does not start; its log is in {self._logs}"
                )

    def _works(self, child: Child) -> bool:
        """Whether a worker has said that it lives; a job that came earlier would only wait."""
        assert self._engine is not None  # noqa: S101 - children start after the database
        assert child.process is not None  # noqa: S101 - it was started
        with self._engine.connect() as connection:
            return any(worker.pid == child.process.pid for worker in list_workers(connection))

    def _demo_key(self) -> Path:
        path = self._settings.data / "demo.key"
        if not path.exists() and self._engine is not None:
            with writing(self._engine) as connection:
                key = create_api_key(connection, _BACKEND)
            path.touch(mode=0o600)
            path.write_text(key)
        return path


def _report(console: Console, job: JobView) -> int:
    console.print()
    print_job(console, job)
    if job.state is State.SUCCEEDED:
        return DONE
    console.print(
        t(
            f"[red]The job ended as {job.state}; it should have succeeded.[/]",
            f"[red]任务以 {job.state} 结束，未成功。[/]",
        )
    )
    return ENDED_BADLY


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise ConfigurationError(
                f"Port {port} on {host} is taken. Stop what listens there, or choose another: "
                f"ZJJ_GATEWAY_PORT={port + 1} make run"
            ) from None


def _awaited(look: Callable[[], T | None], child: Child) -> T | None:
    """What ``look`` finds, or None when the child that should bring it about has ended."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and child.is_running:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    return None


def _stop_on_signals() -> threading.Event:
    stopping = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        if stopping.is_set():
            sys.exit(128 + number)
        stopping.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    return stopping
