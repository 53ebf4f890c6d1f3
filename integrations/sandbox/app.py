"""The sandbox's front: routes each request to its provider and plays mishaps on the way.

A request goes to the provider whose host it names. Vendor SDKs that are pointed at a loopback
address name that address instead, so then the provider is told by the request itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from integrations.sandbox.aliyun_sms import AliyunSmsProvider
from integrations.sandbox.backend import BackendProvider
from integrations.sandbox.cloudauth import CloudauthProvider
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.control import control_routes
from integrations.sandbox.dypns import DypnsProvider
from integrations.sandbox.exchange import Answer, Request
from integrations.sandbox.faults import Fault, Faults
from integrations.sandbox.jiguang import JiguangProvider
from integrations.sandbox.journal import Journal
from integrations.sandbox.jpush import JPushProvider
from integrations.sandbox.tills import Tills

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from integrations.sandbox.callbacks import Courier
    from integrations.sandbox.exchange import Call, Provider

__all__ = ["ABORT", "Sandbox", "create_sandbox"]

ABORT = "zjj.abort"
"""ASGI extension of our server: a function that resets the connection."""

CONTROL = "/_sandbox"

_TRICKLE = 10
_PAGE = {"content-type": "text/html"}


class Sandbox:
    """An ASGI application that stands in for every provider.

    Args:
        config: What the providers know of their customer.
        clock: Returns seconds since 1970; dates and limits follow it.
    """

    def __init__(self, config: SandboxConfig, *, clock: Callable[[], float] = time.time) -> None:
        self.journal = Journal(config.journal_size)
        self.faults = Faults()
        self.latency_ms = config.latency_ms
        self._config = config
        self.aliyun_sms = AliyunSmsProvider(config, clock=clock)
        self.dypns = DypnsProvider(config, clock=clock)
        self.backend = BackendProvider(config, clock=clock)
        self._providers: tuple[Provider, ...] = (
            self.aliyun_sms,
            self.dypns,
            CloudauthProvider(config, clock=clock),
            JiguangProvider(),
            JPushProvider(config, clock=clock),
            self.backend,
        )
        self.tills = Tills(config.callbacks, clock=clock)
        self._providers += (self.tills.wechat_pay, self.tills.alipay)
        self._by_host = {host: provider for provider in self._providers for host in provider.hosts}
        self._control: ASGIApp = control_routes(self, CONTROL)

    def reset(self) -> None:
        """Forget requests, faults and all that the providers remember; settings as configured."""
        self.journal.clear()
        self.faults.clear()
        self.latency_ms = self._config.latency_ms
        for provider in self._providers:
            provider.reset()
        self.tills.reset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event, as ASGI says."""
        if scope["type"] == "lifespan":
            await _live(receive, send, self.tills.courier)
        elif scope["type"] != "http":
            raise RuntimeError("the sandbox speaks HTTP only")
        elif scope["path"].startswith(CONTROL):
            await self._control(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await _read(scope, receive)
        provider = self._provider(request)
        if provider is None:
            await _write(send, Answer(421, "-", b"The sandbox plays no such provider.\n"))
            return
        call = provider.read(request)
        fault = self.faults.take(call.action)
        answer, accepted = _decide(provider, call, fault)
        self.journal.note(
            provider.name,
            call,
            code=answer.code if answer else None,
            accepted=accepted,
            fault=fault.kind if fault else None,
        )
        if self.latency_ms:
            await asyncio.sleep(self.latency_ms / 1000)
        await _deliver(answer, fault, scope, receive, send)

    def _provider(self, request: Request) -> Provider | None:
        host = (request.header("host") or "").partition(":")[0].lower()
        if known := self._by_host.get(host):
            return known
        if host not in {"127.0.0.1", "localhost"}:
            return None
        return next((each for each in self._providers if each.serves(request)), None)


def create_sandbox(
    config: SandboxConfig | None = None, *, clock: Callable[[], float] = time.time
) -> Sandbox:
    """Make the application; without a configuration, the one that just works."""
    return Sandbox(config or SandboxConfig(), clock=clock)


def _decide(provider: Provider, call: Call, fault: Fault | None) -> tuple[Answer | None, bool]:
    """The provider's own answer, and whether it did what was asked."""
    if fault is None:
        answer = provider.answer(call)
    elif fault.kind == "undelivered":
        answer = provider.answer(call, undelivered=fault.code)
    elif fault.kind == "code" and fault.code is not None:
        answer = provider.refusal(call, fault.code, status=fault.status, message=fault.message)
        if fault.retry_after is not None:
            answer.headers["x-acs-retry-after"] = str(fault.retry_after)
        return answer, False
    elif fault.processed:
        answer = provider.answer(call)
    else:
        return None, False
    return answer, answer.accepted


async def _deliver(
    answer: Answer | None, fault: Fault | None, scope: Scope, receive: Receive, send: Send
) -> None:
    answer = answer or Answer(503, "-", b"<html>503 Service Unavailable</html>", _PAGE)
    match fault.kind if fault else None:
        case "hang" if fault:
            if not await _gone(receive, fault.seconds):
                await _write(send, answer)
        case "slow" if fault:
            await _write(send, answer, pause=fault.seconds / _TRICKLE)
        case "reset":
            await _start(send, answer)
            half = answer.body[: len(answer.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            await _abort(scope, receive)
        case "drop":
            await _abort(scope, receive)
        case "status" if fault:
            page = b"<html>The sandbox plays a broken proxy.</html>"
            await _write(send, Answer(fault.status or 503, "-", page, _PAGE))
        case "garbage":
            await _write(send, Answer(200, "-", b'{"Code":"OK","BizId":"\x00\xff', _PAGE))
        case _:
            await _write(send, answer)


async def _read(scope: Scope, receive: Receive) -> Request:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    path = scope["raw_path"].decode("latin-1")
    return Request(
        method=scope["method"],
        # Alipay's SDK names the whole URL, as one would to a proxy; a server takes that as well.
        path=path if path.startswith("/") else urlsplit(path).path,
        query=scope["query_string"].decode("latin-1"),
        headers=tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]),
        body=body,
    )


async def _start(send: Send, answer: Answer) -> None:
    headers = [(k.encode(), v.encode()) for k, v in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


async def _write(send: Send, answer: Answer, *, pause: float = 0) -> None:
    await _start(send, answer)
    if pause:
        step = max(1, len(answer.body) // _TRICKLE)
        for at in range(0, len(answer.body), step):
            piece = answer.body[at : at + step]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(pause)
    await send({"type": "http.response.body", "body": b"" if pause else answer.body})


async def _gone(receive: Receive, seconds: float) -> bool:
    """Wait, and tell whether the caller hung up meanwhile."""

    async def hang_up() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(hang_up(), seconds)
        return True
    return False


async def _abort(scope: Scope, receive: Receive) -> None:
    scope["extensions"][ABORT]()
    await _gone(receive, 1)


async def _live(receive: Receive, send: Send, courier: Courier) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.to_thread(courier.stop)
    await send({"type": "lifespan.shutdown.complete"})
