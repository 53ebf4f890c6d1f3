"""One person in all tables: what is kept about them, and forgetting it.

A person is a keyed pseudonym, that of a phone or of a backend's user. What is found by either is
theirs, and whatever stands beside it under the same job.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    func,
    not_,
    or_,
    select,
    union,
    update,
)

from models.states import SETTLED, State
from models.tables import (
    attempts,
    codes,
    consents,
    deliveries,
    disclosures,
    identity_verdicts,
    job_people,
    jobs,
    login_phones,
    push_cids,
    restrictions,
    unannounced,
)

__all__ = ["Forgotten", "forget_person", "jobs_about", "kept_about"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What an erasure came to; rows by table."""

    forgotten: Mapping[str, int]
    kept: Mapping[str, int]
    """Without values: the account of what left, and the proof of what was agreed to or forbidden."""
    unfinished: int
    """Jobs whose work, or the news of whose end, is still on its way; to be forgotten another time."""


def jobs_about(*people: str) -> Any:
    """Ids of jobs: two searches by index, where one condition for both would read every row."""
    return union(
        select(jobs.c.id).where(jobs.c.subject.in_(people)),
        select(job_people.c.job_id).where(job_people.c.person.in_(people)),
    )


def kept_about(connection: Connection, person: str) -> dict[str, int]:
    """How many rows of each table are about a person; tables without any are left out."""
    ids = [row[0] for row in connection.execute(jobs_about(person))]
    return _counts(connection, [*_traces(person, ids), *_evidence(person, ids)])


def forget_person(connection: Connection, person: str, *, now: dt.datetime) -> Forgotten:
    """Forget whatever may be forgotten of a person.

    Jobs that wait are to be cancelled before, in the same transaction. A settled job goes as a whole;
    of one whose end its backend has not been told yet the payload goes at once. What limits count
    is not found by a person; it goes by itself when its windows are over.
    """
    ids = [row[0] for row in connection.execute(jobs_about(person))]
    busy = _unfinished(connection, ids)
    done = [job_id for job_id in ids if job_id not in busy]
    untold = and_(jobs.c.id.in_(busy), jobs.c.state.in_(SETTLED - {State.UNKNOWN}))
    connection.execute(update(jobs).where(untold).values(sealed=None, updated_at=now))
    kept = _counts(connection, _evidence(person, ids))
    forgotten = {
        str(table.name): rows
        for table, of in _traces(person, done, but=busy)
        if (rows := connection.execute(delete(table).where(of)).rowcount)
    }
    return Forgotten(forgotten=forgotten, kept=kept, unfinished=len(busy))


_Rows = tuple[Table, ColumnElement[bool]]


def _traces(person: str, ids: Collection[str], but: Collection[str] = ()) -> list[_Rows]:
    """What may be forgotten: of these jobs, and of the person without those others."""
    found: list[_Rows] = [
        (table, and_(or_(table.c.subject == person, table.c.job_id.in_(ids)), _none_of(table, but)))
        for table in (codes, deliveries, identity_verdicts)
    ]
    of_jobs = (login_phones, push_cids, attempts, job_people)
    found += [(table, table.c.job_id.in_(ids)) for table in of_jobs]
    return [*found, (jobs, jobs.c.id.in_(ids))]


def _evidence(person: str, ids: Collection[str]) -> list[_Rows]:
    """What stays; in none of it is a value."""
    return [
        (disclosures, or_(disclosures.c.subject == person, disclosures.c.job_id.in_(ids))),
        (consents, or_(consents.c.phone == person, consents.c.user == person)),
        (restrictions, restrictions.c.person == person),
    ]


def _none_of(table: Table, job_ids: Collection[str]) -> ColumnElement[bool]:
    return not_(table.c.job_id.in_(job_ids))


def _unfinished(connection: Connection, ids: Collection[str]) -> list[str]:
    """Jobs that somebody still works on, asks about, or has to tell of; all are locked."""
    asked_about = and_(jobs.c.state == State.UNKNOWN, jobs.c.claimed_by.is_not(None))
    rows = connection.execute(
        select(
            jobs.c.id,
            or_(jobs.c.state.not_in(SETTLED), asked_about, unannounced).label("busy"),
        )
        .where(jobs.c.id.in_(ids))
        .with_for_update()
    )
    return [row.id for row in rows if row.busy]


def _counts(connection: Connection, where: Collection[_Rows]) -> dict[str, int]:
    return {
        str(table.name): rows
        for table, of in where
        if (rows := connection.scalar(select(func.count()).select_from(table).where(of)))
    }
