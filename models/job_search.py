"""Finding jobs: by what they are, where they stand, what went wrong, and whom they are about."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, exists, or_, select

from models.people import jobs_about
from models.states import State
from models.tables import disclosures, jobs

__all__ = ["JobFilter", "JobSummary", "conditions", "search_jobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; what is left out does not matter. An empty filter is every job."""

    ids: tuple[str, ...] = ()
    kind: str | None = None
    states: tuple[State, ...] = ()
    queue: str | None = None
    backend: str | None = None
    code: str | None = None
    """Our reason or the provider's own code."""
    recipient: str | None = None
    """Somebody to whom it disclosed something, or was denied to."""
    subject: str | None = None
    """A pseudonym of the person (:class:`models.pseudonyms.Pseudonyms`)."""
    consent_ref: str | None = None
    """Their backend's name of a consent, or of a guardian's, that they rely on."""
    since: dt.datetime | None = None
    """Created at or after."""
    until: dt.datetime | None = None
    """Created before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job in one line."""

    id: str
    kind: str
    queue: str
    backend: str
    state: State
    reason: str | None
    provider_code: str | None
    attempts: int
    created_at: dt.datetime
    run_at: dt.datetime
    expires_at: dt.datetime | None
    settled_at: dt.datetime | None


def search_jobs(
    connection: Connection, wanted: JobFilter, *, before: str | None = None, limit: int = 50
) -> list[JobSummary]:
    """A page of jobs, newest first.

    Args:
        before: Id of the last job of the page before; ids sort by time.
    """
    query = select(*(jobs.c[name] for name in _SUMMARY)).where(*conditions(wanted))
    if before is not None:
        query = query.where(jobs.c.id < before)
    rows = connection.execute(query.order_by(jobs.c.id.desc()).limit(limit)).mappings()
    return [JobSummary(**{**row, "state": State(row["state"])}) for row in rows]


def conditions(wanted: JobFilter) -> list[ColumnElement[bool]]:
    """The filter as conditions on the table of jobs."""
    columns = jobs.c
    found: list[ColumnElement[bool]] = [
        columns[name] == getattr(wanted, name)
        for name in ("kind", "queue", "backend")
        if getattr(wanted, name) is not None
    ]
    if wanted.subject is not None:
        found.append(columns.id.in_(jobs_about(wanted.subject)))
    if wanted.consent_ref is not None:
        relying = (columns.consent_ref, columns.guardian_ref)
        found.append(or_(*(column == wanted.consent_ref for column in relying)))
    if wanted.ids:
        found.append(columns.id.in_(wanted.ids))
    if wanted.states:
        found.append(columns.state.in_(wanted.states))
    if wanted.code is not None:
        found.append(or_(columns.reason == wanted.code, columns.provider_code == wanted.code))
    if wanted.recipient is not None:
        to = disclosures.c.recipient == wanted.recipient
        found.append(exists().where(disclosures.c.job_id == columns.id, to))
    if wanted.since is not None:
        found.append(columns.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(columns.created_at < wanted.until)
    return found


_SUMMARY = (
    "id",
    "kind",
    "queue",
    "backend",
    "state",
    "reason",
    "provider_code",
    "attempts",
    "created_at",
    "run_at",
    "expires_at",
    "settled_at",
)
