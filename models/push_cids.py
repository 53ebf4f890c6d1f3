"""The provider's own key for each push, kept with its job from before the push leaves.

Under it, and under no other, an unclear push is repeated.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, exists, select

from models.batches import insert_into
from models.states import Event
from models.tables import attempts, push_cids

__all__ = ["CIDS_KEPT", "PushCid", "find_cid", "keep_cid", "prune_cids", "was_ever_unclear"]

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


def keep_cid(
    connection: Connection, cid: PushCid, *, spent_before: dt.datetime | None = None
) -> PushCid:
    """Keep a key; where one stands, it is returned instead.

    Args:
        spent_before: One that was issued up to then is replaced. Only for a push of which it is
            certain that it has not been made.
    """
    statement = insert_into(connection.dialect.name, push_cids).values(asdict(cid))
    if spent_before is None:
        statement = statement.on_conflict_do_nothing()
    else:
        statement = statement.on_conflict_do_update(
            index_elements=[push_cids.c.reference],
            set_={name: statement.excluded[name] for name in ("cid", "issued_at")},
            where=push_cids.c.issued_at <= spent_before,
        )
    connection.execute(statement)
    kept = find_cid(connection, cid.reference)
    assert kept is not None  # noqa: S101 - inserted above, or before
    return kept


def was_ever_unclear(connection: Connection, job_id: str) -> bool:
    """Whether an attempt at a job, or a question about one, left open what came of it."""
    lost = exists().where(attempts.c.job_id == job_id, attempts.c.event == Event.LOSE)
    return bool(connection.scalar(select(lost)))


def prune_cids(connection: Connection, *, before: dt.datetime) -> int:
    """Delete keys that were issued before an instant; returns how many."""
    return connection.execute(delete(push_cids).where(push_cids.c.issued_at < before)).rowcount
