"""One attempt at a job, as everything below the task sees it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from models.disclosures import DisclosureResult

__all__ = ["Attempt"]


@dataclass(slots=True, kw_only=True)
class Attempt:
    """The identity of one attempt, what the job holds, and what came of its disclosures.

    ``repr`` shows identifiers only; ``held`` keeps personal data in the types of
    :mod:`models.pii`.
    """

    job_id: str
    kind: str
    number: int
    """1 for the first attempt."""
    fence: int
    """Fencing token of the claim: a settle with an older one is refused."""
    worker_id: str
    backend: str
    policy_version: str
    expires_at: dt.datetime | None
    """After this instant nothing of the job may be sent."""
    nonce: str | None = None
    """Drawn anew when a person has the job replayed."""
    subject: str | None = None
    """Pseudonym (keyed HMAC, hex) of the person concerned."""
    consent_ref: str | None = None
    """The consent that the job relies on, by its backend's name for it."""
    guardian_ref: str | None = None
    """The guardian's consent, where the person is a child."""
    held: Mapping[str, object] = field(default_factory=dict, repr=False)
    """The job's opened payload by field name: the wide object that adapters minimize."""
    results: list[DisclosureResult] = field(default_factory=list, repr=False)
    """Completions of this attempt's disclosures, stored with the settle."""

    @property
    def reference(self) -> str:
        """What the recipient knows the job by: opaque, and the same for each attempt.

        A replay is meant to be done again, so it gets another one.
        """
        return self.nonce or self.job_id
