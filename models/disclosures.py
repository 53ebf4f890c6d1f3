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

__all__ = ["Disclosure", "DisclosureResult", "Ledger", "SendResult", "Verdict"]


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
    """From the first byte to the end of the reply, or to the failure."""


class Ledger(Protocol):
    """Where the gate writes its disclosures."""

    def record(self, disclosure: Disclosure) -> None:
        """Store it durably before returning.

        Raises:
            DatabaseUnavailable: It is not stored, so the bytes must not leave.
        """
