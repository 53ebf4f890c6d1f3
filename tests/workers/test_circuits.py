"""A recipient that fails is left alone by all workers, and tried by one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from integrations.policy import load_policy
from models.audits import audits_of
from models.clock import utc_now
from models.database import writing
from models.disclosures import DisclosureResult, SendResult
from models.errors import WaitError
from models.group_commit import GroupCommit
from models.pauses import Scope, list_pauses, resume
from models.states import Event
from tasks.outcomes import Outcome
from workers.circuits import Circuits

SMS = ("aliyun_sms",)


class _Clock:
    def __init__(self) -> None:
        self.ahead = dt.timedelta(0)

    def __call__(self) -> dt.datetime:
        return utc_now() + self.ahead

    def turn(self, seconds: float) -> None:
        self.ahead += dt.timedelta(seconds=seconds)


@pytest.fixture
def commits(engine: Engine) -> Iterator[GroupCommit]:
    commits = GroupCommit(engine)
    yield commits
    commits.close()


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def two(engine: Engine, commits: GroupCommit, clock: _Clock) -> tuple[Circuits, Circuits]:
    """Two workers, who look at the database each time."""
    policy = load_policy()
    one, other = (Circuits(engine, commits, policy, moment=0.0, clock=clock) for _ in range(2))
    return one, other


def _result(result: SendResult, status: int | None = None) -> list[DisclosureResult]:
    return [
        DisclosureResult(
            disclosure_id="d" * 32,
            result=result,
            http_status=status,
            provider_code=None,
            provider_request_id=None,
            at=utc_now(),
            milliseconds=1.0,
        )
    ]


FAILURES = [
    _result(SendResult.UNSENT),
    _result(SendResult.UNKNOWN),
    _result(SendResult.ANSWERED, 503),
]
SUCCESS = _result(SendResult.ANSWERED, 200)


def _fail(worker: Circuits, times: int) -> None:
    for number in range(times):
        worker.note(SMS, FAILURES[number % len(FAILURES)])


def test_what_was_never_tried_says_nothing_of_the_recipient(two: tuple[Circuits, Circuits]) -> None:
    never = [replace(each, milliseconds=0.0) for each in _result(SendResult.UNSENT)]
    for _ in range(9):
        two[0].note(SMS, never)

    two[1].check(SMS)


def test_five_failures_in_a_row_make_every_worker_wait(two: tuple[Circuits, Circuits]) -> None:
    one, other = two
    _fail(one, 4)
    other.check(SMS)
    _fail(one, 1)
    for worker in two:
        with pytest.raises(WaitError) as waiting:
            worker.check(SMS)
        assert waiting.value.code == "recipient.resting"
        assert waiting.value.retry_after is not None


def test_a_success_in_between_begins_the_count_anew(two: tuple[Circuits, Circuits]) -> None:
    one, other = two
    _fail(one, 4)
    other.check(SMS)
    other.note(SMS, SUCCESS)
    _fail(one, 4)
    other.check(SMS)


def test_failures_far_apart_do_not_add_up(two: tuple[Circuits, Circuits], clock: _Clock) -> None:
    one, other = two
    for _ in range(10):
        _fail(one, 1)
        clock.turn(31)
    other.check(SMS)


def test_one_probe_at_a_time_and_its_success_closes(
    two: tuple[Circuits, Circuits], clock: _Clock
) -> None:
    one, other = two
    _fail(one, 5)
    clock.turn(6)
    one.check(SMS)
    with pytest.raises(WaitError):
        other.check(SMS)
    one.note(SMS, SUCCESS)
    other.check(SMS)
    _fail(one, 4)
    other.check(SMS)


def test_a_failed_probe_makes_the_rest_longer(
    two: tuple[Circuits, Circuits], clock: _Clock
) -> None:
    one, other = two
    _fail(one, 5)
    clock.turn(6)
    one.check(SMS)
    _fail(one, 1)
    clock.turn(6)
    with pytest.raises(WaitError):
        other.check(SMS)
    clock.turn(6)
    other.check(SMS)


def test_a_probe_that_never_comes_back_only_delays_the_next(
    two: tuple[Circuits, Circuits], clock: _Clock
) -> None:
    one, other = two
    _fail(one, 5)
    clock.turn(6)
    one.check(SMS)
    clock.turn(21)
    other.check(SMS)


def test_a_clock_that_is_put_back_does_not_make_a_rest_an_hour_longer(
    two: tuple[Circuits, Circuits], clock: _Clock
) -> None:
    one, other = two
    _fail(one, 5)
    clock.turn(-3600)
    one.check(SMS)
    with pytest.raises(WaitError):
        other.check(SMS)


def test_calls_that_were_under_way_when_it_opened_change_nothing(
    two: tuple[Circuits, Circuits], clock: _Clock
) -> None:
    one, other = two
    _fail(one, 50)
    clock.turn(6)
    other.check(SMS)


def test_a_stop_pauses_the_recipient_for_all_and_is_audited_once(
    two: tuple[Circuits, Circuits], engine: Engine, clock: _Clock
) -> None:
    one, other = two
    refused = Outcome(event=Event.FAIL, code="provider.account_refused", stops_recipient=True)
    one.stop(SMS, refused)
    other.stop(SMS, refused)
    with pytest.raises(WaitError) as waiting:
        other.check(SMS)
    assert waiting.value.code == "recipient.paused"
    with writing(engine) as connection:
        (pause,) = list_pauses(connection, now=clock())
        assert (pause.name, pause.reason, pause.until) == (
            "aliyun_sms",
            "provider.account_refused",
            None,
        )
        assert [audit.action for audit in audits_of(connection, "aliyun_sms")] == [
            "recipient.pause"
        ]
        assert resume(connection, Scope.RECIPIENT, "aliyun_sms", actor="a", reason="b", now=clock())
    other.check(SMS)


def test_a_resume_is_seen_at_once_by_a_worker_that_remembers_the_pause(
    engine: Engine, commits: GroupCommit, clock: _Clock
) -> None:
    worker = Circuits(engine, commits, load_policy(), moment=3600.0, clock=clock)
    worker.stop(SMS, Outcome(event=Event.FAIL, code="x", stops_recipient=True))
    with pytest.raises(WaitError):
        worker.check(SMS)
    with writing(engine) as connection:
        resume(connection, Scope.RECIPIENT, "aliyun_sms", actor="a", reason="b", now=clock())
    worker.check(SMS)


def test_a_stop_with_an_end_ends_by_itself(two: tuple[Circuits, Circuits], clock: _Clock) -> None:
    one, other = two
    quota = Outcome(
        event=Event.WAIT, code="provider.quota_spent", retry_after=60, stops_recipient=True
    )
    one.stop(SMS, quota)
    with pytest.raises(WaitError):
        other.check(SMS)
    clock.turn(61)
    other.check(SMS)
    one.stop(SMS, quota)
    with pytest.raises(WaitError):
        other.check(SMS)
