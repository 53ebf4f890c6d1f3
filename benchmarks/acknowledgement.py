"""How long a payment provider waits for the acknowledgement of a callback, while workers work.

The embedded default as ``zjj run`` starts it: SQLite, the bundled Redis, the gateway, one worker
process for urgent jobs and one for the rest. Callbacks of all three channels, genuine and about
orders that are expected, come at a steady mean rate, at random moments, over kept connections and
from a process of their own. The sandbox, in this one, answers the queries that follow from those
that are not certain.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import re
import socket
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from rich.table import Table
from sqlalchemy import func, select

from benchmarks.measuring import MeasurementError
from benchmarks.processes import Crew
from benchmarks.report import percentile
from benchmarks.systems import AS_DELIVERED, OursOnSqlite, Parts
from integrations.payments import Channel
from integrations.sandbox.app import create_sandbox
from integrations.sandbox.callbacks import Message
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.merchants import MCHID, SELLER, TillKeys, use_till_keys
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.tables import payment_notifications, payments
from tests.servers import PostgresServer, RedisServer
from workers.embedded.merchants import SandboxMerchants
from workers.merchants import load_merchants
from workers.payments import PaymentRequest, PaymentService

__all__ = ["AIM_MS", "Acknowledgements", "acknowledgement_table", "measure_acknowledgements"]

AIM_MS = 50.0
"""At the 99th percentile."""

_CHANNELS: tuple[Channel, ...] = ("wechat_pay_v3", "wechat_pay_v2", "alipay")
_BACKEND = "bench"
_AMOUNT = 12900
_WARM_UP = 100
_WARM_UP_PER_SECOND = 25.0
_START_SECONDS = 60.0
_SETTLE_SECONDS = 120.0
_ACCEPTED = {b"200", b"204"}


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """What the providers saw."""

    per_second: float
    waits_ms: dict[Channel, list[float]] = field(repr=False)
    """From the moment at which a callback was due until its acknowledgement was read."""
    settled_seconds: float
    """From the last callback until every order was paid."""
    gateway_cpu_ms: float
    """For each callback."""
    workers_cpu_ms: float
    """For each callback with all that follows from it."""


class _House(OursOnSqlite):
    """Processes as ``zjj run`` has them."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts, AS_DELIVERED)
        self.merchants = SandboxMerchants(parts.folder / "merchants")
        self.merchants.lay_out(_BACKEND)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def commands(self) -> list[list[str]]:
        worker = [sys.executable, "-m", "workers.cli", "worker", "--queues"]
        return [[*worker, "urgent"], [*worker, "standard,bulk"]]

    def crews(self) -> tuple[Crew, Crew]:
        """The gateway, and the workers."""
        gateway = [sys.executable, "-m", "workers.cli", "gateway"]
        return (
            Crew([gateway], self.environment(), self.parts.folder / "gateway.log"),
            Crew(self.commands(), self.environment(), self.parts.folder / "workers.log"),
        )

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "ZJJ_MERCHANTS": str(self.merchants.file),
            "ZJJ_GATEWAY_PORT": str(self.port),
        }

    def paid(self) -> int:
        """Orders that were paid, by our books."""
        with self.entrance.engine.connect() as connection:
            return connection.scalar(select(func.count()).where(payments.c.state == "paid")) or 0

    def settle(self, count: int) -> None:
        """Wait until so many orders are paid, but not for ever."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while self.paid() < count and time.monotonic() < deadline:
            time.sleep(0.2)

    def kept(self) -> int:
        """Callbacks that were kept."""
        with self.entrance.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(payment_notifications)) or 0


def measure_acknowledgements(
    redis: RedisServer, postgres: PostgresServer, *, per_second: float, seconds: float
) -> Acknowledgements:
    """Measure.

    Raises:
        MeasurementError: A callback was not acknowledged, or an order was not paid in the end.
    """
    redis.flush()
    count = int(per_second * seconds) + _WARM_UP
    with tempfile.TemporaryDirectory(prefix="zjj-bench-") as name:
        folder = Path(name)
        with SandboxServer(create_sandbox(SandboxConfig(limits=False))) as server:
            house = _House(Parts(redis, postgres, server.url, folder))
            use_till_keys(TillKeys.load(house.merchants.keys.read_text(encoding="ascii")))
            house.open()
            try:
                messages = _expected(house, server, count)
                first, second = house.crews()
                with first as gateway, second as workers, _apart() as caller:
                    _begun(house.port, gateway)
                    letters = [_Letter.of(message, house) for message in messages]
                    early, late = letters[:_WARM_UP], letters[_WARM_UP:]
                    caller.submit(_send_all, house.port, early, _WARM_UP_PER_SECOND).result()
                    house.settle(_WARM_UP)
                    before = gateway.cpu_seconds(), workers.cpu_seconds()
                    waits = caller.submit(_send_all, house.port, late, per_second).result()
                    ended = time.monotonic()
                    house.settle(count)
                    settled = time.monotonic() - ended
                    after = gateway.cpu_seconds(), workers.cpu_seconds()
                if (house.kept(), house.paid()) != (count, count):
                    raise MeasurementError(
                        f"{count} callbacks: {house.kept()} kept, {house.paid()} orders paid"
                    )
            finally:
                house.close()
    spent = [(a - b) * 1000 / (count - _WARM_UP) for a, b in zip(after, before, strict=True)]
    return Acknowledgements(per_second, waits, settled, *spent)


def _expected(house: _House, server: SandboxServer, count: int) -> list[Message]:
    """Orders that are expected and were paid, and what the providers have to say."""
    tills = server.sandbox.tills
    service = PaymentService.behind(
        house.entrance, load_merchants(house.merchants.file), pause=3600.0
    )
    messages = []
    for number, channel in zip(range(count), cycle(_CHANNELS), strict=False):
        order_no = f"bench-{number:08d}"
        service.expect(
            PaymentRequest(
                channel=channel,
                merchant=SELLER if channel == "alipay" else MCHID,
                order_no=order_no,
                amount=_AMOUNT,
                expires_at=utc_now() + dt.timedelta(days=1),
            ),
            backend=_BACKEND,
        )
        messages.append(tills.messages.paid(channel, tills.book(channel).pay(order_no, _AMOUNT)))
    return messages


@dataclass(frozen=True, slots=True)
class _Letter:
    """A callback, written out before anything is timed."""

    channel: Channel
    request: bytes = field(repr=False)

    @classmethod
    def of(cls, message: Message, house: _House) -> _Letter:
        headers, body = message.sign(False)
        path = urlsplit(house.merchants.callback_urls(house.port)[message.channel]).path
        head = {"host": "127.0.0.1", **headers, "content-length": str(len(body))}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {text}" for name, text in head.items())]
        return cls(message.channel, "\r\n".join([*lines, "", ""]).encode() + body)


class _Provider:
    """Sends letters over kept connections, with as little work of its own as can be."""

    def __init__(self, port: int) -> None:
        self._port = port
        # The one that rested longest goes first, so that the server gives none of them up.
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def send(self, letter: _Letter) -> None:
        """Send, and read the acknowledgement.

        Raises:
            MeasurementError: It is none.
        """
        reader, writer = self._idle.popleft() if self._idle else await self._connect()
        writer.write(letter.request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        if head[9:12] not in _ACCEPTED:
            raise MeasurementError(f"a callback was answered with {head[9:12].decode()}")
        self._idle.append((reader, writer))

    def close(self) -> None:
        """Hang up."""
        for _, writer in self._idle:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


def _apart() -> Executor:
    """A process of its own, so that no wait of the sandbox's is taken for the gateway's."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _send_all(port: int, letters: list[_Letter], per_second: float) -> dict[Channel, list[float]]:
    return asyncio.run(_deliver(port, letters, per_second))


