"""A rolling window never lets through more than its permits, whichever moment one picks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from models.allowances import Books, prune_limits, write_takes
from models.database import writing
from models.errors import InvalidValue, Throttled
from models.group_commit import GroupCommit
from models.limits import Demand, Rule, Take, Tally, parse_rules
from models.tables import limits
from tests.models.rows import NOW, SECOND, write

MINUTE = Rule(1, 60)
HOUR = Rule(5, 3600)


def a_take(*rules: Rule, at: dt.datetime = NOW, key: str = "k") -> Take:
    return Take(at=at, demands=(Demand(key, rules or (MINUTE, HOUR)),))


def take(engine: Engine, *takes: Take, repeated: bool = False) -> list[Throttled | None]:
    return write(engine, write_takes, *takes, repeated=repeated)


# What a rule is.


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("1/minute 5/hour 10/day", (Rule(1, 60), Rule(5, 3600), Rule(10, 86400))),
        ("100/10minutes", (Rule(100, 600),)),
        ("3/second", (Rule(3, 1),)),
        ("none", ()),
    ],
)
def test_rules_are_read_as_people_write_them(text: str, rules: tuple[Rule, ...]) -> None:
    assert parse_rules(text) == rules


@pytest.mark.parametrize("text", ["", "0/minute", "5", "5/week", "1/minute 2/minute", "1/8days"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_rules(text)


# The window.


@given(st.integers(101, 150), st.integers(1, 40))
def test_a_large_rule_rounds_towards_refusing(permits: int, step: int) -> None:
    _never_too_many(permits, 10, [step] * (permits + 10_000 // step))


@given(
    st.integers(1, 250),
    st.integers(1, 20),
    st.lists(st.integers(0, 4000), min_size=1, max_size=400),
)
def test_no_window_ever_holds_more_than_its_permits(
    permits: int, seconds: int, steps: list[int]
) -> None:
    _never_too_many(permits, seconds, steps)


def _never_too_many(permits: int, seconds: int, steps: list[int]) -> None:
    rule, tally, now = Rule(permits, seconds), Tally(), 1_000_000
    passed: list[int] = []
    for step in steps:
        now += step
        if tally.wait(rule, now) == 0:
            tally.add(rule, now)
            passed.append(now)
    for place, moment in enumerate(passed):
        # Of those that passed, the one so many places before lies outside the window.
        assert place < permits or passed[place - permits] <= moment - seconds * 1000


@given(st.integers(1, 100), st.lists(st.integers(0, 4000), min_size=1, max_size=200))
def test_a_small_rule_refuses_only_what_it_must(permits: int, steps: list[int]) -> None:
    rule, tally, now = Rule(permits, 10), Tally(), 1_000_000
    passed: list[int] = []
    for step in steps:
        now += step
        free = sum(now - 10_000 < other for other in passed) < permits
        wait = tally.wait(rule, now)
        assert (wait == 0) is free
        if free:
            tally.add(rule, now)
            passed.append(now)
        else:
            # It waits exactly as long as it must.
            assert tally.wait(rule, now + int(wait * 1000) - 1) > 0
            assert tally.wait(rule, now + round(wait * 1000)) == 0


def test_a_large_rule_keeps_a_hundred_stamps_however_often_it_is_used() -> None:
    rule, tally = Rule(100_000, 86_400), Tally()
    for number in range(20_000):
        tally.add(rule, number * 9_000)
    assert len(tally.slots["86400"]) <= 101


def test_what_is_given_back_can_be_taken_again() -> None:
    tally = Tally()
    tally.add(MINUTE, 5)
    tally.give_back(MINUTE, 5)
    assert tally.wait(MINUTE, 6) == 0


# In the database.


def test_all_rules_or_none_take_a_permit(engine: Engine) -> None:
    assert take(engine, a_take()) == [None]
    (refusal,) = take(engine, a_take(at=NOW + 20 * SECOND))
    assert refusal is not None
    assert refusal.retry_after == pytest.approx(40, abs=0.01)
    for number in range(1, 5):
        assert take(engine, a_take(at=NOW + number * 60 * SECOND)) == [None]
    # The minute has a permit, the hour has none; the refused one above took none of it.
    (refusal,) = take(engine, a_take(at=NOW + 300 * SECOND))
    assert refusal is not None
    assert refusal.retry_after == pytest.approx(3300, abs=0.01)
    assert take(engine, a_take(at=NOW + 3600 * SECOND)) == [None]


def test_one_key_without_a_permit_spares_the_other_keys(engine: Engine) -> None:
    take(engine, a_take(key="person"))
    both = Take(at=NOW, demands=(Demand("other", (MINUTE,)), Demand("person", (MINUTE,), "x")))
    (refusal,) = take(engine, both)
    assert refusal is not None
    assert (refusal.code, refusal.key) == ("x", "person")
    assert take(engine, a_take(MINUTE, key="other")) == [None]


def test_a_take_whose_commit_was_cut_off_counts_once(engine: Engine) -> None:
    assert take(engine, a_take(Rule(2, 60))) == [None]
    assert take(engine, a_take(Rule(2, 60)), repeated=True) == [None]
    assert take(engine, a_take(Rule(2, 60), at=NOW + SECOND)) == [None]


def test_a_take_waits_for_the_take_before_it(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    take(engine, a_take(MINUTE, at=NOW - 600 * SECOND))
    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as connection:
            books = Books(connection, [a_take(MINUTE)])
            other = another_engine()
            second = pool.submit(lambda: take(other, a_take(MINUTE)))
            with pytest.raises(TimeoutError):
                second.result(0.3)
            assert books.take(a_take(MINUTE)) is None
            books.close()
        assert isinstance(second.result()[0], Throttled)


def test_fifty_writers_let_exactly_the_cap_through(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    commits = [GroupCommit(engine), GroupCommit(another_engine())]

    def one(number: int) -> bool:
        try:
            commits[number % 2].run(write_takes, a_take(Rule(7, 60)))
        except Throttled:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        passed = sum(pool.map(one, range(300)))
    for commit in commits:
        commit.close()
    assert passed == 7


def test_keys_with_empty_windows_are_forgotten(engine: Engine) -> None:
    take(engine, a_take(MINUTE, key="old"), a_take(HOUR, key="new"))
    with writing(engine) as connection:
        assert prune_limits(connection, now=NOW + 120 * SECOND) == 1
        assert connection.scalars(select(limits.c.key)).all() == ["new"]
