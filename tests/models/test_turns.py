"""Of several jobs about one person, one at a time may ask."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy import Engine

from models.claims import Claim
from models.database import writing
from models.errors import ClaimLost
from models.ledger import LedgerWriter
from models.states import Event, State
from models.turns import take_turn
from tests.models.rows import KEY, a_settlement, change_job, claim, claim_new, write

PERSON = "5" * 64
KINDS = ("identity_check", "face_verification")


def _claimed(engine: Engine, kind: str = "identity_check", subject: str = PERSON) -> Claim:
    return claim_new(engine, kind=kind, subject=subject)


def _take(engine: Engine, claimed: Claim) -> bool:
    with writing(engine) as connection:
        return take_turn(
            connection,
            claimed.job_id,
            fence=claimed.fence,
            subject=claimed.subject or "",
            kinds=KINDS,
        )


def test_one_has_it_and_keeps_it_and_the_others_wait(engine: Engine) -> None:
    first, second = _claimed(engine), _claimed(engine, "face_verification")
    assert [_take(engine, first), _take(engine, second), _take(engine, first)] == [
        True,
        False,
        True,
    ]


def test_other_people_and_other_kinds_wait_for_nobody(engine: Engine) -> None:
    assert _take(engine, _claimed(engine))
    assert _take(engine, _claimed(engine, subject="6" * 64))
    other = _claimed(engine, "push")
    with writing(engine) as connection:
        assert take_turn(
            connection, other.job_id, fence=other.fence, subject=PERSON, kinds=("push",)
        )


@pytest.mark.parametrize("event", [Event.SUCCEED, Event.FAIL, Event.LOSE, Event.RETRY, Event.WAIT])
def test_it_is_over_with_the_settle_whatever_that_is(engine: Engine, event: Event) -> None:
    first, second = _claimed(engine), _claimed(engine)
    assert _take(engine, first)
    settlement = a_settlement(first, event, run_at=first.claimed_at)
    assert write(engine, LedgerWriter(KEY).write_settlements, settlement) == [True]
    assert _take(engine, second)


def test_a_later_claim_of_the_same_job_has_to_take_it_anew(engine: Engine) -> None:
    first, second = _claimed(engine), _claimed(engine)
    assert _take(engine, first)
    change_job(engine, first.job_id, state=State.QUEUED)
    again = claim(engine, first.job_id)
    assert again is not None
    assert _take(engine, second)
    assert not _take(engine, again)


def test_a_worker_that_was_thought_dead_gets_none(engine: Engine) -> None:
    old = _claimed(engine)
    change_job(engine, old.job_id, state=State.QUEUED)
    assert claim(engine, old.job_id, "b" * 32) is not None
    with pytest.raises(ClaimLost):
        _take(engine, old)


def test_who_comes_while_it_is_being_taken_waits_and_then_sees_that_it_is_taken(
    engine: Engine,
) -> None:
    first, second = _claimed(engine), _claimed(engine)
    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as connection:
            assert take_turn(
                connection, first.job_id, fence=first.fence, subject=PERSON, kinds=KINDS
            )
            asked = pool.submit(_take, engine, second)
            assert not wait([asked], timeout=0.5).done
        assert asked.result() is False
