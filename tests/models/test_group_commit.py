"""Many threads' small writes share transactions, and nobody pays for a neighbour's fault."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Self

import pytest
from sqlalchemy import Connection, Engine, event, text

from models.claims import ClaimRequest, write_claims
from models.commit_log import CommitLog, shorten_log
from models.database import migrate, open_database, writing
from models.errors import (
    ClaimLost,
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidValue,
    ZjjError,
)
from models.group_commit import IN_DOUBT, GroupCommit, Transaction, WriteApart, may_be_lost
from models.jobs import NewJob, write_jobs
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.states import State
from models.tables import disclosure_results, disclosures, jobs, ledger_heads
from tests.models.rows import (
    KEY,
    NOW,
    a_disclosure,
    a_job,
    a_result,
    a_settlement,
    all_rows,
    claim_new,
    job_row,
    state_of,
    store,
)
from tests.models.severing_proxy import SeveringProxy
from tests.servers import PostgresServer


class _Commits:
    """Counts the transactions of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        event.listen(engine, "commit", self._seen)
        self._engine = engine

    def _seen(self, _connection: object) -> None:
        self.count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "commit", self._seen)


class _Held:
    """A write that holds the writer thread until it is let go."""

    def __init__(self, commits: GroupCommit) -> None:
        self._begun, self._free = threading.Event(), threading.Event()
        self.future = commits.submit(self._write, None)
        assert self._begun.wait(5)

    def _write(self, _: Transaction, items: Sequence[None]) -> list[None]:
        self._begun.set()
        assert self._free.wait(5)
        return [None] * len(items)

    def release(self) -> None:
        self._free.set()


def test_what_many_threads_hand_in_is_written_in_few_transactions(
    engine: Engine, commits: GroupCommit
) -> None:
    new_jobs = [a_job() for _ in range(200)]
    start = threading.Barrier(20)

    def enqueue(mine: list[NewJob]) -> None:
        start.wait()
        for job in mine:
            commits.run(write_jobs, job)

    with _Commits(engine) as seen, ThreadPoolExecutor(20) as pool:
        for first in range(20):
            pool.submit(enqueue, new_jobs[first::20])
        pool.shutdown()
    assert len(all_rows(engine, jobs)) == 200
    assert seen.count < 100


def test_what_waits_goes_into_one_transaction(engine: Engine, commits: GroupCommit) -> None:
    held = _Held(commits)
    with _Commits(engine) as seen:
        answers = [commits.submit(write_jobs, a_job()) for _ in range(50)]
        held.release()
        for answer in answers:
            answer.result(5)
    assert seen.count == 2  # the held one, and one for all that waited


def test_a_lone_write_waits_for_nobody(engine: Engine, commits: GroupCommit) -> None:
    commits.run(write_jobs, a_job())
    began = time.perf_counter()
    for _ in range(5):
        commits.run(write_jobs, a_job())
    assert time.perf_counter() - began < 2
    assert len(all_rows(engine, jobs)) == 6


