"""Verdicts about identities, kept without the identities.

A verdict is found again by a keyed fingerprint of exactly what was checked, so that the same
question about the same person discloses nothing a second time. Names and numbers are not here and
cannot be computed from what is.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, func, or_, select

from models.batches import insert_into
from models.consents import find_consent
from models.disclosures import SendResult, Verdict
from models.tables import disclosure_results, disclosures, identity_verdicts

__all__ = [
    "IdentityRecord",
    "KeepVerdict",
    "Questions",
    "find_verdict",
    "forget_verdicts",
    "prune_verdicts",
    "questions_about",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRecord:
    """One verdict, and what accounts for it."""

    fingerprint: str
    """Keyed digest of the fields that were checked."""
    verdict: str
    at: dt.datetime
    subject: str
    """Pseudonym of the person."""
    backend: str
    consent_ref: str
    guardian_ref: str | None = None
    """The guardian's consent, for a child."""
    provider_request_id: str | None
    job_id: str


@dataclass(frozen=True, slots=True)
class KeepVerdict:
    """A verdict that stands or falls with the settle of its job."""

    record: IdentityRecord

    def apply(self, connection: Connection, at: dt.datetime) -> bool:  # noqa: ARG002 - a Change
        """Store it in place of an older one; not on a consent that was withdrawn meanwhile."""
        record = self.record
        refs = (record.consent_ref, record.guardian_ref)
        if not all(_stands(connection, record.backend, ref) for ref in refs if ref is not None):
            return True
        values = asdict(record)
        statement = insert_into(connection.dialect.name, identity_verdicts).values(values)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[identity_verdicts.c.fingerprint],
                set_={name: statement.excluded[name] for name in values if name != "fingerprint"},
            )
        )
        return True


@dataclass(frozen=True, slots=True)
class Questions:
    """How often was asked about a person lately."""

    asked: int
    answered_with: bool
    """Whether one of the answers had the code in question."""


def find_verdict(
    connection: Connection, fingerprint: str, *, since: dt.datetime
) -> IdentityRecord | None:
    """A verdict that is not older than ``since``."""
    row = (
        connection.execute(
            select(identity_verdicts).where(
                identity_verdicts.c.fingerprint == fingerprint, identity_verdicts.c.at >= since
            )
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else IdentityRecord(**row)


def questions_about(
    connection: Connection,
    subject: str,
    operations: Sequence[str],
    *,
    code: str,
    since: dt.datetime,
) -> Questions:
    """Count what has left about a person, by the ledger.

    Args:
        subject: Pseudonym.
        operations: The policy's names of those that count.
        code: An answer of the recipient's to look for.
        since: Older disclosures do not count.
    """
    left = or_(
        disclosure_results.c.result.is_(None), disclosure_results.c.result != SendResult.UNSENT
    )
    row = connection.execute(
        select(
            func.count(disclosures.c.id.distinct()),
            func.count(disclosures.c.id.distinct()).filter(
                disclosure_results.c.provider_code == code
            ),
        )
        .outerjoin(disclosure_results, disclosure_results.c.disclosure_id == disclosures.c.id)
        .where(
            disclosures.c.subject == subject,
            disclosures.c.operation.in_(operations),
            disclosures.c.verdict == Verdict.ADMITTED,
            disclosures.c.at >= since,
            left,
        )
    ).one()
    return Questions(row[0], row[1] > 0)


def forget_verdicts(connection: Connection, backend: str, consent_ref: str) -> int:
    """Delete the verdicts that rest on a consent, or on a guardian's; returns how many."""
    columns = identity_verdicts.c
    rests = or_(columns.consent_ref == consent_ref, columns.guardian_ref == consent_ref)
    return connection.execute(
        delete(identity_verdicts).where(columns.backend == backend, rests)
    ).rowcount


def prune_verdicts(connection: Connection, *, before: dt.datetime) -> int:
    """Delete the verdicts that have ceased to be valid; returns how many."""
    return connection.execute(
        delete(identity_verdicts).where(identity_verdicts.c.at < before)
    ).rowcount


def _stands(connection: Connection, backend: str, ref: str) -> bool:
    # Whoever withdraws it in this moment waits for us, and then forgets what we have stored.
    consent = find_consent(connection, backend, ref)
    return consent is not None and consent.withdrawn_at is None
