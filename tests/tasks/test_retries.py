"""Retries are spread, bounded in number and in time, and never sooner than a provider asks."""

from __future__ import annotations

import datetime as dt
import random

from hypothesis import given
from hypothesis import strategies as st

from tasks.registry import TASKS
from tasks.retries import RetryRule

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
RULE = RetryRule(attempts=6, base=2, cap=20)

attempts = st.integers(1, RULE.attempts - 1)
draws = st.integers().map(random.Random)


def _pause(
    rule: RetryRule, attempt: int, draw: random.Random, *, retry_after: float | None = None
) -> float:
    run_at = rule.next_run(attempt, NOW, draw=draw, retry_after=retry_after)
    assert run_at is not None
    return (run_at - NOW).total_seconds()


@given(attempts, draws)
def test_a_pause_is_drawn_from_all_that_doubles_with_each_attempt_up_to_the_cap(
    attempt: int, draw: random.Random
) -> None:
    assert 0 <= _pause(RULE, attempt, draw) <= min(20, 2**attempt)


def test_the_whole_range_is_used() -> None:
    draw = random.Random(7)
    pauses = [_pause(RULE, 3, draw) for _ in range(2000)]
    assert min(pauses) < 0.1
    assert max(pauses) > 7.9
    assert 3.8 < sum(pauses) / len(pauses) < 4.2


@given(attempts, draws, st.floats(0.1, 86_400))
def test_a_provider_that_names_a_time_is_not_asked_before_it_even_beyond_the_cap(
    attempt: int, draw: random.Random, retry_after: float
) -> None:
    assert _pause(RULE, attempt, draw, retry_after=retry_after) >= retry_after - 1e-5


@given(attempts, draws)
def test_a_rule_with_less_jitter_is_certain_of_the_rest(attempt: int, draw: random.Random) -> None:
    rule = RetryRule(attempts=6, base=2, cap=20, jitter=0.25)
    ceiling = min(20, 2**attempt)
    assert ceiling * 0.75 - 1e-5 <= _pause(rule, attempt, draw) <= ceiling


@given(st.integers(RULE.attempts, 100), draws)
def test_after_the_last_attempt_there_is_none(attempt: int, draw: random.Random) -> None:
    assert RULE.next_run(attempt, NOW, draw=draw) is None


@given(attempts, draws, st.floats(0, 100))
def test_nothing_is_tried_when_it_would_have_expired(
    attempt: int, draw: random.Random, lifetime: float
) -> None:
    expires_at = NOW + dt.timedelta(seconds=lifetime)
    run_at = RULE.next_run(attempt, NOW, draw=draw, expires_at=expires_at)
    assert run_at is None or run_at < expires_at
    assert RULE.next_run(attempt, NOW, retry_after=lifetime, expires_at=expires_at) is None


def test_every_kind_of_job_has_an_end_of_its_retries() -> None:
    for task in TASKS.values():
        assert 1 <= task.retry.attempts < 1000, task.kind
        assert task.retry.cap <= 24 * 3600, task.kind
