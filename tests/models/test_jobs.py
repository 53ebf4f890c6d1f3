"""A job is stored once for each idempotency key, and shown without its payload."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from models.database import writing
from models.disclosures import SendResult, Verdict
from models.errors import IdempotencyConflict
from models.group_commit import GroupCommit
from models.jobs import EnqueuedJob, NewJob, find_job, insert_jobs, write_jobs
from models.ledger import LedgerWriter
from models.states import Event, State
from models.tables import job_people, jobs
from tests.models.rows import (
    NOW,
    SECOND,
    a_disclosure,
    a_job,
    a_result,
    a_settlement,
    all_rows,
    claim,
    claim_new,
    job_row,
    store,
    write,
)

ONE, TWO = "1" * 64, "2" * 64


def _insert(engine: Engine, *new_jobs: NewJob) -> list[EnqueuedJob | IdempotencyConflict]:
    with writing(engine) as connection:
        return insert_jobs(connection, new_jobs)


def test_a_stored_job_is_what_was_handed_in(engine: Engine) -> None:
    job = a_job(
        state=State.SCHEDULED,
        run_at=NOW + SECOND,
        idempotency=ONE,
        consent_ref="c-1",
        guardian_ref="g-1",
        people=("7" * 64, "8" * 64),
    )
    (answer,) = _insert(engine, job)
    assert answer == EnqueuedJob(
        id=job.id,
        kind=job.kind,
        queue=job.queue,
        state=State.SCHEDULED,
        created=True,
        created_at=NOW,
    )
    row = job_row(engine, job.id)._asdict()
    stored = asdict(job)
    people = stored.pop("people")
    for name, value in stored.items():
        assert row[name] == value, name
    assert sorted(all_rows(engine, job_people)) == [(job.id, person) for person in people]
    assert (row["attempts"], row["claims"], row["fence"]) == (0, 0, 0)
    assert (row["updated_at"], row["dispatched_at"]) == (NOW, NOW)
    assert (row["claimed_by"], row["settled_at"], row["result"]) == (None, None, None)


def test_every_byte_of_a_payload_survives(engine: Engine) -> None:
    sealed = bytes(range(256)) * 4
    (job_id,) = store(engine, a_job(sealed=sealed))
    assert job_row(engine, job_id).sealed == sealed


def test_the_same_key_with_the_same_payload_is_the_same_job(engine: Engine) -> None:
    first = a_job(idempotency=ONE)
    _insert(engine, first)
    (answer,) = _insert(engine, a_job(idempotency=ONE))
    assert isinstance(answer, EnqueuedJob)
    assert (answer.id, answer.created) == (first.id, False)
    assert len(all_rows(engine, jobs)) == 1


def test_whom_a_job_is_about_is_not_stored_for_one_that_stands_already(engine: Engine) -> None:
    first = a_job(idempotency=ONE, people=("7" * 64,))
    _insert(engine, first)
    _insert(engine, a_job(idempotency=ONE, people=("7" * 64,)), a_job())

    assert all_rows(engine, job_people) == [(first.id, "7" * 64)]


def test_the_same_key_tells_where_its_job_stands_now(engine: Engine, ledger: LedgerWriter) -> None:
    claimed = claim_new(engine, idempotency=ONE)
    write(engine, ledger.write_settlements, a_settlement(claimed))
    (answer,) = _insert(engine, a_job(idempotency=ONE))
    assert isinstance(answer, EnqueuedJob)
    assert answer.state is State.SUCCEEDED


def test_the_same_key_with_another_payload_is_a_conflict(engine: Engine) -> None:
    first = a_job(idempotency=ONE)
    _insert(engine, first)
    (answer,) = _insert(engine, a_job(idempotency=ONE, fingerprint="e" * 64))
    assert isinstance(answer, IdempotencyConflict)
    assert [row.id for row in all_rows(engine, jobs)] == [first.id]


def test_jobs_without_a_key_are_all_different(engine: Engine) -> None:
    answers = _insert(engine, a_job(), a_job(), a_job())
    assert all(isinstance(answer, EnqueuedJob) and answer.created for answer in answers)
    assert len(all_rows(engine, jobs)) == 3


def test_one_batch_may_hold_a_key_twice(engine: Engine) -> None:
    earlier = a_job(idempotency=TWO)
    _insert(engine, earlier)
    batch = [
        a_job(),
        a_job(idempotency=ONE),
        a_job(idempotency=ONE),
        a_job(idempotency=TWO),
        a_job(idempotency=ONE, fingerprint="e" * 64),
        a_job(),
    ]
    answers = _insert(engine, *batch)
    told = [
        "conflict" if isinstance(answer, IdempotencyConflict) else (answer.id, answer.created)
        for answer in answers
    ]
    assert told == [
        (batch[0].id, True),
        (batch[1].id, True),
        (batch[1].id, False),
        (earlier.id, False),
        "conflict",
        (batch[5].id, True),
    ]
    assert len(all_rows(engine, jobs)) == 4


def test_a_batch_that_is_written_twice_answers_the_same(engine: Engine) -> None:
    batch = [a_job(), a_job(idempotency=ONE)]
    assert _insert(engine, *batch) == _insert(engine, *batch)
    assert len(all_rows(engine, jobs)) == 2


def test_a_job_stands_or_falls_with_its_callers_transaction(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        insert_jobs(connection, [a_job(idempotency=ONE)])
        transaction.rollback()
    assert all_rows(engine, jobs) == []
    (answer,) = _insert(engine, a_job(idempotency=ONE))
    assert isinstance(answer, EnqueuedJob)
    assert answer.created


def test_a_key_that_another_transaction_is_just_using_waits_for_its_end(
    postgres: Engine,
) -> None:
    for outcome, created in (("commit", False), ("rollback", True)):
        with writing(postgres) as connection:
            connection.execute(delete(jobs))
        with ThreadPoolExecutor(1) as pool, postgres.connect() as connection:
            transaction = connection.begin()
            insert_jobs(connection, [a_job(idempotency=ONE)])
            waiting = pool.submit(_insert, postgres, a_job(idempotency=ONE))
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.1)
            getattr(transaction, outcome)()
            (answer,) = waiting.result(timeout=5)
        assert isinstance(answer, EnqueuedJob)
        assert answer.created is created


def test_batches_that_share_keys_in_another_order_do_not_lock_each_other_out(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    start = threading.Barrier(2)

    def insert(mine: Engine, order: int) -> None:
        for turn in range(6):
            batch = [a_job(idempotency=f"{turn:032}{number:032}") for number in range(200)]
            start.wait(10)
            _insert(mine, *batch[::order])

    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(insert, another_engine(), order) for order in (1, -1)]
    for task in tasks:
        task.result()
    assert len(all_rows(engine, jobs)) == 1200


_ENQUEUE_FROM_MANY_THREADS = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from models.database import open_database
from models.group_commit import GroupCommit
from models.jobs import write_jobs
from tests.models.rows import a_job

engine = open_database(sys.stdin.readline().strip())
threads = int(sys.argv[1])
commits = GroupCommit(engine)
start = threading.Barrier(threads)

def enqueue(_):
    start.wait()
    answer = commits.run(write_jobs, a_job(idempotency="1" * 64))
    return answer.id, answer.created

engine.connect().close()
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(threads) as pool:
    print(json.dumps(list(pool.map(enqueue, range(threads)))))
commits.close()
engine.dispose()
"""


