"""Which consents an operation needs: what the policy's basis and the person's age demand.

Whether they stand is looked up when the disclosure is recorded (:mod:`models.consents`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING

from integrations.admission import Reason, Refused
from models.clock import BEIJING
from models.disclosures import Demands
from models.pii import IdNumber, Personal

if TYPE_CHECKING:
    from integrations.policy import Operation, Policy

__all__ = ["demands_of"]

_OF_AGE = 14
"""Below it a guardian must agree (PIPL 31; policy 七)."""


def demands_of(
    policy: Policy,
    operation: Operation,
    held: Mapping[str, object],
    *,
    backend: str,
    consent_ref: str | None,
    guardian_ref: str | None,
    now: dt.datetime,
) -> Demands:
    """What must stand so that ``operation`` may disclose something of ``held``.

    A legal duty is bound to nothing but its own consent, if it has one. Everything else is
    withheld from restricted people, and needs the guardian's consent where an identity number
    that the job holds is a child's. Where the basis is consent, a consent that the job names must
    stand, and where it is a separate one the job must name one.

    Raises:
        Refused: The job does not name a consent that it needs.
    """
    basis = policy.purposes[operation.purpose].basis
    duty = basis.kind == "legal_duty"
    separate = policy.separate_consent(operation)
    if separate and not consent_ref:
        raise Refused(Reason.CONSENT_MISSING)
    child = not duty and _holds_child(held, now.astimezone(BEIJING).date())
    if child and not guardian_ref:
        raise Refused(Reason.GUARDIAN_MISSING)
    return Demands(
        backend=backend,
        consent=consent_ref if separate or basis.consent != "none" else None,
        separate=separate,
        guardian=guardian_ref if child else None,
        spared=duty,
    )


def _holds_child(held: object, today: dt.date) -> bool:
    """Whether an identity number, however deep, is one of somebody under 14."""
    if isinstance(held, Personal | str):
        return isinstance(held, IdNumber) and held.age_on(today) < _OF_AGE
    if isinstance(held, Mapping):
        return any(_holds_child(value, today) for value in held.values())
    if isinstance(held, list | tuple | set | frozenset):
        return any(_holds_child(value, today) for value in held)
    return False
