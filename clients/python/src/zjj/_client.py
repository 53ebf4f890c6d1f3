"""The two clients: the same conversations, carried out with and without an event loop."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx

from zjj._codes import AsyncSmsCodes, SmsCodes
from zjj._conversation import Conversation, Failure, Pause, Reply, Request
from zjj._errors import ConfigurationError
from zjj._identities import AsyncIdentityChecks, AsyncLogins, IdentityChecks, Logins
from zjj._operating import AsyncJobs, Jobs
from zjj._payments import AsyncPayments, AsyncRefunds, Payments, Refunds
from zjj._people import AsyncFaceVerifications, AsyncMasks, FaceVerifications, Masks
from zjj._pushes import AsyncPushes, Pushes

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncClient", "Client"]

T = TypeVar("T")

_TIMEOUT = 10.0
_ATTEMPTS = 5


class Client:
    """Talks to the gateway. One client serves many threads; close it, or use ``with``.

    Args:
        base_url: For example ``https://zjj.internal:8000``; default ``ZJJ_URL``.
        api_key: Default ``ZJJ_API_KEY``.
        timeout: Seconds for connecting, and for each silence while sending or reading.
        attempts: How often one call is tried when the gateway is out of reach, overloaded or
            out of its database. Repetitions carry the same idempotency key.
        verify: False or an ``ssl.SSLContext``, as httpx understands it.

    Raises:
        ConfigurationError: There is no usable URL or API key.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = _TIMEOUT,
        attempts: int = _ATTEMPTS,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        settings = _settings(base_url, api_key, timeout=timeout, verify=verify)
        self._http = httpx.Client(**settings)
        self.sms_codes = SmsCodes(self._run, attempts)
        self.identity_checks = IdentityChecks(self._run, attempts)
        self.logins = Logins(self._run, attempts)
        self.face_verifications = FaceVerifications(self._run, attempts)
        self.masks = Masks(self._run, attempts)
        self.pushes = Pushes(self._run, attempts)
        self.jobs = Jobs(self._run, attempts)
        self.payments = Payments(self._run, attempts)
        self.refunds = Refunds(self._run, attempts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._http.base_url)!r})"

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self, conversation: Conversation[T]) -> T:
        answer: Reply | Failure | None = None
        while True:
            try:
                step = conversation.send(answer)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                answer = None
            else:
                answer = self._exchange(step)

    def _exchange(self, request: Request) -> Reply | Failure:
        try:
            return _reply(self._http.request(**_arguments(request)))
        except httpx.RequestError as error:
            return Failure(type(error).__name__)


class AsyncClient:
    """:class:`Client` for asyncio; close it, or use ``async with``."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = _TIMEOUT,
        attempts: int = _ATTEMPTS,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        settings = _settings(base_url, api_key, timeout=timeout, verify=verify)
        self._http = httpx.AsyncClient(**settings)
        self.sms_codes = AsyncSmsCodes(self._run, attempts)
        self.identity_checks = AsyncIdentityChecks(self._run, attempts)
        self.logins = AsyncLogins(self._run, attempts)
        self.face_verifications = AsyncFaceVerifications(self._run, attempts)
        self.masks = AsyncMasks(self._run, attempts)
        self.pushes = AsyncPushes(self._run, attempts)
        self.jobs = AsyncJobs(self._run, attempts)
        self.payments = AsyncPayments(self._run, attempts)
        self.refunds = AsyncRefunds(self._run, attempts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._http.base_url)!r})"

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _run(self, conversation: Conversation[T]) -> T:
        answer: Reply | Failure | None = None
        while True:
            try:
                step = conversation.send(answer)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                answer = None
            else:
                answer = await self._exchange(step)

    async def _exchange(self, request: Request) -> Reply | Failure:
        try:
            return _reply(await self._http.request(**_arguments(request)))
        except httpx.RequestError as error:
            return Failure(type(error).__name__)


def _settings(
    base_url: str | None, api_key: str | None, *, timeout: float, verify: ssl.SSLContext | bool
) -> dict[str, Any]:
    url = base_url or os.environ.get("ZJJ_URL", "")
    key = api_key or os.environ.get("ZJJ_API_KEY", "")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("base_url (or ZJJ_URL) must be the gateway's http or https URL")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError("base_url must have no user name, query or fragment")
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigurationError("api_key (or ZJJ_API_KEY) must be visible ASCII characters")
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {key}", "User-Agent": "zhongjiujiu-client"},
        "timeout": timeout,
        "verify": verify,
        # Personal data must not take a detour through whatever proxy the environment names.
        "trust_env": False,
    }


def _arguments(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "headers": dict(request.headers),
        "content": request.content,
    }


def _reply(response: httpx.Response) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content)
