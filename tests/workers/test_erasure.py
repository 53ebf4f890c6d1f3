"""Whoever wants to be forgotten is, at once and on record; trying it changes nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from integrations.policy import load_policy
from models.errors import InvalidValue
from models.people import Forgotten
from models.pii import Phone
from models.pseudonyms import Pseudonyms
from models.states import State
from models.tables import audits, jobs
from tests.models.rows import all_rows
from tests.workers.rows import PSEUDONYM_KEY, a_code, store_job
from workers.erasure import Erasure

PHONE = "16400001234"
PERSON = Pseudonyms(PSEUDONYM_KEY).subject(Phone(PHONE))


@pytest.fixture
def erasure(engine: Engine) -> Erasure:
    return Erasure(engine, load_policy())


def _erase(erasure: Erasure, *, dry_run: bool = False) -> Forgotten:
    return erasure.erase(PERSON, actor="cli:me", reason="asked for on paper", dry_run=dry_run)


def test_what_waits_is_cancelled_and_forgotten_with_the_rest(
    engine: Engine, erasure: Erasure
) -> None:
    waiting, running = store_job(engine), store_job(engine, state=State.RUNNING)
    other = store_job(engine, payload=a_code("16400009999"))

    erased = _erase(erasure)
    assert (erased.forgotten, erased.kept, erased.unfinished) == ({"jobs": 1}, {}, 1)
    with engine.connect() as connection:
        assert set(connection.scalars(select(jobs.c.id))) == {running, other}
    cancelled, erasing = sorted(all_rows(engine, audits), key=lambda row: row.action)
    assert (cancelled.action, cancelled.target) == ("job.cancel", waiting)
    assert (erasing.action, erasing.actor, erasing.reason) == (
        "person.erase",
        "cli:me",
        "asked for on paper",
    )
    assert erasing.detail == {"forgotten": {"jobs": 1}, "kept": {}, "unfinished": 1}
    assert PERSON not in repr((cancelled, erasing))


def test_a_dry_run_tells_the_same_and_changes_nothing(engine: Engine, erasure: Erasure) -> None:
    store_job(engine)
    before = all_rows(engine, jobs)

    told = _erase(erasure, dry_run=True)
    assert (all_rows(engine, jobs), all_rows(engine, audits)) == (before, [])
    assert _erase(erasure) == told


def test_a_reason_is_needed_and_holds_nobodys_number(engine: Engine, erasure: Erasure) -> None:
    job_id = store_job(engine)
    for reason in ("", f"for {PHONE}"):
        with pytest.raises(InvalidValue):
            erasure.erase(PERSON, actor="cli:me", reason=reason)
    assert [row.id for row in all_rows(engine, jobs)] == [job_id]
