"""Consents and restrictions: the one meaning behind Python, HTTP and the command line."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import Connection, Engine

from integrations.policy import Policy
from models.audits import Audit, write_audits
from models.clock import Clock, utc_now
from models.consents import (
    SUBJECT_RESTRICTED,
    Consent,
    ConsentKind,
    Restriction,
    RestrictionReason,
    find_consent,
    lift_restriction,
    record_consent,
    restrict,
    withdraw_consent,
)
from models.database import answering, writing
from models.errors import NotFound
from models.identifiers import new_id
from models.identities import forget_verdicts
from models.job_search import JobFilter
from models.pii import Phone
from models.pseudonyms import Pseudonyms
from models.replays import cancel_jobs
from tasks.payload import ConsentRef, Payload, UserId
from tasks.registry import TASKS

__all__ = ["Agreement", "Consents", "Objection", "Stopped", "duties"]


class _OfAPerson(Payload):
    phone: Phone | None = None
    user: UserId | None = Field(
        default=None, description="The backend's opaque id for the person; never leaves."
    )

    @model_validator(mode="after")
    def _says_whose(self) -> Self:
        if self.phone is None and self.user is None:
            raise PydanticCustomError("invalid_value", "{reason}", {"reason": _NOBODY})
        return self


_NOBODY = "needs phone, user or both"
_BY_EITHER: list[Any] = [
    {"required": [name], "properties": {name: {"type": "string"}}} for name in ("phone", "user")
]


class Agreement(_OfAPerson):
    """A consent that a person, or a child's guardian, has given to a backend.

    With ``phone`` and ``user`` it covers jobs that name both. Of either only a keyed digest is
    stored.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": _BY_EITHER})

    ref: ConsentRef = Field(description="The backend's own name for it; jobs name it so.")
    kind: Literal["consent", "separate", "guardian"]
    purpose: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = Field(
        description="The policy's key, such as verify_identity."
    )
    granted_at: AwareDatetime
    policy_version: (
        Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}(\.[1-9]\d{0,3})?$")] | None
    ) = Field(
        default=None, description="The published text that was shown; the one in force if absent."
    )


class Objection(_OfAPerson):
    """A person about whom nothing more may leave."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _BY_EITHER})

    reason: Literal["objection", "disputed", "erasure", "retention"]

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if self.phone is not None and self.user is not None:
            raise PydanticCustomError("invalid_value", "{reason}", {"reason": _TWO})
        return self


_TWO = "takes phone or user, not both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What a withdrawal or a restriction came to."""

    consent: Consent | None = None
    restriction: Restriction | None = None
    cancelled: int
    """Jobs that waited; their payloads are erased."""


