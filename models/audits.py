"""Who did what by hand, and why: operators' actions, and stops that a provider brought about."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select

from models.identifiers import new_id
from models.tables import audits

__all__ = ["Audit", "audits_of", "write_audits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One action; nothing in it is about a customer."""

    at: dt.datetime
    actor: str
    """Who: ``cli:name`` for a person, ``worker`` for a rule."""
    action: str
    """Static, such as ``job.replay``."""
    target: str
    """Id of the job or batch, or name of the queue or recipient."""
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Ids, codes and counts."""


def write_audits(connection: Connection, *entries: Audit) -> None:
    """Store them in the transaction of what they speak of."""
    if entries:
        connection.execute(
            insert(audits),
            [
                {
                    "id": new_id(),
                    "at": entry.at,
                    "actor": entry.actor,
                    "action": entry.action,
                    "target": entry.target,
                    "reason": entry.reason,
                    "detail": dict(entry.detail) or None,
                }
                for entry in entries
            ],
        )


def audits_of(connection: Connection, target: str) -> tuple[Audit, ...]:
    """What was done to one job, batch, queue or recipient; oldest first."""
    rows = connection.execute(
        select(audits).where(audits.c.target == target).order_by(audits.c.at, audits.c.id)
    )
    return tuple(
        Audit(
            at=row.at,
            actor=row.actor,
            action=row.action,
            target=row.target,
            reason=row.reason,
            detail=row.detail or {},
        )
        for row in rows
    )
