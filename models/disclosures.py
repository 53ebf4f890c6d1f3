"""The account of what left the building, without values.

A :class:`Disclosure` is written before the bytes leave (or when the gate denies them), a
:class:`DisclosureResult` after. Rows are only ever inserted; each carries a keyed MAC over itself
and its predecessor from the same writer, so that a removed, changed or reordered row shows.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Protocol

from models.errors import DeniedError

__all__ = [
    "Demands",
    "Disclosure",
    "DisclosureResult",
    "Ledger",
    "SendResult",
    "Verdict",
    "Withheld",
]


class Verdict(enum.StrEnum):
    """What the gate decided."""

    ADMITTED = "admitted"
    DENIED = "denied"


class SendResult(enum.StrEnum):
    """What came of an admitted request."""

    ANSWERED = "answered"
    """The recipient received it and answered."""
    UNSENT = "unsent"
    """Provably nothing left: the connection never stood."""
    UNKNOWN = "unknown"
    """Bytes may have left and no trustworthy answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What must stand in the moment in which a disclosure is recorded; no part of its row."""

    backend: str = ""
    """Whose consents they are."""
    consent: str | None = None
    """The consent that must cover it; None if none is needed."""
    separate: bool = False
    """It must be a separate one."""
    guardian: str | None = None
    """The guardian's consent that must cover it; None if no child is concerned."""
    spared: bool = False
    """A legal duty: it happens even if the person is restricted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """Who was to get which categories, for what purpose, under which clause; never a value."""

    id: str
    job_id: str
    kind: str
    attempt: int
    fence: int
    operation: str
    recipient: str
    host: str
    purpose: str
    clauses: tuple[str, ...]
    policy_version: str
    categories: tuple[str, ...]
    """Categories that leave (that would have left, on a denial)."""
    stripped: tuple[str, ...]
    """Names of the job's fields that stay inside."""
    subject: str | None
    consent_ref: str | None
    verdict: Verdict
    reason: str | None
    """Why it was denied: a static code, with the name of the offending field."""
    at: dt.datetime
    guardian_ref: str | None = None
    demands: Demands = Demands()


@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureResult:
    """How an admitted disclosure ended."""

    disclosure_id: str
    result: SendResult
    http_status: int | None
    provider_code: str | None
    provider_request_id: str | None
    at: dt.datetime
    milliseconds: float
    """From the first byte to the end of the reply, or to the failure; 0 if it was never tried."""


class Withheld(DeniedError):
    """What a disclosure demands does not stand; ``code`` says what."""


class Ledger(Protocol):
    """Where the gate writes its disclosures."""

    def record(self, disclosure: Disclosure) -> None:
        """Store it durably before returning.

        Raises:
            Withheld: An admitted one's demands are not met; it is not stored.
            DatabaseUnavailable: It is not stored, so the bytes must not leave.
        """