class Consents:
    """Records what people agree to and what they forbid, and stops what waits.

    Args:
        policy: Names the purposes, and tells legal duties from the rest.
    """

    def __init__(
        self, engine: Engine, pseudonyms: Pseudonyms, policy: Policy, *, clock: Clock = utc_now
    ) -> None:
        self._engine = engine
        self._pseudonyms = pseudonyms
        self._policy = policy
        self._clock = clock

    def record(self, agreement: Agreement, *, backend: str) -> Consent:
        """Store a consent; the same one again is the same one, also after its withdrawal.

        Raises:
            IdempotencyConflict: The reference names another consent.
            NotFound: The policy has no such purpose.
            DatabaseUnavailable: Nothing was stored.
        """
        if agreement.purpose not in self._policy.purposes:
            raise NotFound("the policy has no such purpose")
        phone, user = self._people(agreement, backend)
        with self._writing() as connection:
            earlier = find_consent(connection, backend, agreement.ref)
            in_force = earlier.policy_version if earlier else self._policy.version
            consent = Consent(
                backend=backend,
                ref=agreement.ref,
                kind=ConsentKind(agreement.kind),
                purpose=agreement.purpose,
                phone=phone,
                user=user,
                granted_at=_in_utc(agreement.granted_at),
                policy_version=agreement.policy_version or in_force,
            )
            return record_consent(connection, consent, now=self._clock())

    def withdraw(self, ref: str, *, backend: str) -> Stopped:
        """Withdraw a consent, cancel what waits on it, and forget the verdicts that rest on it.

        Raises:
            NotFound: The backend has recorded none of that name.
            DatabaseUnavailable: Nothing was stored, or not every waiting job was cancelled.
        """
        with self._writing() as connection:
            consent = withdraw_consent(connection, backend, ref, now=self._clock())
            if consent is None:
                raise NotFound("there is no such consent")
            self._audit(connection, "consent.withdraw", ref, consent.purpose, _by(backend))
            forget_verdicts(connection, backend, ref)
        relying = JobFilter(backend=backend, consent_ref=ref)
        return Stopped(consent=consent, cancelled=self._cancel(relying, _by(backend), _WITHDRAWN))

    def restrict(self, objection: Objection, *, backend: str, actor: str | None = None) -> Stopped:
        """Let nothing more about a person leave, but for legal duties, and cancel what waits.

        Args:
            actor: Who does it, if it is not the backend itself.

        Raises:
            DatabaseUnavailable: Nothing was stored, or not every waiting job was cancelled.
        """
        actor = actor or _by(backend)
        phone, user = self._people(objection, backend)
        person = phone or user or ""
        wanted = Restriction(
            id=new_id(),
            backend=backend,
            person=person,
            reason=RestrictionReason(objection.reason),
            since=self._clock(),
        )
        with self._writing() as connection:
            restriction = restrict(connection, wanted)
            self._audit(connection, "person.restrict", restriction.id, objection.reason, actor)
        about = JobFilter(subject=person)
        return Stopped(
            restriction=restriction, cancelled=self._cancel(about, actor, SUBJECT_RESTRICTED)
        )

    def lift(
        self, restriction_id: str, *, backend: str | None, actor: str | None = None
    ) -> Restriction:
        """End a restriction that the backend imposed; what was cancelled stays so.

        Args:
            backend: None for an operator, who may lift any.
            actor: Who does it, if it is not the backend itself.

        Raises:
            NotFound: It has imposed none of that id.
            DatabaseUnavailable: Nothing was stored.
        """
        with self._writing() as connection:
            lifted = lift_restriction(connection, backend, restriction_id, now=self._clock())
            if lifted is None:
                raise NotFound("there is no such restriction")
            self._audit(
                connection, "person.unrestrict", lifted.id, lifted.reason, actor or _by(backend)
            )
        return lifted

    async def record_async(self, agreement: Agreement, *, backend: str) -> Consent:
        """:meth:`record` for an event loop."""
        return await asyncio.to_thread(self.record, agreement, backend=backend)

    async def withdraw_async(self, ref: str, *, backend: str) -> Stopped:
        """:meth:`withdraw` for an event loop."""
        return await asyncio.to_thread(self.withdraw, ref, backend=backend)

    async def restrict_async(self, objection: Objection, *, backend: str) -> Stopped:
        """:meth:`restrict` for an event loop."""
        return await asyncio.to_thread(self.restrict, objection, backend=backend)

    async def lift_async(self, restriction_id: str, *, backend: str) -> Restriction:
        """:meth:`lift` for an event loop."""
        return await asyncio.to_thread(self.lift, restriction_id, backend=backend)

    def _people(self, of: _OfAPerson, backend: str) -> tuple[str | None, str | None]:
        """Pseudonyms by phone and by user."""
        return (
            None if of.phone is None else self._pseudonyms.subject(of.phone),
            None if of.user is None else self._pseudonyms.user(backend, of.user),
        )

    def _audit(
        self, connection: Connection, action: str, target: str, reason: str, actor: str
    ) -> None:
        entry = Audit(at=self._clock(), actor=actor, action=action, target=target, reason=reason)
        write_audits(connection, entry)

    def _cancel(self, wanted: JobFilter, actor: str, code: str) -> int:
        """Cancel what waits, a batch at a time; the gate withholds what is faster."""
        spared = () if code == _WITHDRAWN else duties(self._policy)
        count = 0
        while True:
            with self._writing() as connection:
                cancelled = cancel_jobs(
                    connection,
                    wanted,
                    actor=actor,
                    reason=code,
                    now=self._clock(),
                    code=code,
                    spared=spared,
                )
            if not cancelled:
                return count
            count += len(cancelled)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with answering(), writing(self._engine) as connection:
            yield connection


def duties(policy: Policy) -> list[str]:
    """Kinds of jobs that do nothing but what the law demands."""
    listed = {
        kind: [policy.operations[name] for name in task.operations if name in policy.operations]
        for kind, task in TASKS.items()
    }
    return [
        kind
        for kind, operations in listed.items()
        if operations
        and all(policy.purposes[each.purpose].basis.kind == "legal_duty" for each in operations)
    ]


def _by(backend: str | None) -> str:
    """The actor that an audit names, at most as long as its column."""
    return f"backend:{backend}"[:64]


def _in_utc(instant: dt.datetime) -> dt.datetime:
    try:
        return instant.astimezone(dt.UTC)
    except OverflowError:  # on the first or last day of the calendar
        return instant.replace(tzinfo=dt.UTC)


_WITHDRAWN = "consent_withdrawn"
