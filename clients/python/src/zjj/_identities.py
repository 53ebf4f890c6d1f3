"""Who somebody is: real-name checks, and one-click login."""

from __future__ import annotations

from zjj._conversation import check_identity, check_phone, log_in, take_phone
from zjj._jobs import Job
from zjj._run import AsyncRun, Run

__all__ = ["AsyncIdentityChecks", "AsyncLogins", "IdentityChecks", "Logins"]


class IdentityChecks:
    """``client.identity_checks``."""

    def __init__(self, run: Run, attempts: int) -> None:
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

    def __init__(self, run: Run, attempts: int) -> None:
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


class AsyncIdentityChecks:
    """``client.identity_checks``."""

    def __init__(self, run: AsyncRun, attempts: int) -> None:
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

    def __init__(self, run: AsyncRun, attempts: int) -> None:
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
