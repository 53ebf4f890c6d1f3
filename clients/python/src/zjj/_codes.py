"""Verification codes: sent, and judged when somebody types one."""

from __future__ import annotations

from zjj._conversation import send_sms_code, verify_sms_code
from zjj._jobs import Job
from zjj._run import AsyncRun, Run
from zjj._verifications import Verification

__all__ = ["AsyncSmsCodes", "SmsCodes"]


class SmsCodes:
    """``client.sms_codes``."""

    def __init__(self, run: Run, attempts: int) -> None:
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


class AsyncSmsCodes:
    """``client.sms_codes``."""

    def __init__(self, run: AsyncRun, attempts: int) -> None:
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
