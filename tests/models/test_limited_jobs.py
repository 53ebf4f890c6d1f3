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
from models.codes import NewCode
from models.database import writing
from models.errors import IdempotencyConflict, Throttled
from models.jobs import EnqueuedJob, insert_jobs
from models.limited_jobs import LimitedJob, write_limited_jobs
from models.limits import Demand, Rule, Take, Watch
from models.tables import codes, jobs
from tests.models.rows import NOW, SECOND, a_job, all_rows, write

ONE, DAY = Rule(1, 60), Rule(40, 86400)


def a_limited_job(
    phone: str = "p", *, at: dt.datetime = NOW, watches: tuple[Watch, ...] = (), **job: Any
) -> LimitedJob:
    take = Take(at=at, demands=(Demand(phone, (ONE, DAY), "x"),), person=phone, watches=watches)
    return LimitedJob(job=a_job(**job), take=take)


def with_code(item: LimitedJob) -> LimitedJob:
    code = NewCode(
        place="c" * 64,
        subject="5" * 64,
        job_id=item.job.id,
        backend="shop",
        scene="login",
        digest="d" * 64,
        created_at=NOW,
        expires_at=NOW + 300 * SECOND,
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