def test_what_nobody_waits_for_goes_with_the_next_write(
    engine: Engine, commits: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.group_commit._PATIENCE_SECONDS", 60.0)
    commits.run(write_jobs, a_job())  # connects
    with _Commits(engine) as seen:
        patient = commits.submit(write_jobs, a_job(), patient=True)
        with pytest.raises(TimeoutError):
            patient.result(0.05)
        commits.run(write_jobs, a_job())
        patient.result(5)
    assert seen.count == 1


def test_what_nobody_waits_for_is_written_soon_all_the_same(commits: GroupCommit) -> None:
    commits.submit(write_jobs, a_job(), patient=True).result(5)


def test_a_patient_process_writes_together_what_comes_within_a_moment(engine: Engine) -> None:
    patient = GroupCommit(engine, patience=60.0)
    patient.submit(write_jobs, a_job())
    with _Commits(engine) as seen:
        answers = [patient.submit(write_jobs, a_job()) for _ in range(3)]
        with pytest.raises(TimeoutError):
            answers[0].result(0.05)
        patient.close()  # which ends all patience
    assert [answer.done() for answer in answers] == [True] * 3
    assert len(all_rows(engine, jobs)) == 4
    assert seen.count <= 2  # with PostgreSQL connecting is one


def test_a_very_long_queue_is_cut_into_batches(engine: Engine, commits: GroupCommit) -> None:
    sizes: list[int] = []

    def note(_: Transaction, items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return list(items)

    held = _Held(commits)
    answers = [commits.submit(note, number) for number in range(600)]
    held.release()
    assert [answer.result(5) for answer in answers] == list(range(600))
    assert sizes == [256, 256, 88]


def test_each_gets_the_answer_to_its_own_item(engine: Engine, commits: GroupCommit) -> None:
    waiting = store(engine, *(a_job() for _ in range(20)))
    held = _Held(commits)
    claims = []
    enqueued = []
    for job_id in waiting:
        request = ClaimRequest(job_id=job_id, worker_id="a" * 32, at=NOW)
        claims.append(commits.submit(write_claims, request))
        job = a_job()
        enqueued.append((job.id, commits.submit(write_jobs, job)))
    held.release()
    for job_id, claim in zip(waiting, claims, strict=True):
        claimed = claim.result(5)
        assert claimed is not None
        assert claimed.job_id == job_id
    for job_id, answer in enqueued:
        stored = answer.result(5)
        assert not isinstance(stored, ZjjError)
        assert stored.id == job_id


def test_one_bad_item_does_not_spoil_its_neighbours(engine: Engine, commits: GroupCommit) -> None:
    held = _Held(commits)
    good = [a_job() for _ in range(4)]
    answers = [commits.submit(write_jobs, job) for job in good[:2]]
    bad = commits.submit(write_jobs, a_job(kind=None))
    answers += [commits.submit(write_jobs, job) for job in good[2:]]
    held.release()
    error = bad.exception(5)
    assert isinstance(error, DatabaseUnavailable)
    assert error.code == "database.refused"
    for answer in answers:
        answer.result(5)
    assert {row.id for row in all_rows(engine, jobs)} == {job.id for job in good}


def test_a_write_that_fails_leaves_nothing_of_its_transaction(
    engine: Engine, commits: GroupCommit
) -> None:
    def store_and_fail(transaction: Transaction, items: Sequence[str]) -> list[None]:
        transaction.connection.execute(text("DELETE FROM jobs"))
        raise InvalidValue("is not what it claims to be")

    (kept,) = store(engine, a_job())
    with pytest.raises(InvalidValue):
        commits.run(store_and_fail, "item")
    assert state_of(engine, kept) is State.QUEUED


def test_a_batch_that_asks_for_it_is_written_one_by_one(
    engine: Engine, commits: GroupCommit
) -> None:
    sizes: list[int] = []

    def only_alone(_: Transaction, items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 1:
            raise WriteApart
        return list(items)

    held = _Held(commits)
    answers = [commits.submit(only_alone, number) for number in range(3)]
    held.release()
    assert [answer.result(5) for answer in answers] == [0, 1, 2]
    assert sizes == [3, 1, 1, 1]


def test_an_error_among_the_results_is_raised_to_its_own_caller(
    engine: Engine, commits: GroupCommit
) -> None:
    def odd_ones(_: Transaction, items: Sequence[int]) -> list[int | InvalidValue]:
        return [InvalidValue("is odd") if item % 2 else item for item in items]

    held = _Held(commits)
    answers = [commits.submit(odd_ones, number) for number in range(4)]
    held.release()
    assert [type(answer.exception(5)) for answer in answers[1::2]] == [InvalidValue] * 2
    assert [answer.result(5) for answer in answers[::2]] == [0, 2]


def test_a_write_must_answer_for_every_item(engine: Engine, commits: GroupCommit) -> None:
    def forgetful(_: Transaction, items: Sequence[int]) -> list[int]:
        return []

    with pytest.raises(ValueError, match="zip"):
        commits.run(forgetful, 1)


def test_actions_run_before_and_after_the_commit_once_each(
    engine: Engine, commits: GroupCommit
) -> None:
    told: list[str] = []

    def tell(transaction: Transaction, items: Sequence[str]) -> list[None]:
        for item in items:
            transaction.before_commit("key", partial(told.append, f"before {item}"))
            transaction.after_commit("key", partial(told.append, f"after {item}"))
        return [None] * len(items)

    held = _Held(commits)
    answers = [commits.submit(tell, name) for name in ("first", "second")]
    held.release()
    for answer in answers:
        answer.result(5)
    assert told == ["before second", "after second"]


def test_nothing_is_told_of_a_transaction_that_did_not_stand(
    engine: Engine, commits: GroupCommit
) -> None:
    told: list[str] = []

    def tell_and_fail(transaction: Transaction, items: Sequence[str]) -> list[None]:
        transaction.after_commit("key", lambda: told.append("after"))
        raise InvalidValue("is wrong")

    with pytest.raises(InvalidValue):
        commits.run(tell_and_fail, "item")
    assert told == []


# People who stop waiting.


def test_who_cancels_is_not_written_and_the_writer_lives(
    engine: Engine, commits: GroupCommit
) -> None:
    held = _Held(commits)
    gone, kept = a_job(), a_job()
    cancelled = commits.submit(write_jobs, gone)
    answer = commits.submit(write_jobs, kept)
    assert cancelled.cancel()
    held.release()
    answer.result(5)
    commits.run(write_jobs, a_job())
    assert gone.id not in {row.id for row in all_rows(engine, jobs)}


def test_a_cancelled_request_of_an_event_loop_does_not_stop_the_writer(
    engine: Engine, commits: GroupCommit
) -> None:
    async def request() -> None:
        await asyncio.wrap_future(commits.submit(write_jobs, a_job()))

    async def cut_short() -> None:
        requests = [asyncio.create_task(request()) for _ in range(20)]
        await asyncio.sleep(0)
        for task in requests:
            task.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

    for _ in range(5):
        asyncio.run(cut_short())
    commits.run(write_jobs, a_job())


# The end.


def test_closing_writes_what_was_handed_in(engine: Engine) -> None:
    commits = GroupCommit(engine)
    held = _Held(commits)
    answers = [commits.submit(write_jobs, a_job()) for _ in range(300)]
    closing = threading.Thread(target=commits.close)
    closing.start()
    held.release()
    closing.join(10)
    assert all(answer.done() for answer in answers)
    assert len(all_rows(engine, jobs)) == 300


def test_after_closing_nothing_is_taken(engine: Engine) -> None:
    commits = GroupCommit(engine, name="writer-under-test")
    commits.run(write_jobs, a_job())
    commits.close()
    commits.close()
    with pytest.raises(DatabaseUnavailable):
        commits.submit(write_jobs, a_job())
    assert "writer-under-test" not in {thread.name for thread in threading.enumerate()}


# Databases that go away.


def test_a_killed_connection_is_replaced_and_nobody_notices(
    postgres: Engine, commits_on_postgres: GroupCommit
) -> None:
    for _ in range(3):
        commits_on_postgres.run(write_jobs, a_job())
        _terminate(postgres, commits_on_postgres)
    commits_on_postgres.run(write_jobs, a_job())
    assert len(all_rows(postgres, jobs)) == 4


def test_a_connection_killed_in_the_middle_of_a_batch_loses_nothing(
    postgres: Engine, commits_on_postgres: GroupCommit
) -> None:
    attempts = 0

    def killed_at_first(transaction: Transaction, items: Sequence[str]) -> list[str]:
        nonlocal attempts
        attempts += 1
        transaction.connection.execute(
            jobs.update().where(jobs.c.id.in_(items)).values(attempts=jobs.c.attempts + 1)
        )
        if attempts == 1:
            _terminate(postgres, commits_on_postgres)
            transaction.connection.execute(text("SELECT 1"))
        return list(items)

    job_ids = store(postgres, a_job(), a_job())
    held = _Held(commits_on_postgres)
    answers = [commits_on_postgres.submit(killed_at_first, job_id) for job_id in job_ids]
    held.release()
    assert [answer.result(5) for answer in answers] == job_ids
    assert attempts == 2
    assert [job_row(postgres, job_id).attempts for job_id in job_ids] == [1, 1]


@pytest.fixture
def commits_on_postgres(postgres: Engine) -> Iterator[GroupCommit]:
    commits = GroupCommit(postgres)
    yield commits
    commits.close()


def _terminate(engine: Engine, commits: GroupCommit) -> None:
    assert commits._connection is not None
    driver: Any = commits._connection.connection.driver_connection
    with engine.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": driver.info.backend_pid}
        )


def test_two_processes_that_lock_each_other_out_both_go_on(
    postgres: Engine, commits_on_postgres: GroupCommit
) -> None:
    """PostgreSQL ends one of the two; its batch is written again."""
    first, second = store(postgres, a_job(), a_job())
    other = GroupCommit(postgres)
    meet = threading.Barrier(2)
    met: set[str] = set()

    def lock_both(transaction: Transaction, items: Sequence[tuple[str, str]]) -> list[None]:
        for job_id in items[0]:
            transaction.connection.execute(
                jobs.update().where(jobs.c.id == job_id).values(attempts=jobs.c.attempts + 1)
            )
            if job_id == items[0][0] and job_id not in met:
                met.add(job_id)
                meet.wait(5)
        return [None]

    try:
        one = commits_on_postgres.submit(lock_both, (first, second))
        two = other.submit(lock_both, (second, first))
        one.result(10)
        two.result(10)
    finally:
        other.close()
    assert [job_row(postgres, job_id).attempts for job_id in (first, second)] == [2, 2]


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        engine = open_database(server.url())
        migrate(engine)
        engine.dispose()
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_stopped_database_is_told_and_its_return_is_noticed(
    own_server: PostgresServer, how: str
) -> None:
    own_server.start()
    engine = open_database(own_server.url())
    commits = GroupCommit(engine)
    stored = a_job()
    try:
        commits.run(write_jobs, stored)
        getattr(own_server, how)()
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(DatabaseUnavailable):
                commits.run(write_jobs, a_job())
            assert time.monotonic() - began < 5
        own_server.start()
        later = a_job()
        commits.run(write_jobs, later)
        assert {stored.id, later.id} <= {row.id for row in all_rows(engine, jobs)}
    finally:
        commits.close()
        engine.dispose()


def test_a_database_that_was_never_there_is_told(tmp_path: Path) -> None:
    nobody = socket.create_server(("127.0.0.1", 0))
    port = nobody.getsockname()[1]
    nobody.close()
    for url in (
        f"postgresql://zjj@127.0.0.1:{port}/zjj",
        f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}",
    ):
        commits = GroupCommit(open_database(url))
        with pytest.raises(DatabaseUnavailable):
            commits.run(write_jobs, a_job())
        commits.close()


def test_a_full_disk_is_told_and_costs_nothing_that_stands(sqlite: Engine) -> None:
    @event.listens_for(sqlite, "begin")
    def _limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    pages = 1_000_000
    commits = GroupCommit(sqlite)
    try:
        kept = a_job()
        commits.run(write_jobs, kept)
        pages = 1  # SQLite takes it to mean: no page more than there are
        with pytest.raises(DatabaseUnavailable):
            commits.run(write_jobs, a_job(sealed=bytes(200_000)))
        pages = 1_000_000
        commits.run(write_jobs, a_job())
    finally:
        commits.close()
    assert len(all_rows(sqlite, jobs)) == 2
    assert state_of(sqlite, kept.id) is State.QUEUED


def test_a_file_that_somebody_else_holds_is_told(sqlite: Engine) -> None:
    @event.listens_for(sqlite, "connect")
    def _impatient(connection: Any, _: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")

    commits = GroupCommit(sqlite)
    try:
        with writing(sqlite), pytest.raises(DatabaseUnavailable):
            commits.run(write_jobs, a_job())
        commits.run(write_jobs, a_job())
    finally:
        commits.close()
    assert len(all_rows(sqlite, jobs)) == 1


# A COMMIT whose answer never came.


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[SeveringProxy]:
    proxy = SeveringProxy(postgres_server.port)
    yield proxy
    proxy.close()


class _Process:
    """A process whose way to the database fails on demand."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.doubts = 0
        self.ledger = LedgerWriter(KEY)
        self.commits = GroupCommit(engine, on_doubt=self._doubt)

    def _doubt(self) -> None:
        self.doubts += 1
        self.ledger.start_afresh()


@pytest.fixture
def process(postgres: Engine, proxy: SeveringProxy) -> Iterator[_Process]:
    url = postgres.url.set(port=proxy.port)
    process = _Process(open_database(url.render_as_string(hide_password=False)))
    yield process
    process.commits.close()
    process.engine.dispose()


WHEN: list[Literal["before", "after"]] = ["before", "after"]


@pytest.mark.parametrize("when", WHEN)
def test_a_cut_commit_is_repeated_and_every_answer_is_as_if_nothing_had_been(
    postgres: Engine, process: _Process, proxy: SeveringProxy, when: Literal["before", "after"]
) -> None:
    commits, ledger = process.commits, process.ledger
    job = a_job(idempotency="1" * 64)
    proxy.sever(when)
    enqueued = commits.run(write_jobs, job)
    assert not isinstance(enqueued, ZjjError)
    assert (enqueued.id, enqueued.created) == (job.id, True)
    proxy.sever(when)
    claimed = commits.run(write_claims, ClaimRequest(job_id=job.id, worker_id="a" * 32, at=NOW))
    assert claimed is not None
    assert claimed.fence == 1
    disclosure = a_disclosure(claimed)
    proxy.sever(when)
    SqlLedger(commits, ledger).record(disclosure)
    proxy.sever(when)
    settlement = a_settlement(claimed, disclosure_results=(a_result(disclosure),))
    assert commits.run(ledger.write_settlements, settlement) is True
    assert proxy.cuts == 4
    assert process.doubts == 0
    row = job_row(postgres, job.id)
    assert (row.state, row.attempts, row.fence) == ("succeeded", 1, 1)
    assert len(all_rows(postgres, disclosures)) == 1
    assert len(all_rows(postgres, disclosure_results)) == 1
    with postgres.connect() as connection:
        assert list(verify_ledger(connection, KEY)) == []


@pytest.mark.parametrize("when", WHEN)
def test_a_chain_goes_on_after_a_cut_commit(
    postgres: Engine, process: _Process, proxy: SeveringProxy, when: Literal["before", "after"]
) -> None:
    claimed = claim_new(postgres)
    record = SqlLedger(process.commits, process.ledger).record
    for number in range(6):
        if number % 2:
            proxy.sever(when)
        record(a_disclosure(claimed))
    assert proxy.cuts == 3
    assert len(all_rows(postgres, disclosures)) == 6
    with postgres.connect() as connection:
        assert list(verify_ledger(connection, KEY)) == []


def test_a_doubt_that_stays_is_told_and_the_ledger_goes_on_in_a_new_chain(
    postgres: Engine, process: _Process, proxy: SeveringProxy
) -> None:
    claimed = claim_new(postgres)
    record = SqlLedger(process.commits, process.ledger).record
    record(a_disclosure(claimed))
    proxy.sever("after")
    proxy.shut()
    with pytest.raises(DatabaseUnavailable) as told:
        record(a_disclosure(claimed))
    assert told.value.code == IN_DOUBT
    assert process.doubts == 1
    proxy.open()
    record(a_disclosure(claimed))
    assert len(all_rows(postgres, disclosures)) == 3
    assert len(all_rows(postgres, ledger_heads)) == 2
    with postgres.connect() as connection:
        assert list(verify_ledger(connection, KEY)) == []


def test_an_enqueue_in_doubt_is_not_called_refused_and_is_accepted_once_when_repeated(
    postgres: Engine, process: _Process, proxy: SeveringProxy
) -> None:
    before, job = a_job(), a_job(idempotency="d" * 64)
    process.commits.run(write_jobs, before)
    proxy.sever("after")
    proxy.shut()
    with pytest.raises(DatabaseUnavailable) as told:
        process.commits.run(write_jobs, job)
    assert told.value.code == IN_DOUBT, "it stands, so nobody may say that it was not accepted"
    with pytest.raises(DatabaseUnavailable) as refused:
        process.commits.run(write_jobs, a_job())
    assert refused.value.code == "database.unavailable"
    proxy.open()
    again = process.commits.run(
        write_jobs, a_job(idempotency="d" * 64, fingerprint=job.fingerprint)
    )
    assert getattr(again, "id", None) == job.id
    assert {row.id for row in all_rows(postgres, jobs)} == {before.id, job.id}


# What an error tells.


def test_an_error_tells_nothing_of_what_was_to_be_written(
    engine: Engine, commits: GroupCommit
) -> None:
    errors = [
        commits.submit(write_jobs, a_job(kind=None, sealed=b"SECRET", backend="SECRET")),
        commits.submit(write_jobs, a_job(run_at=NOW.replace(tzinfo=None), backend="SECRET")),
        commits.submit(write_jobs, a_job(queue=None, kind="SECRET")),
    ]
    for answer in errors:
        error = answer.exception(5)
        assert error is not None
        assert "SECRET" not in "".join(traceback.format_exception(error))
        assert "SECRET" not in repr(error.__dict__)


def test_each_waiter_gets_an_error_of_its_own(sqlite: Engine) -> None:
    """Threads that raise one and the same exception write into each other's traceback."""
    commits = GroupCommit(open_database(f"sqlite:///{sqlite.url.database}/not/a/folder"))
    answers = [commits.submit(write_jobs, a_job()) for _ in range(5)]
    errors = {id(answer.exception(5)) for answer in answers}
    commits.close()
    assert len(errors) == 5


# The disk.


class _Disk:
    """The disk under SQLite, which takes its time, and may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sync = os.fdatasync
        self.ready = threading.Event()
        self.ready.set()
        self.syncs = 0
        self.fails = False
        monkeypatch.setattr("models.commit_log._sync_data", self._sync_data)

    def _sync_data(self, file: int) -> None:
        assert self.ready.wait(5)
        self.syncs += 1
        if self.fails:
            raise OSError(errno.EIO, "a disk fails")
        self._sync(file)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> _Disk:
    return _Disk(monkeypatch)


@pytest.fixture
def commits_on_sqlite(disk: _Disk, sqlite: Engine) -> Iterator[GroupCommit]:
    del disk
    commits = GroupCommit(sqlite)
    yield commits
    commits.close()


def _count(transaction: Transaction, items: Sequence[None]) -> list[int]:
    counted = transaction.connection.execute(text("SELECT count(*) FROM jobs")).scalar_one()
    return [counted] * len(items)


def test_nobody_is_answered_before_the_disk_has_what_he_wrote(
    sqlite: Engine, disk: _Disk, commits_on_sqlite: GroupCommit
) -> None:
    disk.ready.clear()
    answer = commits_on_sqlite.submit(write_jobs, a_job())
    with pytest.raises(TimeoutError):
        answer.result(0.05)
    assert len(all_rows(sqlite, jobs)) == 1, "committed, and seen by others"
    disk.ready.set()
    answer.result(5)
    assert disk.syncs == 1


def test_others_may_build_upon_what_they_see_before_the_disk_has_it(
    sqlite: Engine, disk: _Disk, commits_on_sqlite: GroupCommit
) -> None:
    seen: SimpleQueue[object] = SimpleQueue()
    disk.ready.clear()
    job = a_job(idempotency="1" * 64)
    answer = commits_on_sqlite.submit(write_jobs, job, seen=seen.put)
    told = seen.get(timeout=5)
    assert not answer.done()
    assert [row.id for row in all_rows(sqlite, jobs)] == [job.id]
    disk.ready.set()
    assert answer.result(5) == told


def test_a_refused_write_is_seen_by_nobody(commits: GroupCommit) -> None:
    seen: list[object] = []
    commits.run(write_jobs, a_job(idempotency="1" * 64))
    with pytest.raises(IdempotencyConflict):
        commits.run(write_jobs, a_job(idempotency="1" * 64, fingerprint="2" * 64), seen=seen.append)
    with pytest.raises(DatabaseUnavailable):
        commits.run(write_jobs, a_job(kind=None), seen=seen.append)
    assert seen == []


def test_what_nobody_waits_for_does_not_keep_others_from_writing(
    sqlite: Engine, disk: _Disk, commits_on_sqlite: GroupCommit
) -> None:
    disk.ready.clear()
    first = commits_on_sqlite.submit(write_jobs, a_job())
    second = commits_on_sqlite.submit(write_jobs, a_job())
    store(sqlite, a_job())  # another connection, as another process has one
    _until(lambda: len(all_rows(sqlite, jobs)) == 3)
    disk.ready.set()
    first.result(5)
    second.result(5)
    assert disk.syncs <= 2


def test_only_what_may_be_lost_does_not_wait_for_the_disk(
    disk: _Disk, commits_on_sqlite: GroupCommit
) -> None:
    disk.ready.clear()
    assert commits_on_sqlite.run(_losable, None) == 0
    held = _Held(commits_on_sqlite)
    losable = commits_on_sqlite.submit(_losable, None)
    kept = commits_on_sqlite.submit(write_jobs, a_job())
    held.release()
    assert losable.result(5) == 0
    assert not kept.done()
    disk.ready.set()
    kept.result(5)


@may_be_lost
def _losable(transaction: Transaction, items: Sequence[None]) -> list[int]:
    return _count(transaction, items)


@may_be_lost
def _losable_on_postgres(transaction: Transaction, items: Sequence[None]) -> list[str]:
    return _synchronous(transaction, items)


def _synchronous(transaction: Transaction, items: Sequence[None]) -> list[str]:
    told = transaction.connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
    return [told] * len(items)


def test_a_postgresql_batch_of_nothing_else_does_not_wait_either(
    commits_on_postgres: GroupCommit,
) -> None:
    writes = (_synchronous, _losable_on_postgres, _synchronous)
    told = [commits_on_postgres.run(write, None) for write in writes]
    held = _Held(commits_on_postgres)
    together = [commits_on_postgres.submit(write, None) for write in writes[1:]]
    held.release()
    assert told == ["on", "off", "on"]
    assert [future.result(5) for future in together] == ["on", "on"]


def test_a_disk_that_fails_is_told_and_its_log_is_not_believed_until_it_is_empty(
    sqlite: Engine,
    disk: _Disk,
    commits_on_sqlite: GroupCommit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.commit_log._CHECKPOINT_SECONDS", 0.05)
    monkeypatch.setattr("models.commit_log._THREADS", 1)
    log = Path(f"{sqlite.url.database}-wal")
    commits_on_sqlite.run(write_jobs, a_job())
    disk.fails = True
    with pytest.raises(DatabaseUnavailable) as told:
        commits_on_sqlite.run(write_jobs, a_job())
    assert told.value.code == IN_DOUBT
    disk.fails = False
    with sqlite.connect() as reader:
        reader.execute(text("SELECT count(*) FROM jobs"))
        with pytest.raises(DatabaseUnavailable):
            commits_on_sqlite.run(write_jobs, a_job())
    commits_on_sqlite.run(write_jobs, a_job())
    assert log.stat().st_size == 0
    assert disk.syncs == 2
    commits_on_sqlite.run(write_jobs, a_job())
    assert disk.syncs == 3
    assert len(all_rows(sqlite, jobs)) == 5


def test_a_log_that_is_always_written_begins_anew_once_it_is_long(
    sqlite: Engine, commits_on_sqlite: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Path(f"{sqlite.url.database}-wal")

    def write(times: int) -> int:
        for _ in range(times):
            commits_on_sqlite.run(write_jobs, a_job())
        return log.stat().st_size

    long = write(10)
    monkeypatch.setattr("models.commit_log._LONG_FRAMES", 5)
    shorten_log(sqlite)
    assert write(3) == long
    assert write(20) > long, "nobody else shortens it"
    assert len(all_rows(sqlite, jobs)) == 33


def test_a_log_that_somebody_reads_is_shortened_another_time(
    sqlite: Engine, commits_on_sqlite: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.commit_log._LONG_FRAMES", 0)
    commits_on_sqlite.run(write_jobs, a_job())
    with sqlite.connect() as reader:
        reader.execute(text("SELECT count(*) FROM jobs"))
        commits_on_sqlite.run(write_jobs, a_job())
        shorten_log(sqlite)
        commits_on_sqlite.run(write_jobs, a_job())
    assert len(all_rows(sqlite, jobs)) == 3


def test_another_database_has_no_log_of_ours(postgres: Engine) -> None:
    shorten_log(postgres)


def test_a_log_whose_database_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        CommitLog(str(tmp_path / "zjj.db"))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_claim_may_be_lost_because_nothing_can_be_disclosed_after_that(engine: Engine) -> None:
    """A power cut undoes the claim; the worker that holds it goes on as if nothing had been."""
    claim = claim_new(engine)
    with writing(engine) as connection:
        connection.execute(
            jobs.update().values(state=State.QUEUED, fence=claim.fence - 1, claimed_by=None)
        )
    commits = GroupCommit(engine)
    ledger = SqlLedger(commits, LedgerWriter(KEY))
    with pytest.raises(ClaimLost):
        ledger.record(a_disclosure(claim))
    commits.close()
    assert state_of(engine, claim.job_id) is State.QUEUED
