"""What one attempt came to: who may say so, and what is then remembered."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from models.audits import Audit, write_audits
from models.claims import Claim
from models.database import writing
from models.disclosures import Disclosure, SendResult
from models.errors import ZjjError
from models.group_commit import GroupCommit, WriteApart
from models.jobs import find_job
from models.ledger import LedgerWriter, verify_ledger
from models.reconciliation import Answer, claim_question, settle_answers
from models.settlement import Settlement, StaleChange, open_disclosures
from models.states import SETTLED, TRANSITIONS, Event, State
from models.tables import attempts, audits, disclosure_results, jobs
from tests.models.rows import (
    KEY,
    NOW,
    SECOND,
    a_disclosure,
    a_job,
    a_result,
    a_settlement,
    all_rows,
    change_job,
    claim,
    claim_new,
    job_row,
    state_of,
    store,
    write,
)

OUTCOMES = [event for (state, event) in TRANSITIONS if state is State.RUNNING]
LATER = NOW + 10 * SECOND


def _settle(engine: Engine, ledger: LedgerWriter, settlement: Settlement) -> bool:
    return write(engine, ledger.write_settlements, settlement)[0] is True


def _rescue(claimed: Claim, event: Event, **changes: Any) -> Settlement:
    return a_settlement(
        claimed, event, rescued=True, code="worker.lost", at=NOW + SECOND, **changes
    )


@pytest.mark.parametrize("event", OUTCOMES)
def test_an_outcome_settles_the_job_and_its_attempt(
    engine: Engine, ledger: LedgerWriter, event: Event
) -> None:
    claimed = claim_new(engine)
    settlement = a_settlement(
        claimed,
        event,
        at=LATER,
        code="some.reason",
        provider_code="isv.SOMETHING",
        result={"biz_id": "1^2"},
        run_at=LATER + SECOND if event in {Event.RETRY, Event.WAIT} else None,
    )
    assert _settle(engine, ledger, settlement)
    row = job_row(engine, claimed.job_id)
    assert State(row.state) is TRANSITIONS[State.RUNNING, event]
    assert (row.reason, row.provider_code) == ("some.reason", "isv.SOMETHING")
    assert (row.result, row.claimed_by, row.claims) == ({"biz_id": "1^2"}, None, 0)
    assert row.updated_at == LATER
    assert row.settled_at == (LATER if State(row.state) in SETTLED else None)
    assert row.run_at == (settlement.run_at or NOW)
    (attempt,) = all_rows(engine, attempts)
    assert attempt._asdict() == {
        "job_id": claimed.job_id,
        "fence": 1,
        "number": 1,
        "worker_id": "a" * 32,
        "started_at": NOW,
        "ended_at": LATER,
        "event": event,
        "counted": event is not Event.WAIT,
        "code": "some.reason",
        "provider_code": "isv.SOMETHING",
        "milliseconds": 20.0,
    }


@pytest.mark.parametrize(
    ("event", "erased"),
    [
        (Event.SUCCEED, True),
        (Event.EXPIRE, True),
        (Event.FAIL, False),
        (Event.LOSE, False),
        (Event.RETRY, False),
        (Event.WAIT, False),
    ],
)
def test_the_payload_goes_when_nobody_needs_it_any_more(
    engine: Engine, ledger: LedgerWriter, event: Event, erased: bool
) -> None:
    claimed = claim_new(engine)
    _settle(engine, ledger, a_settlement(claimed, event))
    assert (job_row(engine, claimed.job_id).sealed is None) == erased


def test_waiting_is_not_an_attempt(engine: Engine, ledger: LedgerWriter) -> None:
    claimed = claim_new(engine)
    _settle(engine, ledger, a_settlement(claimed, Event.WAIT, run_at=NOW))
    assert job_row(engine, claimed.job_id).attempts == 0
    again = claim(engine, claimed.job_id)
    assert again is not None
    assert (again.attempt, again.fence) == (1, 2)
    _settle(engine, ledger, a_settlement(again, Event.RETRY, run_at=NOW))
    assert job_row(engine, claimed.job_id).attempts == 1
    with engine.connect() as connection:
        view = find_job(connection, claimed.job_id)
    assert view is not None
    assert [(a.number, a.counted, a.event) for a in view.attempts] == [
        (1, False, Event.WAIT),
        (1, True, Event.RETRY),
    ]


def test_a_success_without_details_leaves_no_traces_of_earlier_failures(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    _settle(engine, ledger, a_settlement(claimed, Event.RETRY, code="provider.throttled"))
    again = claim(engine, claimed.job_id)
    assert again is not None
    _settle(engine, ledger, a_settlement(again))
    row = job_row(engine, claimed.job_id)
    assert (row.reason, row.provider_code, row.result) == (None, None, None)


@pytest.mark.parametrize("event", OUTCOMES)
def test_a_settle_with_an_older_fence_is_refused(
    engine: Engine, ledger: LedgerWriter, event: Event
) -> None:
    stale = claim_new(engine)
    _settle(engine, ledger, _rescue(stale, Event.RETRY))
    current = claim(engine, stale.job_id, "b" * 32)
    before = job_row(engine, stale.job_id)
    assert not _settle(engine, ledger, a_settlement(stale, event, at=LATER))
    assert job_row(engine, stale.job_id) == before
    assert current is not None
    assert _settle(engine, ledger, a_settlement(current, worker_id="b" * 32))


@pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING, State.UNKNOWN}))
def test_only_a_running_or_unknown_job_is_settled(
    engine: Engine, ledger: LedgerWriter, state: State
) -> None:
    claimed = claim_new(engine)
    change_job(engine, claimed.job_id, state=state)
    before = job_row(engine, claimed.job_id)
    assert not _settle(engine, ledger, a_settlement(claimed))
    assert job_row(engine, claimed.job_id) == before


def test_a_settle_of_a_vanished_job_is_refused(engine: Engine, ledger: LedgerWriter) -> None:
    claimed = claim_new(engine)
    gone = a_settlement(claimed, job_id="0" * 32)
    assert not _settle(engine, ledger, gone)


def test_what_left_is_on_record_even_when_the_claim_was_lost(
    engine: Engine, ledger: LedgerWriter
) -> None:
    stale = claim_new(engine)
    disclosure = a_disclosure(stale)
    write(engine, ledger.write_disclosures, disclosure)
    change_job(engine, stale.job_id, fence=2)
    late = a_settlement(stale, disclosure_results=(a_result(disclosure),))
    assert not _settle(engine, ledger, late)
    (result,) = all_rows(engine, disclosure_results)
    assert (result.disclosure_id, result.result) == (disclosure.id, "answered")
    assert all_rows(engine, attempts) == []


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (Event.SUCCEED, State.SUCCEEDED),
        (Event.FAIL, State.FAILED),
        (Event.RETRY, State.RETRYING),
    ],
)
def test_a_worker_that_was_thought_dead_may_bring_the_truth(
    engine: Engine, ledger: LedgerWriter, event: Event, state: State
) -> None:
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, disclosure)
    unknown = a_result(disclosure, result=SendResult.UNKNOWN, http_status=None)
    assert _settle(engine, ledger, _rescue(claimed, Event.LOSE, disclosure_results=(unknown,)))
    assert state_of(engine, claimed.job_id) is State.UNKNOWN
    late = a_settlement(
        claimed, event, at=LATER, code="late", disclosure_results=(a_result(disclosure),)
    )
    assert _settle(engine, ledger, late)
    assert state_of(engine, claimed.job_id) is state
    (attempt,) = all_rows(engine, attempts)
    assert (attempt.event, attempt.code, attempt.ended_at) == (event, "late", LATER)
    with engine.connect() as connection:
        view = find_job(connection, claimed.job_id)
    assert view is not None
    assert [d.result for d in view.disclosures] == [SendResult.ANSWERED]


@pytest.mark.parametrize("event", [Event.LOSE, Event.WAIT, Event.EXPIRE])
def test_a_late_settle_that_brings_no_certainty_leaves_the_job_unknown(
    engine: Engine, ledger: LedgerWriter, event: Event
) -> None:
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, disclosure)
    _settle(engine, ledger, _rescue(claimed, Event.LOSE))
    late = a_settlement(claimed, event, at=LATER, disclosure_results=(a_result(disclosure),))
    assert not _settle(engine, ledger, late)
    assert state_of(engine, claimed.job_id) is State.UNKNOWN
    assert len(all_rows(engine, disclosure_results)) == 1


def test_the_truth_may_come_from_the_worker_while_the_recipient_is_being_asked(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, disclosure)
    assert _settle(engine, ledger, _rescue(claimed, Event.LOSE, run_at=NOW))
    with writing(engine) as connection:
        question = claim_question(
            connection, claimed.job_id, "asker", again_at=LATER + SECOND, now=LATER
        )
    assert question is not None
    late = a_settlement(
        claimed, Event.SUCCEED, at=LATER, code="late", disclosure_results=(a_result(disclosure),)
    )
    assert _settle(engine, ledger, late), "a question moves the fence and decides nothing"
    answer = Answer(
        question=question,
        worker_id="asker",
        event=Event.FAIL,
        code="reconciled.failed",
        provider_code=None,
        at=LATER + SECOND,
        milliseconds=1.0,
        disclosure_results=(),
    )
    settle = partial(settle_answers, write_results=ledger.write_results)
    assert write(engine, settle, answer) == [False]
    assert state_of(engine, claimed.job_id) is State.SUCCEEDED


def test_a_rescuer_puts_back_a_job_of_which_nothing_left(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    assert _settle(engine, ledger, _rescue(claimed, Event.RETRY, run_at=LATER))
    row = job_row(engine, claimed.job_id)
    assert (row.state, row.run_at, row.attempts) == ("retrying", LATER, 1)


def test_rescues_go_on_counting_against_the_job(engine: Engine, ledger: LedgerWriter) -> None:
    claimed = claim_new(engine)
    for claims in range(2, 5):
        _settle(engine, ledger, _rescue(claimed, Event.RETRY))
        again = claim(engine, claimed.job_id)
        assert again is not None
        assert again.claims == claims
        claimed = again


@pytest.mark.parametrize("result", [None, SendResult.UNKNOWN, SendResult.ANSWERED])
def test_a_rescuer_never_puts_back_what_may_have_left(
    engine: Engine, ledger: LedgerWriter, result: SendResult | None
) -> None:
    """It looked before the disclosure was written, and settles after."""
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, disclosure)
    if result:
        write(engine, ledger.write_results, a_result(disclosure, result=result))
    assert not _settle(engine, ledger, _rescue(claimed, Event.RETRY))
    assert state_of(engine, claimed.job_id) is State.RUNNING
    assert _settle(engine, ledger, _rescue(claimed, Event.LOSE))


def test_a_rescuer_puts_back_what_provably_did_not_leave(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, disclosure)
    write(engine, ledger.write_results, a_result(disclosure, result=SendResult.UNSENT))
    assert _settle(engine, ledger, _rescue(claimed, Event.RETRY))


@pytest.mark.parametrize("event", [Event.RETRY, Event.LOSE])
def test_a_second_rescuer_comes_too_late(
    engine: Engine, ledger: LedgerWriter, event: Event
) -> None:
    claimed = claim_new(engine)
    assert _settle(engine, ledger, _rescue(claimed, Event.LOSE))
    assert not _settle(engine, ledger, _rescue(claimed, event, worker_id="b" * 32))
    assert state_of(engine, claimed.job_id) is State.UNKNOWN


def test_open_disclosures_are_those_of_this_very_claim(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    mine, unsent = a_disclosure(claimed), a_disclosure(claimed)
    earlier = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, earlier)
    change_job(engine, claimed.job_id, fence=2)
    write(engine, ledger.write_disclosures, *(_at_fence(d, 2) for d in (mine, unsent)))
    write(engine, ledger.write_results, a_result(unsent, result=SendResult.UNSENT))
    with engine.connect() as connection:
        assert open_disclosures(connection, {claimed.job_id: 2}) == {claimed.job_id: [mine.id]}
        assert open_disclosures(connection, {claimed.job_id: 1}) == {claimed.job_id: [earlier.id]}
        assert open_disclosures(connection, {claimed.job_id: 3}) == {}


def _at_fence(disclosure: Disclosure, fence: int) -> Disclosure:
    return replace(disclosure, fence=fence)


def test_several_jobs_settle_in_one_statement_each_with_its_own_outcome(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claims = [claim_new(engine) for _ in OUTCOMES]
    settlements = [
        a_settlement(claimed, event, code=f"code.{event}")
        for claimed, event in zip(claims, OUTCOMES, strict=True)
    ]
    assert write(engine, ledger.write_settlements, *settlements) == [True] * len(OUTCOMES)
    for claimed, event in zip(claims, OUTCOMES, strict=True):
        row = job_row(engine, claimed.job_id)
        assert (State(row.state), row.reason) == (
            TRANSITIONS[State.RUNNING, event],
            f"code.{event}",
        )


def test_one_stale_settle_takes_a_batch_apart_and_spoils_nothing(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    good, stale = claim_new(engine), claim_new(engine)
    change_job(engine, stale.job_id, fence=9)
    settlements = [a_settlement(good), a_settlement(stale)]
    with pytest.raises(WriteApart):
        write(engine, ledger.write_settlements, *settlements)
    assert state_of(engine, good.job_id) is State.RUNNING
    answers = [commits.submit(ledger.write_settlements, s) for s in settlements]
    assert [answer.result() for answer in answers] == [True, False]
    assert state_of(engine, good.job_id) is State.SUCCEEDED


def test_of_two_settles_of_one_claim_in_one_batch_the_first_counts(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    claimed, other = claim_new(engine), claim_new(engine)
    settlements = [
        a_settlement(claimed, Event.SUCCEED),
        a_settlement(claimed, Event.RETRY, code="provider.unreachable"),
        a_settlement(other),
    ]
    answers = [commits.submit(ledger.write_settlements, s) for s in settlements]
    assert [answer.result() for answer in answers] == [True, False, True]
    assert state_of(engine, claimed.job_id) is State.SUCCEEDED


def test_in_one_batch_the_workers_own_word_beats_the_rescuers(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    settlements = [_rescue(claimed, Event.RETRY), a_settlement(claimed, Event.SUCCEED)]
    assert write(engine, ledger.write_settlements, *settlements) == [False, True]
    assert state_of(engine, claimed.job_id) is State.SUCCEEDED


@pytest.mark.parametrize("event", [Event.SUCCEED, Event.RETRY, Event.WAIT, Event.LOSE])
@pytest.mark.parametrize("same_process", [True, False])
def test_a_settle_that_is_written_twice_counts_and_changes_nothing(
    engine: Engine, ledger: LedgerWriter, event: Event, same_process: bool
) -> None:
    """Its first COMMIT was cut off: it is repeated at once, or later when the database is back."""
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, disclosure)
    settlement = a_settlement(claimed, event, disclosure_results=(a_result(disclosure),))
    write(engine, ledger.write_settlements, settlement, acknowledged=False)
    before = job_row(engine, claimed.job_id)
    if not same_process:
        ledger.start_afresh()
    answers = write(engine, ledger.write_settlements, settlement, repeated=same_process)
    assert answers == [True]
    assert job_row(engine, claimed.job_id) == before
    assert len(all_rows(engine, disclosure_results)) == 1
    write(engine, ledger.write_disclosures, a_disclosure(claim_new(engine)))
    with engine.connect() as connection:
        assert list(verify_ledger(connection, KEY)) == []


def test_a_batch_of_settles_that_stood_is_recognised_as_a_whole(
    engine: Engine, ledger: LedgerWriter
) -> None:
    good, stale = claim_new(engine), claim_new(engine)
    rescued = claim_new(engine)
    change_job(engine, stale.job_id, fence=9)
    settlements = [a_settlement(good), _rescue(rescued, Event.RETRY)]
    first = write(engine, ledger.write_settlements, *settlements, acknowledged=False)
    settlements.append(a_settlement(stale))
    again = write(engine, ledger.write_settlements, *settlements, repeated=True)
    assert (first, again) == ([True, True], [True, True, False])
    assert state_of(engine, good.job_id) is State.SUCCEEDED


def test_only_the_very_same_settle_is_recognised(engine: Engine, ledger: LedgerWriter) -> None:
    """A rescuer's word stands under the worker's name, and may have come at the same moment."""
    claimed = claim_new(engine)
    assert _settle(engine, ledger, _rescue(claimed, Event.RETRY))
    assert not _settle(engine, ledger, a_settlement(claimed, Event.RETRY, at=NOW + SECOND))


def test_a_settle_written_twice_is_still_refused_if_it_never_counted(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    _settle(engine, ledger, _rescue(claimed, Event.RETRY))
    assert not _settle(engine, ledger, a_settlement(claimed, at=LATER))
    assert not _settle(engine, ledger, a_settlement(claimed, at=LATER))


def test_a_provider_decides_how_long_its_codes_are_and_still_the_job_settles(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, disclosure)
    long = "C" * 5000
    result = a_result(disclosure, provider_code=long, provider_request_id=long)
    settlement = a_settlement(
        claimed, Event.FAIL, code=long, provider_code=long, disclosure_results=(result,)
    )
    assert _settle(engine, ledger, settlement)
    assert job_row(engine, claimed.job_id).provider_code == long[:160]
    with engine.connect() as connection:
        assert list(verify_ledger(connection, KEY)) == []


def test_settling_alone_needs_no_disclosures(engine: Engine, ledger: LedgerWriter) -> None:
    (job_id,) = store(engine, a_job())
    claimed = claim(engine, job_id)
    assert claimed is not None
    assert _settle(engine, ledger, a_settlement(claimed, Event.FAIL, code="poison"))
    assert all_rows(engine, disclosure_results) == []


def test_an_impossible_outcome_is_refused_loudly(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    claimed = claim_new(engine)
    with pytest.raises(ZjjError, match="promote cannot happen to a running job"):
        commits.run(ledger.write_settlements, a_settlement(claimed, Event.PROMOTE))
    assert state_of(engine, claimed.job_id) is State.RUNNING


class _Note:
    """A change of the domain: a row somewhere, unless it comes too late."""

    def __init__(self, *, in_time: bool = True) -> None:
        self._in_time = in_time

    def apply(self, connection: Connection, at: dt.datetime) -> bool:
        if self._in_time:
            write_audits(
                connection,
                Audit(at=at, actor="worker", action="test.noted", target="order", reason="paid"),
            )
        return self._in_time


def test_a_change_stands_or_falls_with_its_settle(engine: Engine, ledger: LedgerWriter) -> None:
    claimed = claim_new(engine)
    assert _settle(engine, ledger, a_settlement(claimed, change=_Note()))
    assert state_of(engine, claimed.job_id) is State.SUCCEEDED
    assert len(all_rows(engine, audits)) == 1


def test_a_lost_claim_changes_nothing(engine: Engine, ledger: LedgerWriter) -> None:
    claimed = claim_new(engine)
    change_job(engine, claimed.job_id, fence=7)
    assert not _settle(engine, ledger, a_settlement(claimed, change=_Note()))
    assert all_rows(engine, audits) == []


def test_a_settle_that_stands_already_changes_nothing_again(
    engine: Engine, ledger: LedgerWriter
) -> None:
    settlement = a_settlement(claim_new(engine), change=_Note())
    for repeated in (False, True):
        assert write(engine, ledger.write_settlements, settlement, repeated=repeated) == [True]
    assert len(all_rows(engine, audits)) == 1


def test_a_change_that_comes_too_late_leaves_the_job_to_be_decided_anew(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed, neighbour = claim_new(engine), claim_new(engine)
    late = a_settlement(
        claimed,
        change=_Note(in_time=False),
        disclosure_results=(a_result(a_disclosure(claimed)),),
    )
    told = write(engine, ledger.write_settlements, late, a_settlement(neighbour))
    assert isinstance(told[0], StaleChange)
    assert told[1] is True
    assert state_of(engine, claimed.job_id) is State.RUNNING
    assert state_of(engine, neighbour.job_id) is State.SUCCEEDED
    assert all_rows(engine, disclosure_results) == []


def test_jobs_that_follow_stand_or_fall_with_the_settle(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed, lost, late = claim_new(engine), claim_new(engine), claim_new(engine)
    change_job(engine, lost.job_id, fence=7)
    following = {name: a_job(queue="bulk") for name in ("claimed", "lost", "late")}
    settlements = [
        a_settlement(claimed, new_jobs=(following["claimed"],)),
        a_settlement(late, change=_Note(in_time=False), new_jobs=(following["late"],)),
    ]
    write(engine, ledger.write_settlements, *settlements)
    _settle(engine, ledger, a_settlement(lost, new_jobs=(following["lost"],)))
    stored = {row.id for row in all_rows(engine, jobs) if row.queue == "bulk"}
    assert stored == {following["claimed"].id}


@pytest.mark.parametrize(
    ("event", "rescued", "kept"),
    [
        (Event.SUCCEED, False, False),
        (Event.FAIL, False, False),
        (Event.LOSE, False, False),
        (Event.LOSE, True, False),
        (Event.RETRY, False, True),
    ],
)
def test_a_job_that_forgets_keeps_its_payload_only_while_there_is_something_to_do(
    engine: Engine, ledger: LedgerWriter, event: Event, rescued: bool, kept: bool
) -> None:
    claimed = claim_new(engine, forgets=True)
    assert _settle(engine, ledger, a_settlement(claimed, event, rescued=rescued))
    (row,) = all_rows(engine, jobs)
    assert (row.sealed is not None) is kept
