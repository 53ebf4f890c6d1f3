"""The provider's own key for each push, kept with its job from before the push leaves.

Under it, and under no other, an unclear push is repeated.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, select

from models.batches import insert_into
from models.tables import push_cids

__all__ = ["CIDS_KEPT", "PushCid", "find_cid", "keep_cid", "prune_cids"]

CIDS_KEPT = dt.timedelta(days=3)
"""For so long it is remembered under which key a push has left; no key protects so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushCid:
    """One push's key."""

    reference: str
    """The job's reference: another one after a replay, which is meant to push again."""
    job_id: str
    cid: str
    issued_at: dt.datetime
    """Before this instant the provider had not made it."""


def find_cid(connection: Connection, reference: str) -> PushCid | None:
    """The key of a job's push, if it has one."""
    row = connection.execute(
        select(push_cids).where(push_cids.c.reference == reference)
    ).one_or_none()
    return None if row is None else PushCid(**row._asdict())


def keep_cid(connection: Connection, cid: PushCid) -> PushCid:
    """Keep a key; the one that stands is returned, which is never replaced."""
    connection.execute(
        insert_into(connection.dialect.name, push_cids).values(asdict(cid)).on_conflict_do_nothing()
    )
    kept = find_cid(connection, cid.reference)
    assert kept is not None  # noqa: S101 - inserted above, or before
    return kept


def prune_cids(connection: Connection, *, before: dt.datetime) -> int:
    """Delete keys that were issued before an instant; returns how many."""
    return connection.execute(delete(push_cids).where(push_cids.c.issued_at < before)).rowcount
