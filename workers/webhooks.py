"""Announcing: from something that has happened to the webhooks that tell of it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from models.database import answering
from models.jobs import NewJob
from models.webhooks import list_endpoints
from tasks.announcements import Announcement
from tasks.preparation import Preparation
from tasks.webhook import Webhook

__all__ = ["Announcer"]


class Announcer:
    """Prepares webhooks for those endpoints of a backend that want to hear of an event."""

    def __init__(self, engine: Engine, preparation: Preparation) -> None:
        self._engine = engine
        self._preparation = preparation

    def prepare_all(
        self, backend: str, announcements: Sequence[Announcement]
    ) -> tuple[NewJob, ...]:
        """:meth:`prepare` for several, in their order.

        Raises:
            DatabaseUnavailable: The endpoints cannot be read.
        """
        with answering():
            return tuple(job for each in announcements for job in self.prepare(backend, each))

    def prepare(
        self, backend: str, announcement: Announcement, connection: Connection | None = None
    ) -> list[NewJob]:
        """Make a job for each endpoint that is to be told; none if no endpoint wants to know.

        The caller stores them with :func:`models.jobs.insert_jobs` in the transaction that makes
        the announcement true, so that both stand or fall together, and rings for them after its
        commit (else the re-dispatcher does, seconds later). In one transaction, announcements of
        one ordering key are delivered in the order in which they are stored.

        Args:
            backend: Whom it concerns.
            announcement: What has happened.
            connection: The caller's transaction; else one of its own is read from.
        """
        if connection is None:
            with self._engine.connect() as own:
                endpoints = list_endpoints(own, backend=backend)
        else:
            endpoints = list_endpoints(connection, backend=backend)
        return [
            self._preparation.prepare(
                Webhook(endpoint=endpoint.id, **announcement.model_dump()),
                backend=backend,
                connection=connection,
            )
            for endpoint in endpoints
            if endpoint.disabled_at is None and endpoint.wants(announcement.event)
        ]
