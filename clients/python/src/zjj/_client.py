"""The two clients: the same conversations, carried out with and without an event loop."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

from zjj._conversation import (
    Conversation,
    Failure,
    Pause,
    Reply,
    Request,
    cancel_job,
    check_identity,
    check_phone,
    get_job,
    log_in,
    push,
    replay_job,
    search_jobs,
    send_sms_code,
    take_phone,
    verify_sms_code,
    wait_for_job,
)
from zjj._errors import ConfigurationError
from zjj._jobs import Job
from zjj._payments import AsyncPayments, AsyncRefunds, Payments, Refunds
from zjj._people import AsyncFaceVerifications, AsyncMasks, FaceVerifications, Masks
from zjj._replays import JobPage, Replay, SearchTerms
from zjj._verifications import Verification

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["AsyncClient", "Client"]

T = TypeVar("T")

_TIMEOUT = 10.0
_ATTEMPTS = 5
_WAIT = 60.0


class _Run(Protocol):
    def __call__(self, conversation: Conversation[T]) -> T: ...


class _AsyncRun(Protocol):
    async def __call__(self, conversation: Conversation[T]) -> T: ...


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


class SmsCodes:
    """``client.sms_codes``."""

    def __init__(self, run: _Run, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    def send(
        self,
        *,
        phone: str,
        scene: str,
        code: str | None = None,
        length: int | None = None,
        user: str | None = None,
        client: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Have one verification code sent.

        Args:
            phone: Mainland mobile number.
            scene: ``register``, ``login``, ``reset_password``, ``bind_phone``, ``change_phone``.
            code: 4 to 6 digits that you check yourself. Leave it out to have one made, which
                :meth:`verify` checks.
            length: Digits of the code that is made; 6 unless you say otherwise.
            user: Your own opaque id for the person; never leaves the company.
            client: Names whoever asked you (a device, a session), so that each has a limit of
                its own; kept as a digest.
            idempotency_key: Names this request; a random one is made when none is given. Keep
                it with your own record if your process may die between two tries.

        Returns:
            The job as it was accepted; ``jobs.wait`` tells how it ends.

        Raises:
            InvalidRequestError: A field is wrong.
            ConflictError: The key was used for something else.
            AuthenticationError: The API key is not accepted.
            WaitError: A limit is reached; ``error.retry_after`` says for how long.
            RetryError: Not accepted now; ``error.idempotency_key`` is the key to use again.
        """
        return self._run(
            send_sms_code(
                phone=phone,
                code=code,
                scene=scene,
                length=length,
                user=user,
                client=client,
                idempotency_key=idempotency_key,
                attempts=self._attempts,
            )
        )

    def verify(
        self, *, phone: str, scene: str, code: str, idempotency_key: str | None = None
    ) -> Verification:
        """Have a typed code judged; it passes once, and wrong ones use up its guesses.

        Args:
            phone: As in :meth:`send`.
            scene: As in :meth:`send`.
            code: What the person typed.
            idempotency_key: As in :meth:`send`: repeated under it, a right code passes again.

        Raises:
            InvalidRequestError: It cannot be such a phone, scene or code; no guess is used up.
            AuthenticationError: The API key is not accepted.
            RetryError: Nobody can tell now.
        """
        return self._run(
            verify_sms_code(
                phone=phone,
                code=code,
                scene=scene,
                idempotency_key=idempotency_key,
                attempts=self._attempts,
            )
        )


