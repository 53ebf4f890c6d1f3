"""After a pause nobody waits as if it had not ended."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import Engine

from models.clock import utc_now
from models.database import writing
from models.pauses import RECIPIENT_PAUSED, Pause, Scope, pause, resume
from models.states import State
from tests.workers.rows import read_job, store_job
from workers.maintenance import Resumer


def a_pause(engine: Engine, until: dt.datetime | None = None) -> None:
    wanted = Pause(
        scope=Scope.RECIPIENT,
        name="aliyun_sms",
        since=utc_now(),
        until=until,
        actor="test",
        reason="unpaid",
    )
    with writing(engine) as connection:
        assert pause(connection, wanted)


def turned_away(engine: Engine, seconds: float, reason: str = RECIPIENT_PAUSED) -> str:
    """A job that a worker hands back, whenever it comes to do so."""
    run_at = utc_now() + dt.timedelta(seconds=seconds)
    return store_job(engine, run_at=run_at, state=State.RETRYING, reason=reason)


def end(engine: Engine) -> None:
    with writing(engine) as connection:
        assert resume(
            connection, Scope.RECIPIENT, "aliyun_sms", actor="test", reason="paid", now=utc_now()
        )


def waits(engine: Engine, job_id: str) -> float:
    seconds: float = (read_job(engine, job_id).run_at - utc_now()).total_seconds()
    return seconds


def test_what_was_turned_away_before_the_end_and_handed_back_after_it_is_tried_at_once(
    engine: Engine,
) -> None:
    a_pause(engine)
    resumer = Resumer(engine)
    assert resumer.round() == 0
    early = turned_away(engine, 36)
    end(engine)
    late = turned_away(engine, 36)
    assert waits(engine, early) <= 0
    assert waits(engine, late) > 30
    assert resumer.round() == 1
    assert waits(engine, late) <= 0
    later_still = turned_away(engine, 36)
    assert resumer.round() == 1
    assert waits(engine, later_still) <= 0


def test_while_a_recipient_is_paused_and_long_after_nothing_is_moved(engine: Engine) -> None:
    resumer = Resumer(engine)
    a_pause(engine)
    job_id = turned_away(engine, 36)
    assert [resumer.round() for _ in range(3)] == [0, 0, 0]
    end(engine)
    assert [resumer.round() for _ in range(3)] == [0, 0, 0], "the resume itself has moved it"
    job_id = turned_away(engine, 36)
    assert resumer.round() == 0
    assert waits(engine, job_id) > 30


@pytest.mark.parametrize(("seconds", "reason"), [(5, RECIPIENT_PAUSED), (36, "provider.throttled")])
def test_what_waits_for_something_else_or_comes_back_spread_out_is_left(
    engine: Engine, seconds: float, reason: str
) -> None:
    resumer = Resumer(engine)
    a_pause(engine, until=utc_now() + dt.timedelta(seconds=0.2))
    resumer.round()
    job_id = turned_away(engine, seconds, reason)
    resumer._clock = lambda: utc_now() + dt.timedelta(seconds=1)
    assert resumer.round() == 0
    assert waits(engine, job_id) > 0
