"""What becomes of texts after a provider accepted them: reported, asked for, counted.

One row for each accepted text: ids, codes and the person's pseudonym. Until its fate is known, or
somebody is sent to ask, the number stays beside it, sealed; then it is erased. Nothing here
changes what a job came to: a report is a hint, nobody signs it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from models.batches import Batch, inserting
from models.group_commit import Transaction
from models.states import State
from models.tables import clipped, deliveries, jobs

__all__ = [
    "ASKING_ENDS",
    "DeliveryFigures",
    "DeliveryState",
    "NewDelivery",
    "Report",
    "SilentDelivery",
    "any_silent",
    "delivery_figures",
    "delivery_identity",
    "end_deliveries",
    "prune_deliveries",
    "take_silent",
    "write_deliveries",
    "write_reports",
]

ASKING_ENDS = dt.timedelta(hours=1)
"""After this nobody asks any more, and the number is erased."""


class DeliveryState(StrEnum):
    """Where a text is, as far as anybody told us."""

    ACCEPTED = "accepted"
    """By the provider; the carrier has not reported."""
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    UNREPORTED = "unreported"
    """Nobody told within :data:`ASKING_ENDS`; a late report still counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A text that a provider has accepted.

    Attributes:
        reference: What the provider calls the text by: our OutId.
        subject: Pseudonym of the number.
        biz_id: The provider's own id, if it told one.
        sealed: The number, sealed under ``bucket``; None when nobody can be asked.
        ask_at: When to ask for the first time.
    """

    reference: str
    job_id: str
    backend: str
    road: str
    scene: str
    subject: str
    biz_id: str | None
    accepted_at: dt.datetime
    sealed: bytes | None
    bucket: str | None
    ask_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What somebody says became of a text.

    Attributes:
        subject: Pseudonym of the number it is said to have gone to.
        reason: Ours, why it was not delivered.
        provider_code: The carrier's word.
        seconds: From sending to the carrier's report, by the provider's clock.
        source: ``receipt`` (pushed, unsigned) or ``query`` (asked for).
    """

    reference: str
    subject: str
    biz_id: str | None
    delivered: bool
    reason: str | None
    provider_code: str | None
    seconds: float | None
    source: str
    at: dt.datetime

    def apply(self, connection: Connection, at: dt.datetime) -> bool:
        """Note it with the settle of the job that asked."""
        del at
        _note(connection, self)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentDelivery:
    """A text that nobody has told about, with its number sealed."""

    reference: str
    backend: str
    accepted_at: dt.datetime
    sealed: bytes
    bucket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFigures:
    """How texts of one road and scene fared.

    Attributes:
        rate: Delivered of those whose fate is known; None when none is.
        median_seconds: From sending to the carrier's report; None when none told.
        p95_seconds: The same, 95th percentile.
        reasons: Why texts were not delivered, with their number, the most frequent first.
    """

    road: str
    scene: str
    accepted: int
    delivered: int
    undelivered: int
    unreported: int
    rate: float | None
    median_seconds: float | None
    p95_seconds: float | None
    reasons: dict[str, int]


def delivery_identity(reference: str) -> bytes:
    """What a sealed number is bound to."""
    return orjson.dumps(["delivery", reference])


_NEW = (
    "reference",
    "job_id",
    "backend",
    "road",
    "scene",
    "subject",
    "biz_id",
    "state",
    "accepted_at",
    "sealed",
    "bucket",
    "ask_at",
)


def write_deliveries(transaction: Transaction, new: Sequence[NewDelivery]) -> list[None]:
    """Store accepted texts, as a group commit write; what stands already stays."""
    rows = [
        {
            "reference": one.reference,
            "job_id": one.job_id,
            "backend": one.backend,
            "road": one.road,
            "scene": one.scene,
            "subject": one.subject,
            "biz_id": clipped(one.biz_id),
            "state": DeliveryState.ACCEPTED,
            "accepted_at": one.accepted_at,
            "sealed": one.sealed,
            "bucket": one.bucket,
            "ask_at": one.ask_at,
        }
        for one in new
    ]
    _INSERT.execute(transaction.connection, rows)
    return [None] * len(new)


_INSERT = Batch(
    {name: deliveries.c[name].type for name in _NEW},
    lambda dialect, row: inserting(dialect, deliveries, row).on_conflict_do_nothing(),
)


def write_reports(transaction: Transaction, reports: Sequence[Report]) -> list[bool]:
    """Note what is said of texts, as a group commit write.

    Returns:
        For each whether it told anything new about a text of ours. Unknown texts, repetitions
        and reports that do not fit number and ids change nothing.
    """
    return [_note(transaction.connection, report) for report in reports]