async def _deliver(
    port: int, letters: list[_Letter], per_second: float
) -> dict[Channel, list[float]]:
    waits: dict[Channel, list[float]] = {channel: [] for channel in _CHANNELS}
    provider = _Provider(port)

    async def one(letter: _Letter, due: float) -> None:
        await provider.send(letter)
        waits[letter.channel].append((time.monotonic() - due) * 1000)

    async with asyncio.TaskGroup() as all_:
        due = time.monotonic()
        for letter in letters:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            all_.create_task(one(letter, due))
            due += random.expovariate(per_second)
    provider.close()
    return waits


def _begun(port: int, gateway: Crew) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    raise MeasurementError(f"the gateway does not begin\n{gateway.log_tail()}")


def acknowledgement_table(measured: Acknowledgements) -> Table:
    """For a terminal."""
    total = [wait for waits in measured.waits_ms.values() for wait in waits]
    table = Table(
        title=f"Acknowledgement of {len(total)} callbacks at {measured.per_second:g}/s; all orders "
        f"paid {measured.settled_seconds:.1f} s after the last"
    )
    for heading in ("", "p50", "p90", "p99", "longest"):
        table.add_column(heading, justify="right")
    for name, waits in (*measured.waits_ms.items(), ("all", total)):
        parts = (percentile(waits, 0.5), percentile(waits, 0.9), percentile(waits, 0.99))
        table.add_row(name, *(f"{part:.1f} ms" for part in (*parts, max(waits))))
    table.add_row("aim", "", "", f"{AIM_MS:.0f} ms", "")
    table.caption = (
        f"CPU for each: gateway {measured.gateway_cpu_ms:.1f} ms, "
        f"workers {measured.workers_cpu_ms:.1f} ms"
    )
    return table
