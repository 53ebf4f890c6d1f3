"""A code passes once, for its phone, scene and backend, and allows few guesses."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from models.codes import (
    OURS,
    CheckElsewhere,
    Guess,
    NewCode,
    Verdict,
    Verification,
    checker_of,
    hand_over,
    insert_codes,
    prune_codes,
    write_guesses,
    write_verdicts,
)
from models.database import writing
from models.group_commit import GroupCommit, Transaction
from models.tables import codes
from tests.models.rows import NOW, SECOND, all_rows, write

PLACE = "p" * 64
JOB = "1" * 32
LIFETIME = 300 * SECOND


def digest(text: str, job_id: str = JOB) -> str:
    return hashlib.sha256(f"{job_id}{text}".encode()).hexdigest()


def issue(engine: Engine, text: str = "246810", **changes: Any) -> None:
    job_id = changes.get("job_id", JOB)
    fields: dict[str, Any] = {
        "place": PLACE,
        "subject": "5" * 64,
        "job_id": job_id,
        "backend": "shop",
        "scene": "login",
        "digest": digest(text, job_id),
        "created_at": NOW,
        "expires_at": NOW + LIFETIME,
    }
    with writing(engine) as connection:
        insert_codes(connection, [NewCode(**fields | changes)])


def a_guess(
    text: str = "246810",
    *,
    name: str = "g",
    at: dt.datetime = NOW,
    cap: int = 5,
    place: str = PLACE,
) -> Guess:
    return Guess(place=place, digest=lambda job_id: digest(text, job_id), id=name, cap=cap, at=at)


def guess(engine: Engine, *guesses: Guess, repeated: bool = False) -> list[Any]:
    return write(engine, write_guesses, *guesses, repeated=repeated)


def refused(reason: str, left: int = 0) -> Verification:
    return Verification(verified=False, attempts_left=left, reason=reason)  # type: ignore[arg-type]


PASSED = Verification(verified=True, attempts_left=0, reason=None)


def test_the_right_code_passes_once(engine: Engine) -> None:
    issue(engine)
    assert guess(engine, a_guess()) == [PASSED]
    assert guess(engine, a_guess(name="another")) == [refused("used")]


def test_whoever_lost_the_reply_passes_again_under_the_same_name(engine: Engine) -> None:
    issue(engine)
    assert guess(engine, a_guess(name="mine")) == [PASSED]
    assert guess(engine, a_guess(name="mine")) == [PASSED]
    assert guess(engine, a_guess("000000", name="mine")) == [refused("used")]


def test_wrong_guesses_count_down_and_then_even_the_right_one_fails(engine: Engine) -> None:
    issue(engine)
    for left in (2, 1, 0):
        assert guess(engine, a_guess("000000", cap=3)) == [refused("wrong", left)]
    assert guess(engine, a_guess(cap=3)) == [refused("too_many_attempts")]


def test_a_code_is_over_with_its_lifetime_whatever_became_of_its_job(engine: Engine) -> None:
    issue(engine)
    assert guess(engine, a_guess(at=NOW + LIFETIME)) == [refused("expired")]
    assert guess(engine, a_guess(at=NOW + LIFETIME - SECOND)) == [PASSED]


def test_elsewhere_there_is_no_code(engine: Engine) -> None:
    issue(engine)
    assert guess(engine, a_guess(place="q" * 64)) == [refused("none")]


def test_a_new_code_takes_the_place_of_the_older_with_all_its_guesses(engine: Engine) -> None:
    issue(engine)
    guess(engine, a_guess("000000"))
    issue(engine, "135791", job_id="2" * 32)
    assert guess(engine, a_guess("246810")) == [refused("wrong", 4)]
    assert guess(engine, a_guess("135791")) == [PASSED]


def test_the_same_code_of_another_sending_has_another_digest(engine: Engine) -> None:
    issue(engine)
    (first,) = all_rows(engine, codes)
    issue(engine, job_id="2" * 32)
    (second,) = all_rows(engine, codes)
    assert first.digest != second.digest


def test_a_guess_waits_for_the_guess_before_it(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    issue(engine)
    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as connection:
            first = write_guesses(Transaction(connection), [a_guess(name="first")])
            other = another_engine()
            second = pool.submit(lambda: guess(other, a_guess(name="second")))
            with pytest.raises(TimeoutError):
                second.result(0.3)
        assert (first, second.result()) == ([PASSED], [refused("used")])


@pytest.mark.parametrize("round_number", range(3))
def test_of_fifty_right_guesses_at_once_exactly_one_passes(
    engine: Engine, another_engine: Callable[[], Engine], round_number: int
) -> None:
    issue(engine)
    commits = [GroupCommit(engine), GroupCommit(another_engine())]

    def one(number: int) -> bool:
        answer = commits[number % 2].run(write_guesses, a_guess(name=str(number), cap=50))
        return isinstance(answer, Verification) and answer.verified

    with ThreadPoolExecutor(50) as pool:
        passed = sum(pool.map(one, range(50)))
    for commit in commits:
        commit.close()
    assert passed == 1


def test_wrong_guesses_at_once_never_exceed_the_cap(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    issue(engine)
    commits = [GroupCommit(engine), GroupCommit(another_engine())]

    def one(number: int) -> str | None:
        answer = commits[number % 2].run(write_guesses, a_guess("000000", name=str(number)))
        assert isinstance(answer, Verification)
        return answer.reason

    with ThreadPoolExecutor(50) as pool:
        reasons = list(pool.map(one, range(50)))
    for commit in commits:
        commit.close()
    assert (reasons.count("wrong"), reasons.count("too_many_attempts")) == (5, 45)


def test_a_guess_whose_commit_was_cut_off_passes_all_the_same(engine: Engine) -> None:
    issue(engine)
    assert guess(engine, a_guess()) == [PASSED]
    assert guess(engine, a_guess(), repeated=True) == [PASSED]


def test_codes_are_forgotten_an_hour_after_their_lifetime(engine: Engine) -> None:
    issue(engine)
    with writing(engine) as connection:
        assert prune_codes(connection, now=NOW + LIFETIME + 3600 * SECOND) == 0
        assert prune_codes(connection, now=NOW + LIFETIME + 3601 * SECOND) == 1
    assert guess(engine, a_guess()) == [refused("none")]


# Codes that a provider makes.


def elsewhere(engine: Engine) -> None:
    issue(engine)
    with writing(engine) as connection:
        assert checker_of(connection, JOB) == OURS
        assert hand_over(connection, JOB, "aliyun_number_auth")
        assert checker_of(connection, JOB) == "aliyun_number_auth"


def verdict(engine: Engine, *, passed: bool, name: str = "g") -> Verification:
    said = Verdict(place=PLACE, job_id=JOB, guess_id=name, at=NOW, passed=passed, attempts_left=3)
    return write(engine, write_verdicts, said)[0]


def test_a_code_that_was_handed_over_is_counted_here_and_judged_there(engine: Engine) -> None:
    elsewhere(engine)
    assert guess(engine, a_guess("999999")) == [
        CheckElsewhere(checked_by="aliyun_number_auth", job_id=JOB, attempts_left=4)
    ]
    assert verdict(engine, passed=False) == refused("wrong", 3)
    assert verdict(engine, passed=True) == PASSED
    assert verdict(engine, passed=True, name="another") == refused("used")
    assert guess(engine, a_guess(name="another")) == [refused("used")]
    assert guess(engine, a_guess(name="g")) == [PASSED]


def test_our_own_code_never_passes_where_the_provider_made_another(engine: Engine) -> None:
    elsewhere(engine)
    (answer,) = guess(engine, a_guess("246810"))
    assert isinstance(answer, CheckElsewhere)


def test_a_code_that_was_taken_back_is_judged_here_again(engine: Engine) -> None:
    elsewhere(engine)
    with writing(engine) as connection:
        assert hand_over(connection, JOB, OURS)
    assert guess(engine, a_guess()) == [PASSED]


def test_nothing_is_handed_over_that_a_newer_code_has_replaced(engine: Engine) -> None:
    issue(engine)
    issue(engine, job_id="2" * 32)
    with writing(engine) as connection:
        assert not hand_over(connection, JOB, "aliyun_number_auth")
        assert checker_of(connection, JOB) is None