def _note(connection: Connection, report: Report) -> bool:
    state = DeliveryState.DELIVERED if report.delivered else DeliveryState.UNDELIVERED
    known = connection.execute(
        update(deliveries)
        .where(
            deliveries.c.reference == report.reference,
            deliveries.c.subject == report.subject,
            *_same_text(report),
            deliveries.c.state.in_([DeliveryState.ACCEPTED, DeliveryState.UNREPORTED]),
        )
        .values(
            state=state,
            reason=clipped(report.reason),
            provider_code=clipped(report.provider_code),
            seconds=report.seconds,
            source=report.source,
            settled_at=report.at,
            sealed=None,
            ask_at=None,
        )
    ).rowcount
    if not known:
        # Of a text whose outcome we do not know it proves nothing, but now is the time to ask.
        connection.execute(
            update(jobs)
            .where(
                or_(jobs.c.id == report.reference, jobs.c.nonce == report.reference),
                jobs.c.subject == report.subject,
                jobs.c.state == State.UNKNOWN,
                jobs.c.run_at > report.at,
            )
            .values(run_at=report.at)
        )
    return bool(known)


def _same_text(report: Report) -> list[ColumnElement[bool]]:
    """What was asked for was found by our reference; what was pushed must know the ids."""
    if report.source == "query":
        return []
    return [or_(deliveries.c.biz_id.is_(None), deliveries.c.biz_id == report.biz_id)]


def any_silent(connection: Connection, *, now: dt.datetime) -> bool:
    """Whether there is anything to take or to end: a read that locks nothing."""
    waiting = select(deliveries.c.reference).where(
        deliveries.c.state == DeliveryState.ACCEPTED,
        or_(deliveries.c.ask_at <= now, deliveries.c.accepted_at <= now - ASKING_ENDS),
    )
    return connection.execute(waiting.limit(1)).first() is not None


def take_silent(
    connection: Connection, *, now: dt.datetime, limit: int = 100
) -> list[SilentDelivery]:
    """Texts to ask about, the longest waiting first; their numbers are erased here."""
    names = list(SilentDelivery.__dataclass_fields__)
    rows = connection.execute(
        select(*(deliveries.c[name] for name in names))
        .where(
            deliveries.c.state == DeliveryState.ACCEPTED,
            deliveries.c.ask_at <= now,
            deliveries.c.sealed.is_not(None),
        )
        .order_by(deliveries.c.ask_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = [SilentDelivery(**row._asdict()) for row in rows]
    if found:
        taken = deliveries.c.reference.in_([one.reference for one in found])
        connection.execute(update(deliveries).where(taken).values(sealed=None, ask_at=None))
    return found


def end_deliveries(connection: Connection, *, now: dt.datetime) -> int:
    """Give up on texts that nobody told about in time, and erase their numbers."""
    return connection.execute(
        update(deliveries)
        .where(
            deliveries.c.state == DeliveryState.ACCEPTED,
            deliveries.c.accepted_at <= now - ASKING_ENDS,
        )
        .values(state=DeliveryState.UNREPORTED, settled_at=now, sealed=None, ask_at=None)
    ).rowcount


def prune_deliveries(
    connection: Connection, *, accepted_before: dt.datetime, limit: int = 500
) -> int:
    """Delete rows that no figure needs any more."""
    old = connection.scalars(
        select(deliveries.c.reference)
        .where(deliveries.c.accepted_at < accepted_before)
        .limit(limit)
    ).all()
    if old:
        connection.execute(deliveries.delete().where(deliveries.c.reference.in_(old)))
    return len(old)


def delivery_figures(connection: Connection, *, since: dt.datetime) -> list[DeliveryFigures]:
    """Rates, latencies and reasons by road and scene, of texts accepted since then."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    counted = select(
        deliveries.c.road, deliveries.c.scene, deliveries.c.state, deliveries.c.reason, func.count()
    )
    for road, scene, state, reason, number in connection.execute(
        counted.where(deliveries.c.accepted_at >= since).group_by(
            deliveries.c.road, deliveries.c.scene, deliveries.c.state, deliveries.c.reason
        )
    ):
        entry = found.setdefault((road, scene), {"states": {}, "reasons": {}, "seconds": []})
        entry["states"][state] = entry["states"].get(state, 0) + number
        if state == DeliveryState.UNDELIVERED:
            entry["reasons"][reason or "other"] = number
    timed = select(deliveries.c.road, deliveries.c.scene, deliveries.c.seconds).where(
        deliveries.c.accepted_at >= since,
        deliveries.c.state == DeliveryState.DELIVERED,
        deliveries.c.seconds.is_not(None),
    )
    for road, scene, seconds in connection.execute(timed.order_by(deliveries.c.seconds)):
        found[road, scene]["seconds"].append(seconds)
    return [_figures(road, scene, entry) for (road, scene), entry in sorted(found.items())]


def _figures(road: str, scene: str, entry: dict[str, Any]) -> DeliveryFigures:
    states, seconds = entry["states"], entry["seconds"]
    delivered = states.get(DeliveryState.DELIVERED, 0)
    known = delivered + states.get(DeliveryState.UNDELIVERED, 0)
    return DeliveryFigures(
        road=road,
        scene=scene,
        accepted=sum(states.values()),
        delivered=delivered,
        undelivered=states.get(DeliveryState.UNDELIVERED, 0),
        unreported=states.get(DeliveryState.UNREPORTED, 0),
        rate=delivered / known if known else None,
        median_seconds=_at(seconds, 0.5),
        p95_seconds=_at(seconds, 0.95),
        reasons=dict(sorted(entry["reasons"].items(), key=lambda pair: -pair[1])),
    )


def _at(ordered: Sequence[float], part: float) -> float | None:
    """Nearest rank."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None
