"""Stuck jobs are found, each for its own reason; old rows go, and nothing else does."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select

from models.claims import Worker, beat, sign_off
from models.database import writing
from models.disclosures import SendResult, Verdict
from models.ledger import LedgerWriter, verify_ledger
from models.sealing import bucket_of
from models.states import SETTLED, State
from models.tables import attempts, data_keys, disclosures, jobs, workers
from models.upkeep import (
    any_due,
    any_expired,
    any_undispatched,
    count_waiting,
    destroy_past_buckets,
    find_orphans,
    forget_dispatch,
    list_workers,
    lost_claims,
    promote_due,
    prune_jobs,
    prune_workers,
    take_undispatched,
)
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

ANNA, BERT = "a" * 32, "b" * 32
DAY = dt.timedelta(days=1)


def _in_every_state(engine: Engine, **job: object) -> dict[State, str]:
    found = {}
    for state in State:
        (found[state],) = store(engine, a_job(**job))
        change_job(engine, found[state], state=state)
    return found


# Due jobs.


def test_scheduled_and_retrying_jobs_are_queued_when_their_time_has_come(engine: Engine) -> None:
    due = _in_every_state(engine, run_at=NOW, queue="bulk")
    with engine.connect() as connection:
        assert any_due(connection, now=NOW)
    with writing(engine) as connection:
        promoted = promote_due(connection, now=NOW)
    moved = {due[State.SCHEDULED], due[State.RETRYING]}
    assert set(promoted) == {(job_id, "bulk") for job_id in moved}
    for state, job_id in due.items():
        assert state_of(engine, job_id) is (State.QUEUED if job_id in moved else state)
    with engine.connect() as connection:
        assert not any_due(connection, now=NOW)


def test_nothing_is_queued_before_its_time(engine: Engine) -> None:
    store(engine, a_job(state=State.SCHEDULED, run_at=NOW + SECOND))
    with writing(engine) as connection:
        assert promote_due(connection, now=NOW) == []
        assert not any_due(connection, now=NOW)
        assert len(promote_due(connection, now=NOW + SECOND)) == 1


def test_those_that_wait_longest_are_queued_first(engine: Engine) -> None:
    waiting = [a_job(state=State.SCHEDULED, run_at=NOW - n * SECOND) for n in range(6)]
    store(engine, *waiting)
    with writing(engine) as connection:
        batches = [promote_due(connection, now=NOW, limit=2) for _ in range(4)]
    oldest_first = [job.id for job in reversed(waiting)]
    assert [{job_id for job_id, _ in batch} for batch in batches] == [
        set(oldest_first[:2]),
        set(oldest_first[2:4]),
        set(oldest_first[4:]),
        set(),
    ]


def test_two_schedulers_queue_each_job_once(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    waiting = [a_job(state=State.SCHEDULED) for _ in range(60)]
    store(engine, *waiting)
    start = threading.Barrier(3)

    def promote(mine: Engine) -> list[str]:
        start.wait()
        found: list[str] = []
        for _ in range(10):
            with writing(mine) as connection:
                found += [job_id for job_id, _ in promote_due(connection, now=NOW, limit=10)]
        return found

    with ThreadPoolExecutor(3) as pool:
        found = [
            job_id
            for part in pool.map(promote, [another_engine() for _ in range(3)])
            for job_id in part
        ]
    assert sorted(found) == sorted(job.id for job in waiting)


# Lost dispatches.


def test_a_dispatch_that_failed_is_made_up_for(engine: Engine) -> None:
    lost, rung = store(engine, a_job(), a_job())
    (running,) = store(engine, a_job())
    change_job(engine, running, state=State.RUNNING)
    with writing(engine) as connection:
        forget_dispatch(connection, [lost, running])
    assert job_row(engine, lost).dispatched_at is None
    assert job_row(engine, running).dispatched_at == NOW
    with engine.connect() as connection:
        assert any_undispatched(connection, "urgent", before=NOW)
        assert not any_undispatched(connection, "bulk", before=NOW)
    with writing(engine) as connection:
        assert take_undispatched(connection, "urgent", before=NOW, now=NOW + SECOND) == [lost]
    assert job_row(engine, lost).dispatched_at == NOW + SECOND
    assert job_row(engine, rung).dispatched_at == NOW
    with engine.connect() as connection:
        assert not any_undispatched(connection, "urgent", before=NOW)


def test_an_old_dispatch_is_repeated_for_queued_jobs_only_and_oldest_first(engine: Engine) -> None:
    _in_every_state(engine)
    waiting = [a_job(run_at=NOW - n * SECOND) for n in range(1, 4)]
    store(engine, *waiting)
    store(engine, a_job(queue="bulk"))
    (queued,) = [
        row.id
        for row in all_rows(engine, jobs)
        if row.run_at == NOW and row.queue == "urgent" and row.state == "queued"
    ]
    with writing(engine) as connection:
        taken = take_undispatched(connection, "urgent", before=NOW + SECOND, now=NOW + SECOND)
        again = take_undispatched(connection, "urgent", before=NOW + SECOND, now=NOW + SECOND)
    assert taken == [job.id for job in reversed(waiting)] + [queued]
    assert again == []


def test_lost_dispatches_are_taken_in_batches(engine: Engine) -> None:
    store(engine, *(a_job() for _ in range(5)))
    with writing(engine) as connection:
        sizes = [
            len(
                take_undispatched(
                    connection, "urgent", before=NOW + SECOND, now=NOW + 2 * SECOND, limit=2
                )
            )
            for _ in range(4)
        ]
    assert sizes == [2, 2, 1, 0]


# Orphans.


def test_a_running_job_without_a_live_worker_is_an_orphan(engine: Engine) -> None:
    held, orphan = claim_new(engine, ANNA), claim_new(engine, BERT)
    change_job(engine, _in_every_state(engine)[State.RUNNING], claimed_by=ANNA, state="queued")
    with engine.connect() as connection:
        found = find_orphans(connection, {ANNA})
    assert [
        (o.job_id, o.fence, o.attempt, o.claims, o.worker_id, o.claimed_at, o.open_disclosures)
        for o in found
    ] == [(orphan.job_id, 1, 1, 1, BERT, NOW, ())]
    with engine.connect() as connection:
        everybody = {o.job_id for o in find_orphans(connection, set())}
    assert everybody == {held.job_id, orphan.job_id}


@pytest.mark.parametrize(
    ("verdict", "result", "is_open"),
    [
        (Verdict.ADMITTED, None, True),
        (Verdict.ADMITTED, SendResult.UNKNOWN, True),
        (Verdict.ADMITTED, SendResult.ANSWERED, True),
        (Verdict.ADMITTED, SendResult.UNSENT, False),
        (Verdict.DENIED, None, False),
    ],
)
def test_an_orphan_tells_which_of_its_disclosures_may_have_left(
    engine: Engine,
    ledger: LedgerWriter,
    verdict: Verdict,
    result: SendResult | None,
    is_open: bool,
) -> None:
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed, verdict=verdict)
    write(engine, ledger.write_disclosures, disclosure)
    if result:
        write(engine, ledger.write_results, a_result(disclosure, result=result))
    with engine.connect() as connection:
        (orphan,) = find_orphans(connection, set())
    assert orphan.open_disclosures == ((disclosure.id,) if is_open else ())


def test_an_earlier_attempts_disclosure_is_not_the_orphans(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    write(engine, ledger.write_disclosures, a_disclosure(claimed))
    change_job(engine, claimed.job_id, fence=2)
    with engine.connect() as connection:
        (orphan,) = find_orphans(connection, set())
    assert orphan.open_disclosures == ()


def test_orphans_come_in_batches_longest_held_first(engine: Engine) -> None:
    claims = [claim_new(engine) for _ in range(3)]
    for number, claimed in enumerate(claims):
        change_job(engine, claimed.job_id, claimed_at=NOW - number * SECOND)
    with engine.connect() as connection:
        found = find_orphans(connection, set(), limit=2)
    assert [orphan.job_id for orphan in found] == [claims[2].job_id, claims[1].job_id]


def test_claims_that_nobody_works_on_are_found_under_their_workers_name(
    engine: Engine, ledger: LedgerWriter
) -> None:
    held, lost, theirs, disclosed = (claim_new(engine, ANNA) for _ in range(4))
    change_job(engine, theirs.job_id, claimed_by=BERT)
    left = a_disclosure(disclosed)
    write(engine, ledger.write_disclosures, left)
    (fresh,) = store(engine, a_job())
    claim(engine, fresh, ANNA, at=NOW + SECOND)
    with engine.connect() as connection:
        found = lost_claims(connection, ANNA, {held.job_id}, before=NOW + SECOND)
    assert {(o.job_id, o.fence, o.open_disclosures) for o in found} == {
        (lost.job_id, 1, ()),
        (disclosed.job_id, 1, (left.id,)),
    }


# Workers.


def _beat(engine: Engine, worker_id: str, at: dt.datetime) -> None:
    worker = Worker(id=worker_id, host="h", pid=1, queues=("urgent",), started_at=at)
    with writing(engine) as connection:
        beat(connection, worker, now=at)


def test_all_workers_are_listed(engine: Engine) -> None:
    for worker_id, beats in ((ANNA, 3), (BERT, 1)):
        for _ in range(beats):
            _beat(engine, worker_id, NOW)
    with writing(engine) as connection:
        sign_off(connection, BERT, now=NOW + SECOND)
        rows = {row.id: row for row in list_workers(connection)}
    assert {row.id: (row.beats, row.stopped_at) for row in rows.values()} == {
        ANNA: (3, None),
        BERT: (1, NOW + SECOND),
    }


def test_workers_that_are_gone_for_good_are_pruned_unless_they_hold_something(
    engine: Engine,
) -> None:
    for worker_id, at in (("1" * 32, NOW - DAY), ("2" * 32, NOW - DAY), ("3" * 32, NOW)):
        _beat(engine, worker_id, at)
    claim_new(engine, "2" * 32)
    with writing(engine) as connection:
        assert prune_workers(connection, silent_since=NOW - SECOND) == 1
    assert {row.id for row in all_rows(engine, workers)} == {"2" * 32, "3" * 32}


# Forgetting.


def test_keys_of_past_days_are_destroyed_and_todays_are_kept(engine: Engine) -> None:
    days = [bucket_of(NOW + n * DAY) for n in (-2, -1, 0, 1)]
    with writing(engine) as connection:
        connection.execute(
            data_keys.insert(),
            [{"bucket": d, "wrapped": b"w", "master_key": "m", "created_at": NOW} for d in days],
        )
    past, today = store(engine, a_job(bucket=days[0]), a_job(bucket=days[2]))
    with writing(engine) as connection:
        assert sorted(destroy_past_buckets(connection, now=NOW)) == days[:2]
        assert destroy_past_buckets(connection, now=NOW) == []
    assert {row.bucket: row.wrapped for row in all_rows(engine, data_keys)} == {
        days[0]: None,
        days[1]: None,
        days[2]: b"w",
        days[3]: b"w",
    }
    assert job_row(engine, past).sealed is None
    assert job_row(engine, today).sealed is not None


def test_long_settled_jobs_are_pruned_with_their_attempts_and_unknown_ones_never(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, disclosure)
    write(engine, ledger.write_settlements, a_settlement(claimed))
    found = _in_every_state(engine)
    for state in SETTLED:
        change_job(engine, found[state], settled_at=NOW)
    (recent,) = store(engine, a_job())
    change_job(engine, recent, state=State.FAILED, settled_at=NOW + SECOND)
    with writing(engine) as connection:
        assert prune_jobs(connection, settled_before=NOW + SECOND) == len(SETTLED)
    left = {row.id for row in all_rows(engine, jobs)}
    assert left == {found[state] for state in set(State) - SETTLED | {State.UNKNOWN}} | {recent}
    assert all_rows(engine, attempts) == []
    assert [row.id for row in all_rows(engine, disclosures)] == [disclosure.id]
    with engine.connect() as connection:
        assert list(verify_ledger(connection, KEY)) == []


def test_pruning_goes_in_batches(engine: Engine) -> None:
    for job_id in store(engine, *(a_job() for _ in range(5))):
        change_job(engine, job_id, state=State.SUCCEEDED, settled_at=NOW)
    with writing(engine) as connection:
        sizes = [prune_jobs(connection, settled_before=NOW + DAY, limit=2) for _ in range(4)]
    assert sizes == [2, 2, 1, 0]


def test_a_job_that_is_being_replayed_is_not_pruned(postgres: Engine) -> None:
    (job_id,) = store(postgres, a_job())
    change_job(postgres, job_id, state=State.FAILED, settled_at=NOW)
    with writing(postgres) as replaying:
        replaying.execute(
            jobs.update().where(jobs.c.id == job_id).values(state=State.QUEUED, settled_at=None)
        )
        with writing(postgres) as pruning:
            assert prune_jobs(pruning, settled_before=NOW + DAY) == 0
    assert state_of(postgres, job_id) is State.QUEUED


# Counting.


def test_waiting_jobs_are_counted_by_queue_and_state(engine: Engine) -> None:
    _in_every_state(engine)
    _in_every_state(engine, queue="bulk")
    store(engine, a_job())
    with engine.connect() as connection:
        assert count_waiting(connection) == {
            ("urgent", "queued"): 2,
            ("bulk", "queued"): 1,
            **{
                (queue, state): 1
                for queue in ("urgent", "bulk")
                for state in ("scheduled", "running", "retrying")
            },
        }


def test_a_lifetime_that_is_over_is_noticed_for_waiting_jobs_only(engine: Engine) -> None:
    found = _in_every_state(engine, expires_at=NOW)
    waiting = {State.SCHEDULED, State.QUEUED, State.RETRYING}
    for state, job_id in found.items():
        with engine.connect() as connection:
            others = connection.scalars(select(jobs.c.id).where(jobs.c.id != job_id)).all()
        for other in others:
            change_job(engine, other, expires_at=NOW + DAY)
        change_job(engine, job_id, expires_at=NOW)
        with engine.connect() as connection:
            assert any_expired(connection, now=NOW) is (state in waiting)
            assert not any_expired(connection, now=NOW - SECOND)