class IdentityChecks:
    """``client.identity_checks``."""

    def __init__(self, run: _Run, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    def start(  # noqa: PLR0913 - each is a field of the request
        self,
        *,
        name: str,
        id_number: str,
        purpose: str,
        consent_ref: str,
        product_ref: str | None = None,
        order_no: str | None = None,
        expected_order_no: str | None = None,
        phone: str | None = None,
        phone_verified: bool | None = None,
        guardian_ref: str | None = None,
        user: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Have a real name checked; the verdict stands in ``job.result`` once it is settled.

        Args:
            name: As on the identity card.
            id_number: 18 characters.
            purpose: ``restricted_goods`` (needs ``product_ref``), ``certification`` or ``query``
                (need ``order_no`` and ``expected_order_no``).
            consent_ref: The separate consent that you have recorded.
            product_ref: Which product demands a real name; never leaves the company.
            order_no: As the person gave it; never leaves the company.
            expected_order_no: As you have it on file; the two are compared.
            phone: Where it must be this person's as well.
            phone_verified: True if that is known already; the phone is then not checked.
            guardian_ref: A guardian's consent, for a person under 14.
            user: Your own opaque id for the person; never leaves the company.
            idempotency_key: As for :meth:`SmsCodes.send`.

        Raises:
            InvalidRequestError: A field is wrong; nothing was stored.
            ConflictError: The key was used for something else.
            AuthenticationError: The API key is not accepted.
            RetryError: Not accepted now; ``error.idempotency_key`` is the key to use again.
        """
        return self._run(
            check_identity(
                {
                    "name": name,
                    "id_number": id_number,
                    "purpose": purpose,
                    "consent_ref": consent_ref,
                    "product_ref": product_ref,
                    "order_no": order_no,
                    "expected_order_no": expected_order_no,
                    "phone": phone,
                    "phone_verified": phone_verified,
                    "guardian_ref": guardian_ref,
                    "user": user,
                },
                idempotency_key=idempotency_key,
                attempts=self._attempts,
            )
        )


class Logins:
    """``client.logins``."""

    def __init__(self, run: _Run, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    def start(
        self,
        *,
        login_token: str,
        road: str,
        consent_ref: str | None = None,
        user: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Have a one-click login token exchanged for a phone number.

        The token is sent at most once. When the job does not succeed, ask the app for a new one.

        Args:
            login_token: As the SDK gave it.
            road: Whose SDK: ``aliyun``, ``jiguang`` or ``china_mobile``.
            consent_ref: The consent that you have recorded, if you have.
            user: Your own opaque id for the person; never leaves the company.
            idempotency_key: As for :meth:`SmsCodes.send`.
        """
        body = {
            "login_token": login_token,
            "road": road,
            "consent_ref": consent_ref,
            "user": user,
        }
        return self._run(log_in(body, idempotency_key=idempotency_key, attempts=self._attempts))

    def take_phone(self, id: str) -> str:  # noqa: A002 - the word the API uses
        """The number of a login that has succeeded, within two minutes, and once.

        Raises:
            NotFoundError: Not yours, taken before, or too late.
            WaitError: Not yet.
        """
        return self._run(take_phone(id))

    def check(
        self,
        *,
        login_token: str,
        phone: str,
        user: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Have checked whether a number is the phone's own; the verdict is in ``job.result``."""
        body = {"login_token": login_token, "phone": phone, "user": user}
        return self._run(
            check_phone(body, idempotency_key=idempotency_key, attempts=self._attempts)
        )


class Pushes:
    """``client.pushes``."""

    def __init__(self, run: _Run, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    def send(
        self,
        *,
        push_token: str,
        notice: str,
        consent_ref: str | None = None,
        user: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Have a notice pushed to one device, once however often it has to be tried.

        A job that fails with ``provider.token_stale`` names a token that is of no use any more.

        Args:
            push_token: The device's registration id, as the push SDK gave it.
            notice: ``order_update``, ``refund_update``, ``certification_update`` or
                ``service_reply``: names the reviewed wording, into which nothing is filled.
            consent_ref: The consent that you have recorded, if you have.
            user: Your own opaque id for the person; never leaves the company.
            idempotency_key: As for :meth:`SmsCodes.send`.
        """
        body = {
            "push_token": push_token,
            "notice": notice,
            "consent_ref": consent_ref,
            "user": user,
        }
        return self._run(push(body, idempotency_key=idempotency_key, attempts=self._attempts))


class Jobs:
    """``client.jobs``."""

    def __init__(self, run: _Run, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    def get(self, id: str) -> Job:  # noqa: A002 - the word the API uses
        """One job with its attempts and its minimization receipt.

        Raises:
            NotFoundError: No such job, or another backend's.
            AuthenticationError: The API key is not accepted.
            RetryError: Nobody can tell now.
        """
        return self._run(get_job(id, attempts=self._attempts))

    def wait(self, id: str, *, timeout: float = _WAIT) -> Job:  # noqa: A002
        """The job once it is settled, for better or worse; see ``job.succeeded``.

        Args:
            id: The job's id.
            timeout: Seconds, checked between requests.

        Raises:
            NotSettledError: The time is over; ``error.job`` is how it stands.
        """
        return self._run(wait_for_job(id, timeout=timeout, attempts=self._attempts))

    def search(self, **terms: Unpack[SearchTerms]) -> JobPage:
        """A page of your own jobs, newest first.

        Raises:
            InvalidRequestError: A term is wrong.
            AuthenticationError: The API key is not accepted, or lacks the scope ``read``.
        """
        return self._run(search_jobs(terms, attempts=self._attempts))

    def replay(
        self,
        id: str,  # noqa: A002
        *,
        reason: str,
        even_if_sent: bool = False,
        idempotency_key: str | None = None,
    ) -> Replay:
        """Send a settled job on its way again, under today's policy.

        Args:
            id: The job's id.
            reason: Why, for the audit; one line without anything personal.
            even_if_sent: Also if its outcome is unknown, although somebody may be reached twice.
            idempotency_key: The same key replays nothing twice.

        Returns:
            ``replayed`` is 1, or ``refused`` names the reason.

        Raises:
            NotFoundError: No such job, or another backend's.
            AuthenticationError: The API key is not accepted, or lacks the scope ``replay``.
        """
        return self._run(
            replay_job(
                id,
                reason=reason,
                even_if_sent=even_if_sent,
                idempotency_key=idempotency_key,
                attempts=self._attempts,
            )
        )

    def cancel(self, id: str, *, reason: str) -> Job:  # noqa: A002
        """Cancel a job that waits, and have its payload erased.

        Raises:
            ConflictError: It runs or is settled.
            NotFoundError: No such job, or another backend's.
            AuthenticationError: The API key is not accepted, or lacks the scope ``cancel``.
        """
        return self._run(cancel_job(id, reason=reason, attempts=self._attempts))


class AsyncSmsCodes:
    """``client.sms_codes``."""

    def __init__(self, run: _AsyncRun, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    async def send(
        self,
        *,
        phone: str,
        scene: str,
        code: str | None = None,
        length: int | None = None,
        user: str | None = None,
        client: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """As :meth:`SmsCodes.send`."""
        return await self._run(
            send_sms_code(
                phone=phone,
                code=code,
                scene=scene,
                length=length,
                user=user,
                client=client,
                idempotency_key=idempotency_key,
                attempts=self._attempts,
            )
        )

    async def verify(
        self, *, phone: str, scene: str, code: str, idempotency_key: str | None = None
    ) -> Verification:
        """As :meth:`SmsCodes.verify`."""
        return await self._run(
            verify_sms_code(
                phone=phone,
                code=code,
                scene=scene,
                idempotency_key=idempotency_key,
                attempts=self._attempts,
            )
        )


class AsyncIdentityChecks:
    """``client.identity_checks``."""

    def __init__(self, run: _AsyncRun, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    async def start(  # noqa: PLR0913 - as above
        self,
        *,
        name: str,
        id_number: str,
        purpose: str,
        consent_ref: str,
        product_ref: str | None = None,
        order_no: str | None = None,
        expected_order_no: str | None = None,
        phone: str | None = None,
        phone_verified: bool | None = None,
        guardian_ref: str | None = None,
        user: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """As :meth:`IdentityChecks.start`."""
        return await self._run(
            check_identity(
                {
                    "name": name,
                    "id_number": id_number,
                    "purpose": purpose,
                    "consent_ref": consent_ref,
                    "product_ref": product_ref,
                    "order_no": order_no,
                    "expected_order_no": expected_order_no,
                    "phone": phone,
                    "phone_verified": phone_verified,
                    "guardian_ref": guardian_ref,
                    "user": user,
                },
                idempotency_key=idempotency_key,
                attempts=self._attempts,
            )
        )


class AsyncLogins:
    """``client.logins``."""

    def __init__(self, run: _AsyncRun, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    async def start(
        self,
        *,
        login_token: str,
        road: str,
        consent_ref: str | None = None,
        user: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """As :meth:`Logins.start`."""
        body = {
            "login_token": login_token,
            "road": road,
            "consent_ref": consent_ref,
            "user": user,
        }
        return await self._run(
            log_in(body, idempotency_key=idempotency_key, attempts=self._attempts)
        )

    async def take_phone(self, id: str) -> str:  # noqa: A002 - the word the API uses
        """As :meth:`Logins.take_phone`."""
        return await self._run(take_phone(id))

    async def check(
        self,
        *,
        login_token: str,
        phone: str,
        user: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """As :meth:`Logins.check`."""
        body = {"login_token": login_token, "phone": phone, "user": user}
        return await self._run(
            check_phone(body, idempotency_key=idempotency_key, attempts=self._attempts)
        )


class AsyncPushes:
    """``client.pushes``."""

    def __init__(self, run: _AsyncRun, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    async def send(
        self,
        *,
        push_token: str,
        notice: str,
        consent_ref: str | None = None,
        user: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """As :meth:`Pushes.send`."""
        body = {
            "push_token": push_token,
            "notice": notice,
            "consent_ref": consent_ref,
            "user": user,
        }
        return await self._run(push(body, idempotency_key=idempotency_key, attempts=self._attempts))


class AsyncJobs:
    """``client.jobs``."""

    def __init__(self, run: _AsyncRun, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    async def get(self, id: str) -> Job:  # noqa: A002
        """As :meth:`Jobs.get`."""
        return await self._run(get_job(id, attempts=self._attempts))

    async def wait(self, id: str, *, timeout: float = _WAIT) -> Job:  # noqa: A002
        """As :meth:`Jobs.wait`."""
        return await self._run(wait_for_job(id, timeout=timeout, attempts=self._attempts))

    async def search(self, **terms: Unpack[SearchTerms]) -> JobPage:
        """As :meth:`Jobs.search`."""
        return await self._run(search_jobs(terms, attempts=self._attempts))

    async def replay(
        self,
        id: str,  # noqa: A002
        *,
        reason: str,
        even_if_sent: bool = False,
        idempotency_key: str | None = None,
    ) -> Replay:
        """As :meth:`Jobs.replay`."""
        return await self._run(
            replay_job(
                id,
                reason=reason,
                even_if_sent=even_if_sent,
                idempotency_key=idempotency_key,
                attempts=self._attempts,
            )
        )

    async def cancel(self, id: str, *, reason: str) -> Job:  # noqa: A002
        """As :meth:`Jobs.cancel`."""
        return await self._run(cancel_job(id, reason=reason, attempts=self._attempts))


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
