"""Jobs that there are: found, waited for, replayed and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zjj._conversation import cancel_job, get_job, replay_job, search_jobs, wait_for_job
from zjj._jobs import Job
from zjj._replays import JobPage, Replay, SearchTerms
from zjj._run import AsyncRun, Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

_WAIT = 60.0

__all__ = ["AsyncJobs", "Jobs"]


class Jobs:
    """``client.jobs``."""

    def __init__(self, run: Run, attempts: int) -> None:
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


class AsyncJobs:
    """``client.jobs``."""

    def __init__(self, run: AsyncRun, attempts: int) -> None:
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
