"""Somebody has codes sent to ever new phones: it becomes slow, is told once, and ends by itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import Engine

from models.allowances import list_alarms
from models.clock import utc_now
from models.errors import Throttled
from models.group_commit import GroupCommit
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from tasks.preparation import Preparation
from tests.workers.rows import KEYS, PSEUDONYM_KEY, a_code
from workers.dispatch import Dispatcher
from workers.limits import Shield
from workers.maintenance import Alarms, Pruner
from workers.service import JobService
from workers.settings import Settings
from workers.sms_limits import SmsLimits

BEGIN = utc_now()
MINUTE = dt.timedelta(minutes=1)


class Clock:
    """Time as the test tells it."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(engine: Engine, dispatcher: Dispatcher, clock: Clock) -> Iterator[JobService]:
    commits, pseudonyms = GroupCommit(engine), Pseudonyms(PSEUDONYM_KEY)
    preparation = Preparation(Sealer(engine, KEYS), pseudonyms, policy_version="2023-01-01")
    yield JobService(
        engine,
        commits,
        preparation,
        dispatcher,
        limits=SmsLimits.from_settings(Settings(), pseudonyms, clock=clock),
        shield=Shield(None),
    )
    commits.close()


def bomb(service: JobService, first: int, count: int, backend: str = "shop") -> int:
    """Ask for a code for each of some new phones; how many are accepted."""
    refusals = []
    for number in range(first, first + count):
        try:
            service.enqueue(a_code(f"164{number:08}"), backend=backend)
        except Throttled as refusal:
            refusals.append(refusal)
    assert {refusal.code for refusal in refusals} <= {"limit.alarm"}
    assert all(0 < (refusal.retry_after or 0) <= 60 for refusal in refusals)
    return count - len(refusals)


def test_a_night_of_bombing_comes_to_ten_texts_a_minute(
    service: JobService, engine: Engine, clock: Clock
) -> None:
    alarms = Alarms(engine, clock=clock)
    with structlog.testing.capture_logs() as told:
        # A quiet evening: nobody notices anything.
        assert bomb(service, 0, 30) == 30
        assert alarms.round() == 0
        clock.now += 11 * MINUTE
        # Then it begins: 40 new phones a minute.
        sent = 0
        for minute in range(10):
            sent += bomb(service, 1000 + 40 * minute, 40)
            clock.now += MINUTE
            alarms.round()
        assert sent == 100 + 8 * 10  # the threshold, then the pace
        # Somebody who had a code today gets another one all the same.
        service.enqueue(a_code("16400000000"), backend="shop")
        # Other backends go on as ever.
        assert bomb(service, 5000, 10, backend="forum") == 10
        with engine.connect() as connection:
            (alarm,) = list_alarms(connection, now=clock.now)
        assert alarm.scope == "backend:shop"
        assert alarm.refused == 10 * 40 - sent
        # Once nobody is refused for a quarter of an hour, it is over.
        clock.now += 13 * MINUTE
        assert alarms.round() == 0
        clock.now += 2 * MINUTE
        assert alarms.round() == 1
        assert bomb(service, 9000, 30) == 30
    raised = [line for line in told if line["event"] == "alarm.raised"]
    released = [line for line in told if line["event"] == "alarm.released"]
    assert [line["scope"] for line in raised] == ["backend:shop"]
    assert [(line["scope"], line["refused"]) for line in released] == [("backend:shop", 220)]


def test_several_backends_together_raise_the_alarm_of_all(
    service: JobService, engine: Engine, clock: Clock
) -> None:
    for number in range(4):
        bomb(service, 1000 * number, 90, backend=f"shop-{number}")
    with engine.connect() as connection:
        assert [alarm.scope for alarm in list_alarms(connection, now=clock.now)] == ["all"]


def test_what_was_counted_is_forgotten_after_a_day(
    service: JobService, engine: Engine, clock: Clock
) -> None:
    bomb(service, 0, 5)
    pruner = Pruner(engine, Sealer(engine, KEYS), clock=clock)
    clock.now += dt.timedelta(hours=23)
    pruner.round()
    clock.now += dt.timedelta(hours=2)
    assert pruner.round() >= 5 * 2