def test_one_key_from_fifty_threads_of_several_processes_is_one_job(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _ENQUEUE_FROM_MANY_THREADS, "25"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers: list[tuple[str, bool]] = []
    try:
        for process in processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{url}\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output, _ = process.communicate(timeout=30)
            answers += json.loads(output)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    (row,) = all_rows(engine, jobs)
    assert Counter(created for _, created in answers) == {True: 1, False: 49}
    assert {job_id for job_id, _ in answers} == {row.id}


def test_one_key_from_many_threads_of_one_process_is_one_job(
    engine: Engine, commits: GroupCommit
) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(lambda _: commits.run(write_jobs, a_job(idempotency=ONE)), range(50))
        )
    assert sum(isinstance(a, EnqueuedJob) and a.created for a in answers) == 1
    assert len(all_rows(engine, jobs)) == 1


# Looking at a job.


def test_a_job_is_shown_with_its_attempts_and_disclosures(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    unsent = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, unsent)
    failed = a_settlement(
        claimed,
        Event.RETRY,
        code="provider.unreachable",
        at=NOW + SECOND,
        run_at=NOW + SECOND,
        disclosure_results=(a_result(unsent, result=SendResult.UNSENT, http_status=None),),
    )
    write(engine, ledger.write_settlements, failed)
    again = claim(engine, claimed.job_id, at=NOW + SECOND)
    assert again is not None
    denied = a_disclosure(again, verdict=Verdict.DENIED, reason="value:name", at=NOW + SECOND)
    sent = a_disclosure(again, at=NOW + 2 * SECOND)
    write(engine, ledger.write_disclosures, denied, sent)
    done = a_settlement(
        again,
        at=NOW + 3 * SECOND,
        provider_code="OK",
        result={"biz_id": "7^0"},
        disclosure_results=(a_result(sent),),
    )
    write(engine, ledger.write_settlements, done)

    with engine.connect() as connection:
        view = find_job(connection, claimed.job_id)
    assert view is not None
    assert (view.state, view.reason, view.provider_code) == (State.SUCCEEDED, None, "OK")
    assert view.result == {"biz_id": "7^0"}
    assert (view.created_at, view.settled_at) == (NOW, NOW + 3 * SECOND)
    assert [(a.number, a.event, a.code) for a in view.attempts] == [
        (1, Event.RETRY, "provider.unreachable"),
        (2, Event.SUCCEED, None),
    ]
    assert [(d.id, d.attempt, d.verdict, d.result) for d in view.disclosures] == [
        (unsent.id, 1, Verdict.ADMITTED, SendResult.UNSENT),
        (denied.id, 2, Verdict.DENIED, None),
        (sent.id, 2, Verdict.ADMITTED, SendResult.ANSWERED),
    ]
    last = view.disclosures[-1]
    assert (last.clauses, last.categories, last.stripped) == (
        sent.clauses,
        sent.categories,
        sent.stripped,
    )
    assert (last.http_status, last.provider_code, last.milliseconds) == (200, "OK", 12.5)


