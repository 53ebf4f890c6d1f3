"""Who may work on a job, and who may not."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, text

from models.claims import (
    ClaimRequest,
    Worker,
    beat,
    expire,
    sign_off,
    write_claims,
)
from models.database import migrate, open_database, writing
from models.group_commit import GroupCommit
from models.ledger import LedgerWriter
from models.states import Event, State
from models.tables import jobs, workers
from tests.models.rows import (
    NOW,
    SECOND,
    a_job,
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


def test_a_claim_carries_the_job_and_counts_an_attempt(engine: Engine) -> None:
    job = a_job(consent_ref="consent-1", guardian_ref="guardian-1")
    store(engine, job)
    claimed = claim(engine, job.id, ANNA, at=NOW + SECOND)
    assert claimed is not None
    for name in (
        *("kind", "backend", "sealed", "bucket", "policy_version"),
        *("subject", "consent_ref", "guardian_ref", "expires_at", "created_at"),
    ):
        assert getattr(claimed, name) == getattr(job, name), name
    assert (claimed.job_id, claimed.attempt, claimed.claims, claimed.fence) == (job.id, 1, 1, 1)
    assert claimed.claimed_at == NOW + SECOND
    row = job_row(engine, job.id)
    assert (row.state, row.claimed_by, row.claimed_at) == ("running", ANNA, NOW + SECOND)


def test_a_running_job_is_claimed_by_nobody_else(engine: Engine) -> None:
    claimed = claim_new(engine, ANNA)
    assert claim(engine, claimed.job_id, BERT) is None
    assert claim(engine, claimed.job_id, ANNA) is None
    assert job_row(engine, claimed.job_id).fence == claimed.fence


def test_each_claim_has_a_newer_fence(engine: Engine, ledger: LedgerWriter) -> None:
    claimed = claim_new(engine)
    for fence in range(2, 5):
        write(engine, ledger.write_settlements, a_settlement(claimed, Event.RETRY))
        again = claim(engine, claimed.job_id)
        assert again is not None
        assert (again.fence, again.attempt) == (fence, fence)
        claimed = again


@pytest.mark.parametrize("state", sorted(set(State) - {State.QUEUED, State.RETRYING}))
def test_only_waiting_jobs_are_claimed(engine: Engine, state: State) -> None:
    (job_id,) = store(engine, a_job())
    change_job(engine, job_id, state=state)
    assert claim(engine, job_id) is None
    assert state_of(engine, job_id) is state


@pytest.mark.parametrize("state", [State.QUEUED, State.RETRYING])
def test_a_job_is_not_claimed_before_its_time(engine: Engine, state: State) -> None:
    (job_id,) = store(engine, a_job(state=state, run_at=NOW + SECOND))
    assert claim(engine, job_id, at=NOW) is None
    assert claim(engine, job_id, at=NOW + SECOND) is not None


def test_a_job_past_its_lifetime_expires_on_the_spot(engine: Engine) -> None:
    (job_id,) = store(engine, a_job(expires_at=NOW))
    assert claim(engine, job_id, at=NOW) is None
    row = job_row(engine, job_id)
    assert (row.state, row.reason, row.sealed, row.settled_at) == ("expired", "expired", None, NOW)


def test_an_unknown_id_is_no_claim(engine: Engine) -> None:
    assert claim(engine, "0" * 32) is None


def test_a_job_without_lifetime_never_expires(engine: Engine) -> None:
    (job_id,) = store(engine, a_job(expires_at=None))
    assert claim(engine, job_id, at=NOW + dt.timedelta(days=4000)) is not None


def test_one_batch_gives_a_job_out_once(engine: Engine) -> None:
    wanted, other = store(engine, a_job(), a_job())
    requests = [
        ClaimRequest(job_id=job_id, worker_id=worker, at=NOW)
        for job_id, worker in [(wanted, ANNA), (wanted, ANNA), (wanted, BERT), (other, BERT)]
    ]
    claims = write(engine, write_claims, *requests)
    assert [c and c.job_id for c in claims] == [wanted, None, None, other]
    assert job_row(engine, wanted).fence == 1
    assert job_row(engine, wanted).claimed_by == ANNA
    assert job_row(engine, other).claimed_by == BERT


def test_of_two_racing_workers_exactly_one_wins(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    job_ids = store(engine, *(a_job() for _ in range(20)))
    start = threading.Barrier(4)
    won: list[tuple[str, str]] = []

    def work(worker_id: str, mine: Engine) -> None:
        start.wait()
        won.extend((job_id, worker_id) for job_id in job_ids if claim(mine, job_id, worker_id))

    with ThreadPoolExecutor(4) as pool:
        for number in range(4):
            pool.submit(work, str(number) * 32, another_engine())
    assert sorted(job_id for job_id, _ in won) == sorted(job_ids)
    with engine.connect() as connection:
        rows = connection.execute(select(jobs.c.id, jobs.c.claimed_by))
        held = {row.id: row.claimed_by for row in rows}
    assert held == dict(won)


def test_a_locked_row_is_passed_over_and_nobody_waits(postgres: Engine) -> None:
    locked, free = store(postgres, a_job(), a_job())
    with postgres.connect() as somebody:
        somebody.execute(select(jobs).where(jobs.c.id == locked).with_for_update())
        requests = [ClaimRequest(job_id=i, worker_id=ANNA, at=NOW) for i in (locked, free)]
        claims = write(postgres, write_claims, *requests)
    assert [c and c.job_id for c in claims] == [None, free]
    assert claim(postgres, locked) is not None


def test_a_claim_finds_its_job_by_key_however_long_the_queue(postgres_url: str) -> None:
    engine = open_database(postgres_url)
    migrate(engine)
    store(engine, *(a_job() for _ in range(200)))
    wanted = store(engine, *(a_job() for _ in range(20)))
    commits = GroupCommit(engine)
    for job_id in wanted:
        commits.run(write_claims, ClaimRequest(job_id=job_id, worker_id=ANNA, at=NOW))
    commits.close()  # which makes PostgreSQL publish what that session read
    deadline = time.monotonic() + 10
    while (scans := _index_scans(engine))["pk_jobs"] < len(wanted):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    engine.dispose()
    assert scans["ix_jobs_due"] == 0


def _index_scans(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT indexrelname, idx_scan FROM pg_stat_user_indexes"))
        return {row.indexrelname: row.idx_scan for row in rows}


def test_waiting_jobs_expire_and_forget_their_payload(engine: Engine) -> None:
    over = {
        state: store(engine, a_job(state=state, expires_at=NOW))[0]
        for state in (State.SCHEDULED, State.QUEUED, State.RETRYING)
    }
    kept = {
        state: store(engine, a_job(expires_at=NOW))[0]
        for state in set(State) - over.keys() - {State.EXPIRED}
    }
    for state, job_id in kept.items():
        change_job(engine, job_id, state=state)
    (later,) = store(engine, a_job(expires_at=NOW + SECOND))
    with writing(engine) as connection:
        assert expire(connection, NOW) == 3
    for job_id in over.values():
        assert state_of(engine, job_id) is State.EXPIRED
        assert job_row(engine, job_id).sealed is None
    for state, job_id in kept.items():
        assert state_of(engine, job_id) is state
        assert job_row(engine, job_id).sealed is not None
    assert state_of(engine, later) is State.QUEUED


def test_expiry_goes_in_batches(engine: Engine) -> None:
    store(engine, *(a_job(expires_at=NOW) for _ in range(5)))
    with writing(engine) as connection:
        assert [expire(connection, NOW, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_batch_that_is_claimed_again_after_a_cut_commit_gives_the_same_claims(
    engine: Engine,
) -> None:
    mine, theirs = store(engine, a_job(), a_job())
    claim(engine, theirs, BERT)
    requests = [ClaimRequest(job_id=i, worker_id=ANNA, at=NOW) for i in (mine, theirs, mine)]
    first = write(engine, write_claims, *requests, acknowledged=False)
    again = write(engine, write_claims, *requests, repeated=True)
    assert [c and c.job_id for c in first] == [mine, None, None]
    assert again == first
    assert job_row(engine, mine).fence == 1


def test_a_batch_that_did_not_stand_is_claimed_at_the_second_try(engine: Engine) -> None:
    (job_id,) = store(engine, a_job())
    request = ClaimRequest(job_id=job_id, worker_id=ANNA, at=NOW)
    (claimed,) = write(engine, write_claims, request, repeated=True)
    assert claimed is not None
    assert claimed.fence == 1


def _worker(engine: Engine, worker_id: str = ANNA) -> Worker:
    worker = Worker(id=worker_id, host="h", pid=7, queues=("urgent", "bulk"), started_at=NOW)
    with writing(engine) as connection:
        beat(connection, worker, now=NOW)
    return worker


def test_a_heartbeat_is_one_row_that_counts(engine: Engine) -> None:
    worker = _worker(engine)
    with writing(engine) as connection:
        beat(connection, worker, now=NOW + SECOND)
    (row,) = all_rows(engine, workers)
    assert (row.id, row.host, row.pid, row.queues) == (ANNA, "h", 7, ["urgent", "bulk"])
    assert (row.beats, row.started_at, row.seen_at) == (2, NOW, NOW + SECOND)
    assert row.stopped_at is None


def test_signing_off_keeps_the_first_moment(engine: Engine) -> None:
    _worker(engine)
    with writing(engine) as connection:
        sign_off(connection, ANNA, now=NOW)
        sign_off(connection, ANNA, now=NOW + SECOND)
    assert all_rows(engine, workers)[0].stopped_at == NOW
