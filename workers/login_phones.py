"""Numbers that logins brought home, for the backends that asked."""

from __future__ import annotations

import asyncio

from sqlalchemy import Engine

from models.clock import Clock, utc_now
from models.database import answering, writing
from models.login_phones import phone_identity, take_phone
from models.sealing import Sealer

__all__ = ["LoginPhones"]


class LoginPhones:
    """Hands numbers to the backends that asked, each of them once."""

    def __init__(self, engine: Engine, sealer: Sealer, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._sealer = sealer
        self._clock = clock

    def take(self, job_id: str, *, backend: str) -> str | None:
        """A login's number; from now on it is nowhere. None if there is none, or not any more.

        Raises:
            DatabaseUnavailable: Nothing was taken.
        """
        with answering(), writing(self._engine) as connection:
            taken = take_phone(connection, job_id, backend, now=self._clock())
        if taken is None:
            return None
        opened = self._sealer.open(
            taken.sealed, identity=phone_identity(job_id), bucket=taken.bucket
        )
        return str(opened["phone"])

    async def take_async(self, job_id: str, *, backend: str) -> str | None:
        """:meth:`take` for an event loop."""
        return await asyncio.to_thread(self.take, job_id, backend=backend)
