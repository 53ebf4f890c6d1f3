"""What people have agreed to and what they have forbidden, and whether it covers a disclosure.

Consents are recorded by backends, each under a reference of its own. Of the person only keyed
pseudonyms are kept. A restriction stops everything about a person except what the law demands
(PIPL 44, 46 and 47). Both are looked up in the transaction that records a disclosure, so what is
withdrawn in one moment covers nothing in the next.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, exists, or_, select, update

from models.batches import insert_into
from models.disclosures import Demands
from models.errors import IdempotencyConflict
from models.tables import consents, job_people, restrictions

__all__ = [
    "SUBJECT_RESTRICTED",
    "Consent",
    "ConsentKind",
    "Restriction",
    "RestrictionReason",
    "consents_of",
    "fault_of",
    "find_consent",
    "lift_restriction",
    "nobody_restricted",
    "obstacle",
    "record_consent",
    "restrict",
    "restrictions_of",
    "withdraw_consent",
]

SUBJECT_RESTRICTED = "subject_restricted"


class ConsentKind(StrEnum):
    """What was agreed to how."""

    CONSENT = "consent"
    """PIPL 13(1): together with other things."""
    SEPARATE = "separate"
    """PIPL 23, 29: to this one thing, asked for by itself."""
    GUARDIAN = "guardian"
    """PIPL 31: by the parent or guardian of a child under 14."""


class RestrictionReason(StrEnum):
    """Why nothing more about somebody may leave."""

    OBJECTION = "objection"
    """The person restricts or refuses it (PIPL 44)."""
    DISPUTED = "disputed"
    """The person disputes what is stored, until it is verified (PIPL 46)."""
    ERASURE = "erasure"
    """The person's data is being deleted (PIPL 47)."""
    RETENTION = "retention"
    """Deletion is due, but a law demands keeping it: storing and protecting only (PIPL 47)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """One consent, about one person."""

    backend: str
    ref: str
    kind: ConsentKind
    purpose: str
    """The policy's key."""
    phone: str | None
    """Pseudonym."""
    user: str | None
    """Pseudonym. A consent that names both covers jobs that are about both."""
    granted_at: dt.datetime
    policy_version: str
    """Under which text."""
    withdrawn_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """Nothing about this person leaves, but for legal duties."""

    id: str
    backend: str
    """Who imposed it, and alone may lift it."""
    person: str
    """Pseudonym."""
    reason: RestrictionReason
    since: dt.datetime
    lifted_at: dt.datetime | None = None


def record_consent(connection: Connection, consent: Consent, *, now: dt.datetime) -> Consent:
    """Store a consent, once for each reference; returns it as it stands.

    Raises:
        IdempotencyConflict: The backend has used the reference for another consent.
    """
    connection.execute(
        insert_into(connection.dialect.name, consents)
        .values(**asdict(consent), recorded_at=now)
        .on_conflict_do_nothing()
    )
    stored = find_consent(connection, consent.backend, consent.ref)
    if stored is None or replace(stored, withdrawn_at=None) != consent:
        raise IdempotencyConflict("this reference was used before for another consent")
    return stored


def find_consent(connection: Connection, backend: str, ref: str) -> Consent | None:
    """A backend's consent; inside a transaction it stands until the transaction ends."""
    named = _CONSENT.where(consents.c.backend == backend, consents.c.ref == ref)
    row = connection.execute(named.with_for_update(read=True)).mappings().one_or_none()
    return None if row is None else _consent(row)


_CONSENT = select(*(consents.c[name] for name in Consent.__slots__))


def _consent(row: RowMapping) -> Consent:
    return Consent(**{**row, "kind": ConsentKind(row["kind"])})


def withdraw_consent(
    connection: Connection, backend: str, ref: str, *, now: dt.datetime
) -> Consent | None:
    """From now on it covers nothing; returns it, or None if there is none of that name."""
    connection.execute(
        update(consents)
        .where(
            consents.c.backend == backend, consents.c.ref == ref, consents.c.withdrawn_at.is_(None)
        )
        .values(withdrawn_at=now)
    )
    return find_consent(connection, backend, ref)


def restrict(connection: Connection, restriction: Restriction) -> Restriction:
    """Restrict a person, once for each backend; returns the restriction as it stands.

    It begins its transaction: disclosures being recorded are waited for, and those that are recorded
    once it has ended see it. What was recorded before may still be on its way out.
    """
    if connection.dialect.name == "postgresql":
        # Against the row locks of nobody_restricted, not against those who only read.
        connection.exec_driver_sql("LOCK TABLE restrictions IN EXCLUSIVE MODE")
    connection.execute(
        insert_into(connection.dialect.name, restrictions)
        .values(**asdict(restriction))
        .on_conflict_do_nothing()
    )
    (stored,) = _restrictions(
        connection,
        restrictions.c.person == restriction.person,
        restrictions.c.backend == restriction.backend,
        restrictions.c.lifted_at.is_(None),
    )
    return stored


