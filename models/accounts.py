"""Questions to the ledger: what became of one person's data, and whom a leak touches.

Answers hold names, categories and pseudonyms; a value is in no row and in no answer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, func, select, union

from models.disclosures import SendResult, Verdict
from models.tables import disclosure_results, disclosures, job_people

__all__ = [
    "Affected",
    "Disclosed",
    "Traffic",
    "count_chained",
    "disclosures_of",
    "touched_by_leak",
    "traffic",
]

_ROWS_AT_ONCE = 1000
# A late answer is worth more than a rescuer's guess.
_CERTAINTY = (SendResult.ANSWERED, SendResult.UNSENT, SendResult.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosed:
    """One disclosure as the person concerned may read it."""

    id: str
    job_id: str
    kind: str
    at: dt.datetime
    recipient: str
    operation: str
    purpose: str
    clauses: tuple[str, ...]
    policy_version: str
    categories: tuple[str, ...]
    stripped: tuple[str, ...]
    consent_ref: str | None
    guardian_ref: str | None
    verdict: Verdict
    reason: str | None
    result: SendResult | None
    """None: begun, and no end is on record; bytes may have left."""
    subject: str | None

    @property
    def left(self) -> bool:
        """Whether it may have left the building; False only if it provably did not."""
        return self.verdict is Verdict.ADMITTED and self.result is not SendResult.UNSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """Whom a leak at one recipient touches."""

    recipient: str
    begin: dt.datetime
    end: dt.datetime
    subjects: tuple[str, ...]
    """Pseudonyms, sorted."""
    categories: tuple[str, ...]
    disclosures: int
    nobodys: int
    """Disclosures whose job is about no known person, so that somebody beyond ``subjects`` may be touched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How much went to a recipient by one operation."""

    recipient: str
    operation: str
    purpose: str
    admitted: int
    denied: int
    last: dt.datetime


def disclosures_of(connection: Connection, subjects: Sequence[str]) -> list[Disclosed]:
    """All disclosures on behalf of jobs about one person, denials included, oldest first.

    Args:
        subjects: The pseudonyms under which the person is known.
    """
    # Two searches by index, where one condition for both would read the whole ledger.
    about = union(
        select(disclosures.c.id).where(disclosures.c.subject.in_(subjects)),
        select(disclosures.c.id)
        .join(job_people, job_people.c.job_id == disclosures.c.job_id)
        .where(job_people.c.person.in_(subjects)),
    )
    return list(_merged(connection, disclosures.c.id.in_(about)))


def touched_by_leak(
    connection: Connection, recipient: str, begin: dt.datetime, end: dt.datetime
) -> Affected:
    """Everybody about whom something may have reached ``recipient`` in ``[begin, end)``.

    What provably never left does not count; what was begun without a known end does. A disclosure
    that has no subject touches everybody else whom its job is about.
    """
    where = and_(
        disclosures.c.recipient == recipient,
        disclosures.c.at >= begin,
        disclosures.c.at < end,
        disclosures.c.verdict == Verdict.ADMITTED,
    )
    subjects: set[str] = set()
    categories: dict[str, None] = {}
    others: dict[str, list[str]] = {}
    query = select(job_people).where(
        job_people.c.job_id.in_(
            select(disclosures.c.job_id).where(where, disclosures.c.subject.is_(None))
        )
    )
    for row in connection.execute(query):
        others.setdefault(row.job_id, []).append(row.person)
    count = nobodys = 0
    for item in _merged(connection, where):
        if not (item.left and item.categories):
            continue
        count += 1
        categories |= dict.fromkeys(item.categories)
        touched = [item.subject] if item.subject else others.get(item.job_id, [])
        nobodys += not touched
        subjects.update(touched)
    return Affected(
        recipient=recipient,
        begin=begin,
        end=end,
        subjects=tuple(sorted(subjects)),
        categories=tuple(categories),
        disclosures=count,
        nobodys=nobodys,
    )


def traffic(connection: Connection) -> list[Traffic]:
    """Sums over the whole ledger, by recipient and operation."""
    key = (disclosures.c.recipient, disclosures.c.operation, disclosures.c.purpose)
    admitted = func.count().filter(disclosures.c.verdict == Verdict.ADMITTED)
    rows = connection.execute(
        select(
            *key,
            admitted.label("admitted"),
            (func.count() - admitted).label("denied"),
            func.max(disclosures.c.at).label("last"),
        )
        .group_by(*key)
        .order_by(*key)
    ).mappings()
    return [Traffic(**{str(name): row[name] for name in row}) for row in rows]


def count_chained(connection: Connection) -> int:
    """How many rows the ledger's chains have together."""
    tables = (disclosures, disclosure_results)
    return sum(connection.scalar(select(func.count()).select_from(t)) or 0 for t in tables)


def _merged(connection: Connection, where: Any) -> Iterator[Disclosed]:
    """Each disclosure once, with its most certain result."""
    query: Select[Any] = (
        select(disclosures, disclosure_results.c.result)
        .outerjoin(disclosure_results, disclosure_results.c.disclosure_id == disclosures.c.id)
        .where(where)
        .order_by(disclosures.c.at, disclosures.c.id)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    group: list[RowMapping] = []
    for row in connection.execute(query).mappings():
        if group and group[0]["id"] != row["id"]:
            yield _disclosed(group)
            group = []
        group.append(row)
    if group:
        yield _disclosed(group)


def _disclosed(rows: Iterable[RowMapping]) -> Disclosed:
    first, *others = rows
    found = {row["result"] for row in (first, *others)}
    return Disclosed(
        id=first["id"],
        job_id=first["job_id"],
        kind=first["kind"],
        at=first["at"],
        recipient=first["recipient"],
        operation=first["operation"],
        purpose=first["purpose"],
        clauses=tuple(first["clauses"]),
        policy_version=first["policy_version"],
        categories=tuple(first["categories"]),
        stripped=tuple(first["stripped"]),
        consent_ref=first["consent_ref"],
        guardian_ref=first["guardian_ref"],
        verdict=Verdict(first["verdict"]),
        reason=first["reason"],
        result=next((result for result in _CERTAINTY if result in found), None),
        subject=first["subject"],
    )
