"""From a payload to a job that can be stored: identified, sealed, with its times set."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from models.clock import Clock, utc_now
from models.errors import InvalidValue
from models.identifiers import new_id
from models.jobs import NewJob
from models.pii import IdNumber, OpenId, Personal, Phone
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer, bucket_of, seal_identity
from models.states import State
from tasks.payload import Payload
from tasks.registry import task_for
from tasks.task import UnknownKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

__all__ = ["Preparation"]

_IDENTIFYING = (Phone, IdNumber, OpenId)
"""One of these is one person's."""


class Preparation:
    """Turns payloads into :class:`~models.jobs.NewJob` rows.

    Args:
        policy_version: The policy under which jobs are accepted.
        closed: Kinds that are not switched on here.
    """

    def __init__(
        self,
        sealer: Sealer,
        pseudonyms: Pseudonyms,
        *,
        policy_version: str,
        closed: Collection[str] = (),
        clock: Clock = utc_now,
    ) -> None:
        self._sealer = sealer
        self._pseudonyms = pseudonyms
        self._policy_version = policy_version
        self._closed = closed
        self._clock = clock

    def prepare(
        self,
        payload: Payload,
        *,
        backend: str,
        idempotency_key: str | None = None,
        run_at: dt.datetime | None = None,
        connection: Connection | None = None,
    ) -> NewJob:
        """Make a job of a payload.

        Args:
            backend: Who enqueues it.
            idempotency_key: 1 to 255 visible ASCII characters; kept as a keyed digest only.
            run_at: Not before this instant; the lifetime counts from here.
            connection: The caller's transaction, if the job will be stored in it.

        Raises:
            InvalidValue: The idempotency key has another form.
            UnknownKind: The payload belongs to no task, or to one that is not switched on.
        """
        if idempotency_key is not None and not (
            1 <= len(idempotency_key) <= 255
            and all("!" <= character <= "~" for character in idempotency_key)
        ):
            raise InvalidValue("the idempotency key must be 1 to 255 visible ASCII characters")
        task = task_for(payload)
        if task.kind in self._closed:
            raise UnknownKind(f"{task.kind} is not switched on here")
        now = self._clock()
        start = run_at if run_at is not None and run_at > now else now
        subject = task.subject(payload)
        job_id = new_id()
        held: dict[str, Any] = payload.held()
        bucket = bucket_of(start + task.retention)
        return NewJob(
            id=job_id,
            kind=task.kind,
            queue=task.queue,
            backend=backend,
            state=State.SCHEDULED if start > now else State.QUEUED,
            sealed=self._sealer.seal(
                held,
                identity=seal_identity(job_id, task.kind, self._policy_version),
                bucket=bucket,
                connection=connection,
            ),
            bucket=bucket,
            policy_version=self._policy_version,
            subject=None if subject is None else self._pseudonyms.subject(subject),
            consent_ref=held.get("consent_ref"),
            guardian_ref=held.get("guardian_ref"),
            people=self._people(held, backend, subject),
            idempotency=None
            if idempotency_key is None
            else self._pseudonyms.idempotency_key(backend, task.kind, idempotency_key),
            fingerprint=self._pseudonyms.fingerprint(task.kind, held),
            run_at=start,
            expires_at=None if task.lifetime is None else start + task.lifetime,
            created_at=now,
            lane=task.lane(payload),
            announces=task.announces,
            forgets=task.forgets,
        )

    def _people(
        self, held: Mapping[str, Any], backend: str, subject: Personal | None
    ) -> tuple[str, ...]:
        """Whom a job is about beside its subject: a restriction of any of them stops it."""
        people = [
            self._pseudonyms.subject(value)
            for value in held.values()
            if isinstance(value, _IDENTIFYING) and value != subject
        ]
        if user := held.get("user"):
            people.append(self._pseudonyms.user(backend, user))
        return tuple(dict.fromkeys(people))
