"""Phone numbers that a login brought home: sealed, for minutes, to be taken once by who asked.

The number is nowhere else: not in the job, its result, a webhook or a log.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert, select

from models.sealing import seal_identity
from models.tables import login_phones

__all__ = [
    "KeepPhone",
    "SealedPhone",
    "any_phone_due",
    "drop_phones",
    "phone_identity",
    "take_phone",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPhone:
    """One number on its way to the backend that asked for it."""

    job_id: str
    backend: str
    sealed: bytes
    bucket: str
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class KeepPhone:
    """A number that stands or falls with the settle of its job."""

    phone: SealedPhone

    def apply(self, connection: Connection, at: dt.datetime) -> bool:  # noqa: ARG002 - a Change
        """Store it."""
        connection.execute(insert(login_phones).values(asdict(self.phone)))
        return True


def phone_identity(job_id: str) -> bytes:
    """What a sealed number is bound to."""
    return seal_identity(job_id, "login_phone", "")


def take_phone(
    connection: Connection, job_id: str, backend: str, *, now: dt.datetime
) -> SealedPhone | None:
    """Take a backend's number away, so that nobody gets it again; None if there is none."""
    row = (
        connection.execute(
            delete(login_phones)
            .where(login_phones.c.job_id == job_id, login_phones.c.backend == backend)
            .returning(*login_phones.c)
        )
        .mappings()
        .one_or_none()
    )
    return SealedPhone(**row) if row is not None and row["expires_at"] > now else None


def any_phone_due(connection: Connection, *, now: dt.datetime) -> bool:
    """Whether a number has waited too long."""
    due = select(login_phones.c.job_id).where(login_phones.c.expires_at <= now).limit(1)
    return connection.execute(due).first() is not None


def drop_phones(connection: Connection, *, now: dt.datetime) -> int:
    """Delete numbers that nobody came for in time; returns how many."""
    return connection.execute(delete(login_phones).where(login_phones.c.expires_at <= now)).rowcount