def lift_restriction(
    connection: Connection, backend: str | None, restriction_id: str, *, now: dt.datetime
) -> Restriction | None:
    """Lift a restriction; returns it, or None if the backend has none of that id.

    Args:
        backend: None for an operator, who may lift any.
    """
    mine = [restrictions.c.id == restriction_id]
    if backend is not None:
        mine.append(restrictions.c.backend == backend)
    connection.execute(
        update(restrictions).where(*mine, restrictions.c.lifted_at.is_(None)).values(lifted_at=now)
    )
    return next(iter(_restrictions(connection, *mine)), None)


def consents_of(connection: Connection, people: Collection[str]) -> list[Consent]:
    """All consents about a person, withdrawn ones included, oldest first."""
    about = or_(consents.c.phone.in_(people), consents.c.user.in_(people))
    rows = connection.execute(_CONSENT.where(about).order_by(consents.c.granted_at)).mappings()
    return [_consent(row) for row in rows]


def restrictions_of(connection: Connection, people: Collection[str]) -> list[Restriction]:
    """All restrictions of a person, lifted ones included, oldest first."""
    return _restrictions(connection, restrictions.c.person.in_(people))


def _restrictions(connection: Connection, *where: ColumnElement[bool]) -> list[Restriction]:
    query = select(restrictions).where(*where).order_by(restrictions.c.since)
    return [
        Restriction(**{**row, "reason": RestrictionReason(row["reason"])})
        for row in connection.execute(query).mappings()
    ]


def nobody_restricted(job_id: ColumnElement[Any], subject: ColumnElement[Any]) -> Any:
    """Nobody whom a job is about is restricted, as a condition of a statement about it.

    The statement's transaction and :func:`restrict` exclude each other: PostgreSQL takes the locks
    of a statement's tables before the snapshot that it sees.
    """
    in_force = select(restrictions.c.id).where(restrictions.c.lifted_at.is_(None))
    as_subject = in_force.where(restrictions.c.person == subject)
    as_other = in_force.join(job_people, restrictions.c.person == job_people.c.person).where(
        job_people.c.job_id == job_id
    )
    return ~or_(
        *(
            named.with_for_update(read=True, key_share=True, of=restrictions).exists()
            for named in (as_subject, as_other)
        )
    )


def obstacle(
    connection: Connection,
    demands: Demands,
    *,
    job_id: str,
    subject: str | None,
    purpose: str,
    policy_version: str,
) -> str | None:
    """Why consents and restrictions, as they stand now, do not let a disclosure happen; or None."""
    people = _people_of(connection, job_id)
    if subject is not None:
        people.add(subject)
    if not demands.spared and _is_restricted(connection, people):
        return SUBJECT_RESTRICTED
    needed = (
        ("consent", demands.consent, _SEPARATE if demands.separate else _EITHER),
        ("guardian", demands.guardian, _GUARDIAN),
    )
    for role, ref, kinds in needed:
        if ref is not None:
            fault = fault_of(
                find_consent(connection, demands.backend, ref),
                kinds=kinds,
                purpose=purpose,
                policy_version=policy_version,
                people=people,
            )
            if fault is not None:
                return f"{role}_{fault}"
    return None


def _people_of(connection: Connection, job_id: str) -> set[str]:
    return set(connection.scalars(select(job_people.c.person).where(job_people.c.job_id == job_id)))


def _is_restricted(connection: Connection, people: Collection[str]) -> bool:
    where = (restrictions.c.person.in_(people), restrictions.c.lifted_at.is_(None))
    return bool(connection.scalar(select(exists().where(*where))))


_SEPARATE = frozenset({ConsentKind.SEPARATE})
_EITHER = frozenset({ConsentKind.CONSENT, ConsentKind.SEPARATE})
_GUARDIAN = frozenset({ConsentKind.GUARDIAN})


def fault_of(
    consent: Consent | None,
    *,
    kinds: Collection[ConsentKind],
    purpose: str,
    policy_version: str,
    people: Collection[str],
) -> str | None:
    """What a consent lacks to cover something; the rule alone, without a look at the database.

    Args:
        kinds: One of these it must be.
        purpose: For this it must have been given.
        policy_version: Under this published text; another reading of the same text will do.
        people: Among them must be everybody whom the consent names.
    """
    if consent is None:
        return "unknown"
    if consent.withdrawn_at is not None:
        return "withdrawn"
    if consent.kind not in kinds:
        return "kind"
    if consent.purpose != purpose:
        return "purpose"
    if _text(consent.policy_version) != _text(policy_version):
        return "outdated"
    named = {consent.phone, consent.user} - {None}
    return None if named and named <= set(people) else "person"


def _text(policy_version: str) -> str:
    """The published text's day: ``2023-01-01.2`` is the second reading of one text."""
    return policy_version.partition(".")[0]
