"""Verification codes that we check: one live code for each phone, scene and backend.

Only a keyed digest is stored, bound to the place and to the job that sends it. A guess is judged
with the code's row locked: of many right ones exactly one passes, and wrong ones never exceed the
cap. A code that is replaced takes its sending with it. Rows go an hour after their code's lifetime.
"""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from sqlalchemy import Connection, Select, delete, select, update

from models.batches import Batch, among, columns_of, upserting
from models.claims import cut_short
from models.group_commit import Transaction
from models.tables import codes

__all__ = [
    "OURS",
    "CheckElsewhere",
    "Guess",
    "NewCode",
    "Reason",
    "Verdict",
    "Verification",
    "checker_of",
    "hand_over",
    "insert_codes",
    "prune_codes",
    "write_guesses",
    "write_verdicts",
]

OURS = "ours"
"""``checked_by`` of a code that is made and checked here."""

_KEPT = dt.timedelta(hours=1)
"""After a code's lifetime: long enough to say ``expired`` instead of ``none``."""

Reason = Literal["wrong", "expired", "used", "too_many_attempts", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCode:
    """A code about to be sent.

    Attributes:
        place: From :meth:`~models.pseudonyms.Pseudonyms.code_place`; an older code there is
            replaced, whatever has become of it.
        digest: From :meth:`~models.pseudonyms.Pseudonyms.code`.
    """

    place: str
    subject: str
    job_id: str
    backend: str
    scene: str
    digest: str
    created_at: dt.datetime
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A code as somebody typed it.

    Attributes:
        digest: Gives the digest that the code would have under a job's id.
        id: Names this verification: repeated after a lost reply it passes again.
        cap: Guesses that a code allows.
    """

    place: str
    digest: Callable[[str], str]
    id: str
    cap: int
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What became of a guess; nothing else is told."""

    verified: bool
    attempts_left: int
    """0 unless another guess can still pass."""
    reason: Reason | None
    """None when it is verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckElsewhere:
    """The guess is counted, but the code was made by a provider, who is to be asked."""

    checked_by: str
    job_id: str
    attempts_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the provider said to a guess."""

    place: str
    job_id: str
    guess_id: str
    at: dt.datetime
    passed: bool
    attempts_left: int


def insert_codes(
    connection: Connection, new: Sequence[NewCode], *, open_ended: bool = False
) -> None:
    """Store codes, each in place of the older one, which is not sent any more.

    Args:
        open_ended: The transaction may take its time, so that nothing is locked in it for which a
            worker would wait: an older code that is being sent at this moment stays on its way.
    """
    if not new:
        return
    replaced = _replaced(connection, new)
    # The last one of a place; in one order everywhere, so that batches cannot lock each other out.
    live = {code.place: _row(code) for code in new}
    _STORE.execute(connection, [live[place] for place in sorted(live)])
    if replaced:
        now = max(code.created_at for code in new)
        cut_short(connection, replaced, now=now, claimed=not open_ended)


def _replaced(connection: Connection, new: Sequence[NewCode]) -> set[str]:
    """The jobs whose codes go."""
    places = sorted({code.place for code in new})
    rows = connection.execute(_standing(connection.dialect.name), {"places": places})
    live: dict[str, str] = {row.place: row.job_id for row in rows}
    seen = set(live.values()) | {code.job_id for code in new}
    live |= {code.place: code.job_id for code in new}
    return seen - set(live.values())


def write_guesses(
    transaction: Transaction, guesses: Sequence[Guess]
) -> list[Verification | CheckElsewhere]:
    """Judge guesses one after the other, as a group commit write."""
    connection = transaction.connection
    found = connection.execute(
        select(codes)
        .where(codes.c.place.in_({guess.place for guess in guesses}))
        .order_by(codes.c.place)
        .with_for_update()
    ).mappings()
    rows = {row["place"]: dict(row) for row in found}
    answers = [_judge(rows.get(guess.place), guess) for guess in guesses]
    for row in rows.values():
        connection.execute(
            update(codes)
            .where(codes.c.place == row["place"])
            .values(guesses=row["guesses"], used_at=row["used_at"], used_by=row["used_by"])
        )
    return answers


def write_verdicts(transaction: Transaction, verdicts: Sequence[Verdict]) -> list[Verification]:
    """Note what a provider said; of several guesses that it let pass, the first one counts."""
    return [_note(transaction.connection, verdict) for verdict in verdicts]


def hand_over(connection: Connection, job_id: str, checked_by: str) -> bool:
    """Say who checks the code that a job sends, before it is sent.

    Args:
        connection: A transaction that will write.
        job_id: The sending job.
        checked_by: :data:`OURS`, or a name that the verifying side knows.

    Returns:
        False when no live code hangs on the job: the backend brought its own, or a newer code
        has taken the place. Then nobody but the backend can check it.
    """
    changed = connection.execute(
        update(codes)
        .where(codes.c.job_id == job_id, codes.c.used_at.is_(None))
        .values(checked_by=checked_by)
    )
    return changed.rowcount > 0


def checker_of(connection: Connection, job_id: str) -> str | None:
    """Who checks the live code of a job; None when no code hangs on it (see :func:`hand_over`)."""
    return connection.scalar(
        select(codes.c.checked_by).where(codes.c.job_id == job_id, codes.c.used_at.is_(None))
    )


def prune_codes(connection: Connection, *, now: dt.datetime) -> int:
    """Forget codes whose lifetime has been over for an hour."""
    return connection.execute(delete(codes).where(codes.c.expires_at < now - _KEPT)).rowcount


@cache
def _standing(dialect: str) -> Select[Any]:
    standing = select(codes.c.place, codes.c.job_id)
    return standing.where(among(dialect, codes.c.place, "places"))


_STORE = Batch(
    columns_of(codes),
    lambda dialect, row: upserting(dialect, codes, row, [name for name in row if name != "place"]),
)


def _row(code: NewCode) -> dict[str, Any]:
    return {
        "place": code.place,
        "subject": code.subject,
        "job_id": code.job_id,
        "backend": code.backend,
        "scene": code.scene,
        "digest": code.digest,
        "created_at": code.created_at,
        "expires_at": code.expires_at,
        "checked_by": OURS,
        "guesses": 0,
        "used_at": None,
        "used_by": None,
    }


def _judge(row: dict[str, Any] | None, guess: Guess) -> Verification | CheckElsewhere:
    """One guess against its row, which is changed accordingly."""
    if row is None:
        return _refused("none")
    if row["used_at"] is not None:
        again = row["used_by"] == guess.id and _equal(row, guess)
        return _PASSED if again else _refused("used")
    if row["expires_at"] <= guess.at or row["guesses"] >= guess.cap:
        return _refused("expired" if row["expires_at"] <= guess.at else "too_many_attempts")
    row["guesses"] += 1
    left = guess.cap - row["guesses"]
    if row["checked_by"] != OURS:
        return CheckElsewhere(
            checked_by=row["checked_by"], job_id=row["job_id"], attempts_left=left
        )
    if not _equal(row, guess):
        return _refused("wrong", left)
    row["used_at"], row["used_by"] = guess.at, guess.id
    return _PASSED


def _equal(row: dict[str, Any], guess: Guess) -> bool:
    if row["checked_by"] != OURS:
        # The provider said yes to the guess of that id, and would not say so twice.
        return True
    return hmac.compare_digest(row["digest"], guess.digest(row["job_id"]))


def _note(connection: Connection, verdict: Verdict) -> Verification:
    if not verdict.passed:
        return _refused("wrong", verdict.attempts_left)
    mine = codes.c.place == verdict.place, codes.c.job_id == verdict.job_id
    used = connection.execute(
        update(codes)
        .where(*mine, codes.c.used_at.is_(None))
        .values(used_at=verdict.at, used_by=verdict.guess_id)
    ).rowcount
    if used:
        return _PASSED
    by = connection.scalar(select(codes.c.used_by).where(*mine))
    return _PASSED if by == verdict.guess_id else _refused("used" if by else "expired")


def _refused(reason: Reason, left: int = 0) -> Verification:
    return Verification(verified=False, attempts_left=left, reason=reason)


_PASSED = Verification(verified=True, attempts_left=0, reason=None)
