"""Attempts of jobs that no database knows."""

from __future__ import annotations

from collections.abc import Mapping

from integrations.policy import Policy
from models.attempts import Attempt
from models.identifiers import new_id

__all__ = ["attempt_of"]


def attempt_of(
    policy: Policy, kind: str, held: Mapping[str, object], *, consent_ref: str | None = None
) -> Attempt:
    """The first attempt of a new job that holds these fields."""
    return Attempt(
        job_id=new_id(),
        kind=kind,
        number=1,
        fence=1,
        worker_id="worker",
        backend="shop",
        policy_version=policy.version,
        expires_at=None,
        consent_ref=consent_ref,
        held=dict(held),
    )
