"""Job, permits and code stand or fall together, and alarms let newcomers in slowly."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from models.allowances import announce_alarms, list_alarms, release_alarms
from models.audits import audits_of
from models.codes import NewCode, insert_codes
from models.database import writing
from models.errors import IdempotencyConflict, Throttled
from models.jobs import EnqueuedJob, insert_jobs
from models.ledger import LedgerWriter
from models.limited_jobs import LimitedJob, write_limited_jobs
from models.limits import Demand, Rule, Take, Watch
from models.states import Event, State
from models.tables import codes, jobs
from tests.models.rows import (
    KEY,
    NOW,
    SECOND,
    a_job,
    a_settlement,
    all_rows,
    change_job,
    claim,
    job_row,
    write,
)

ONE, DAY = Rule(1, 60), Rule(40, 86400)


def a_limited_job(
    phone: str = "p", *, at: dt.datetime = NOW, watches: tuple[Watch, ...] = (), **job: Any
) -> LimitedJob:
    take = Take(at=at, demands=(Demand(phone, (ONE, DAY), "x"),), person=phone, watches=watches)
    return LimitedJob(job=a_job(**job), take=take)


def with_code(item: LimitedJob, *, at: dt.datetime = NOW, place: str = "c" * 64) -> LimitedJob:
    code = NewCode(
        place=place,
        subject="5" * 64,
        job_id=item.job.id,
        backend="shop",
        scene="login",
        digest="d" * 64,
        created_at=at,
        expires_at=at + 300 * SECOND,
    )
    return replace(item, code=code)


def accept(engine: Engine, *items: LimitedJob, repeated: bool = False) -> list[Any]:
    return write(engine, write_limited_jobs, *items, repeated=repeated)


def test_what_is_refused_leaves_nothing_behind(engine: Engine) -> None:
    first, second = with_code(a_limited_job()), with_code(a_limited_job())
    accepted, refusal = accept(engine, first, second)
    assert isinstance(accepted, EnqueuedJob)
    assert isinstance(refusal, Throttled)
    assert [row.id for row in all_rows(engine, jobs)] == [first.job.id]
    assert [row.job_id for row in all_rows(engine, codes)] == [first.job.id]


def test_the_same_key_again_is_the_same_job_and_costs_nothing(engine: Engine) -> None:
    first, again = a_limited_job(idempotency="k"), a_limited_job(idempotency="k")
    answers = accept(engine, first, again)
    later = accept(engine, a_limited_job(idempotency="k"))
    assert [answer.id for answer in (*answers, *later)] == [first.job.id] * 3
    assert [answer.created for answer in (*answers, *later)] == [True, False, False]
    assert accept(engine, a_limited_job(at=NOW + 60 * SECOND, idempotency="other"))[0].created


def test_a_repetition_in_one_batch_with_its_refused_first_is_refused_too(engine: Engine) -> None:
    accept(engine, a_limited_job())
    answers = accept(engine, a_limited_job(idempotency="k"), a_limited_job(idempotency="k"))
    assert all(isinstance(answer, Throttled) for answer in answers)


def test_a_conflict_costs_nothing(engine: Engine) -> None:
    accept(engine, a_limited_job("p", idempotency="k"))
    (conflict,) = accept(engine, a_limited_job("q", idempotency="k", fingerprint="0" * 64))
    assert isinstance(conflict, IdempotencyConflict)
    assert isinstance(accept(engine, a_limited_job("q"))[0], EnqueuedJob)


def test_a_job_that_was_stored_meanwhile_costs_nothing(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    item = a_limited_job("q", idempotency="k")
    other = another_engine()
    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as connection:  # a backend's own transaction
            insert_jobs(connection, [a_job(idempotency="k")])
            later = pool.submit(lambda: accept(other, item))
            with pytest.raises(TimeoutError):
                later.result(0.3)
        assert not later.result()[0].created
    assert isinstance(accept(engine, a_limited_job("q"))[0], EnqueuedJob)


# Codes that are replaced.

LATER = NOW + 61 * SECOND


def replace_code(engine: Engine) -> str:
    """A newer code for the same place."""
    (newer,) = accept(engine, with_code(a_limited_job(at=LATER), at=LATER))
    assert newer.created
    return str(newer.id)


@pytest.mark.parametrize("state", [State.QUEUED, State.RETRYING, State.SCHEDULED])
def test_a_waiting_text_is_over_when_a_newer_code_replaces_its_own(
    engine: Engine, state: State
) -> None:
    older = with_code(a_limited_job())
    accept(engine, older)
    change_job(engine, older.job.id, state=state)
    newer = replace_code(engine)
    row = job_row(engine, older.job.id)
    assert (row.state, row.sealed) == (State.EXPIRED, None)
    assert claim(engine, older.job.id, at=LATER) is None
    assert claim(engine, newer, at=LATER) is not None


def test_a_text_that_cannot_be_sent_yet_is_not_tried_again_after_its_code(engine: Engine) -> None:
    older = with_code(a_limited_job())
    accept(engine, older)
    held = claim(engine, older.job.id)
    assert held is not None
    replace_code(engine)
    assert job_row(engine, older.job.id).state == State.RUNNING
    retried = a_settlement(held, Event.RETRY, run_at=LATER, at=LATER)
    write(engine, LedgerWriter(KEY).write_settlements, retried)
    assert claim(engine, older.job.id, at=LATER) is None
    assert job_row(engine, older.job.id).state == State.EXPIRED


def test_a_text_that_failed_stays_failed_and_is_never_replayed_after_its_code(
    engine: Engine,
) -> None:
    older = with_code(a_limited_job())
    accept(engine, older)
    change_job(engine, older.job.id, state=State.FAILED)
    replace_code(engine)
    row = job_row(engine, older.job.id)
    assert (row.state, row.expires_at) == (State.FAILED, LATER)


def test_what_was_sent_is_not_touched(engine: Engine) -> None:
    older = with_code(a_limited_job())
    accept(engine, older)
    change_job(engine, older.job.id, state=State.SUCCEEDED)
    before = job_row(engine, older.job.id)
    replace_code(engine)
    assert job_row(engine, older.job.id) == before


def test_of_two_codes_in_one_batch_the_last_one_is_sent(engine: Engine) -> None:
    items = with_code(a_limited_job("p")), with_code(a_limited_job("q"))
    for repeated in (False, True):
        accept(engine, *items, repeated=repeated)
        states = [job_row(engine, item.job.id).state for item in items]
        assert states == [State.EXPIRED, State.QUEUED]


def test_nobody_waits_for_a_worker_that_is_settling_the_older_text(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time, whoever it is")
    older = with_code(a_limited_job())
    accept(engine, older)
    other = another_engine()
    with writing(other) as connection:
        connection.execute(jobs.update().where(jobs.c.id == older.job.id).values(attempts=1))
        replace_code(engine)


def test_a_transaction_that_may_take_its_time_leaves_alone_what_a_worker_holds(
    engine: Engine,
) -> None:
    running, waiting = (with_code(a_limited_job(phone), place=phone) for phone in "pq")
    accept(engine, running, waiting)
    claim(engine, running.job.id)
    before = job_row(engine, running.job.id)
    newer = [with_code(a_limited_job(), at=LATER, place=place).code for place in "pq"]
    with writing(engine) as connection:
        insert_codes(connection, [code for code in newer if code], open_ended=True)
    assert job_row(engine, running.job.id) == before
    assert job_row(engine, waiting.job.id).state == State.EXPIRED


def test_a_batch_whose_commit_was_cut_off_stands_as_it_was(engine: Engine) -> None:
    items = with_code(a_limited_job()), a_limited_job("q", idempotency="k")
    first = accept(engine, *items)
    again = accept(engine, *items, repeated=True)
    assert [answer.id for answer in again] == [answer.id for answer in first]
    assert len(all_rows(engine, jobs)) == 2


# Alarms.


def watches(threshold: int = 3, pace: int = 1) -> tuple[Watch, ...]:
    return tuple(
        Watch(
            scope=scope,
            key=f"new {scope}",
            threshold=Rule(threshold, 600),
            pace_key=f"pace {scope}",
            pace=Rule(pace, 60),
            hold=900,
        )
        for scope in ("backend:shop", "all")
    )


def newcomers(engine: Engine, start: int, count: int, at: dt.datetime = NOW) -> int:
    """How many of some new phones are let in."""
    items = [a_limited_job(f"phone {start + n}", at=at, watches=watches()) for n in range(count)]
    return sum(isinstance(answer, EnqueuedJob) for answer in accept(engine, *items))


def alarms_at(engine: Engine, at: dt.datetime) -> list[str]:
    with engine.connect() as connection:
        return [alarm.scope for alarm in list_alarms(connection, now=at)]


def test_up_to_the_threshold_nobody_notices(engine: Engine) -> None:
    assert newcomers(engine, 0, 3) == 3
    assert alarms_at(engine, NOW) == []


def test_beyond_it_newcomers_are_let_in_slowly(engine: Engine) -> None:
    assert newcomers(engine, 0, 10) == 3 + 1
    assert alarms_at(engine, NOW) == ["all", "backend:shop"]
    assert newcomers(engine, 10, 10, NOW + 60 * SECOND) == 1
    (refusal,) = accept(engine, a_limited_job("phone 30", at=NOW + 70 * SECOND, watches=watches()))
    assert refusal.code == "limit.alarm"
    assert refusal.retry_after == pytest.approx(50, abs=0.01)


def test_phones_that_are_known_come_through_an_alarm(engine: Engine) -> None:
    newcomers(engine, 0, 10)
    items = [
        a_limited_job(f"phone {number}", at=NOW + 61 * SECOND, watches=watches())
        for number in (0, 98, 99)
    ]
    # The second takes the minute's one permit for strangers.
    answers = accept(engine, *items)
    assert [isinstance(answer, EnqueuedJob) for answer in answers] == [True, True, False]


def test_an_alarm_is_told_once_and_ends_by_itself(engine: Engine) -> None:
    newcomers(engine, 0, 10)
    with writing(engine) as connection:
        assert {alarm.scope for alarm in announce_alarms(connection)} == {"all", "backend:shop"}
        assert announce_alarms(connection) == []
    # Somebody is still refused after ten minutes, so it goes on without being told again.
    newcomers(engine, 20, 5, NOW + 600 * SECOND)
    with writing(engine) as connection:
        assert announce_alarms(connection) == []
        assert release_alarms(connection, now=NOW + 1499 * SECOND) == []
        over = release_alarms(connection, now=NOW + 1500 * SECOND)
        assert {alarm.scope for alarm in over} == {"all", "backend:shop"}
        told = [audit.action for audit in audits_of(connection, "backend:shop")]
    assert told == ["alarm.raise", "alarm.release"]
    assert newcomers(engine, 40, 3, NOW + 1501 * SECOND) == 3


def test_an_alarm_in_place_of_one_that_nobody_released_is_told_anew(engine: Engine) -> None:
    newcomers(engine, 0, 10)
    with writing(engine) as connection:
        announce_alarms(connection)
    assert newcomers(engine, 20, 10, NOW + 2000 * SECOND) == 3 + 1
    with writing(engine) as connection:
        assert len(announce_alarms(connection)) == 2
