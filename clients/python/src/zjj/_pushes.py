"""Push notices."""

from __future__ import annotations

from zjj._conversation import push
from zjj._jobs import Job
from zjj._run import AsyncRun, Run

__all__ = ["AsyncPushes", "Pushes"]


class Pushes:
    """``client.pushes``."""

    def __init__(self, run: Run, attempts: int) -> None:
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


class AsyncPushes:
    """``client.pushes``."""

    def __init__(self, run: AsyncRun, attempts: int) -> None:
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