def test_a_job_is_shown_to_its_own_backend_only(engine: Engine) -> None:
    (job_id,) = store(engine, a_job(backend="shop"))
    with engine.connect() as connection:
        assert find_job(connection, job_id, backend="shop") is not None
        assert find_job(connection, job_id, backend="another") is None
        assert find_job(connection, "0" * 32) is None


def test_nobody_sees_the_payload_of_a_job(engine: Engine) -> None:
    job = a_job(idempotency=ONE)
    store(engine, job)
    with engine.connect() as connection:
        view = find_job(connection, job.id)
    assert view is not None
    hidden = {"sealed", "bucket", "fingerprint", "idempotency", "subject", "consent_ref"}
    assert not hidden & set(view.__slots__)
    assert repr(job.sealed) not in repr(view)


def test_a_fresh_job_has_neither_attempts_nor_a_result(engine: Engine) -> None:
    (job_id,) = store(engine, a_job())
    with engine.connect() as connection:
        view = find_job(connection, job_id)
    assert view is not None
    assert (view.attempts, view.disclosures, view.result) == ((), (), {})


def test_a_very_large_batch_is_stored_whole(engine: Engine) -> None:
    new_jobs = [a_job(idempotency=f"{number:064}") for number in range(600)]
    answers = _insert(engine, *new_jobs, *(replace(job, id="0" * 32) for job in new_jobs[:1]))
    assert [a.created for a in answers if isinstance(a, EnqueuedJob)] == [True] * 600 + [False]
