"""Jobs of one lane are done one after the other, in the order in which they were stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select

from models.database import writing
from models.jobs import insert_jobs
from models.lanes import run_at_of_earlier
from models.states import SETTLED, State
from models.tables import jobs
from tests.models.rows import NOW, SECOND, a_job, change_job, store

LANE = "endpoint/order-1"


def _earlier(engine: Engine, job_id: str) -> object:
    with engine.connect() as connection:
        return run_at_of_earlier(connection, job_id)


def test_the_first_of_a_lane_waits_for_nobody_and_the_others_for_the_first(engine: Engine) -> None:
    first, second, third = store(engine, *(a_job(lane=LANE) for _ in range(3)))
    assert _earlier(engine, first) is None
    assert _earlier(engine, second) == _earlier(engine, third) == NOW


def test_what_is_stored_later_stands_later_whatever_its_id_says(engine: Engine) -> None:
    (first,) = store(engine, a_job(id="f" * 32, lane=LANE))
    (second,) = store(engine, a_job(id="0" * 32, lane=LANE))
    assert _earlier(engine, first) is None
    assert _earlier(engine, second) is not None


def test_lanes_do_not_wait_for_each_other_and_most_jobs_have_none(engine: Engine) -> None:
    store(engine, a_job(lane=LANE), a_job())
    for other in (a_job(lane="endpoint/order-2"), a_job()):
        assert _earlier(engine, store(engine, other)[0]) is None


def test_one_waits_until_the_earlier_one_is_due_again(engine: Engine) -> None:
    first, second = store(engine, a_job(lane=LANE), a_job(lane=LANE))
    change_job(engine, first, state=State.RETRYING, run_at=NOW + 3600 * SECOND)
    assert _earlier(engine, second) == NOW + 3600 * SECOND


@pytest.mark.parametrize("state", SETTLED - {State.UNKNOWN})
def test_what_is_over_blocks_nobody_also_when_it_failed(engine: Engine, state: State) -> None:
    first, second = store(engine, a_job(lane=LANE), a_job(lane=LANE))
    change_job(engine, first, state=state)
    assert _earlier(engine, second) is None


def test_an_unknown_outcome_blocks_for_as_long_as_it_can_be_done_again(engine: Engine) -> None:
    first, second = store(engine, a_job(lane=LANE), a_job(lane=LANE))
    change_job(engine, first, state=State.UNKNOWN)
    assert _earlier(engine, second) is not None
    change_job(engine, first, sealed=None)
    assert _earlier(engine, second) is None


def test_positions_are_given_out_in_the_order_of_commits(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    """The second transaction cannot even store its job before the first has ended."""
    other = another_engine()
    order: list[str] = []
    begun = threading.Event()

    def second() -> None:
        begun.wait()
        with writing(other) as connection:
            insert_jobs(connection, [a_job(id="2" * 32, lane=LANE)])
            order.append("second stored")

    with ThreadPoolExecutor() as pool:
        with writing(engine) as connection:
            insert_jobs(connection, [a_job(id="1" * 32, lane=LANE)])
            running = pool.submit(second)
            begun.set()
            time.sleep(0.1)
            order.append("first about to commit")
        running.result()
    assert order == ["first about to commit", "second stored"]
    assert _earlier(engine, "1" * 32) is None
    assert _earlier(engine, "2" * 32) is not None


def test_many_at_once_get_a_position_each(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    engines = [engine, another_engine(), another_engine()]
    with ThreadPoolExecutor(6) as pool:
        list(
            pool.map(lambda n: store(engines[n % 3], a_job(lane=LANE), a_job(lane="b")), range(12))
        )
    with engine.connect() as connection:
        positions = connection.scalars(select(jobs.c.position).where(jobs.c.lane == LANE)).all()
    assert sorted(positions) == list(range(1, 13))
