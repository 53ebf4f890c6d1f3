"""Jobs that got stuck are moved on, and only those."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
import redis
from sqlalchemy import Engine

from models.claims import ClaimRequest, Worker, beat, sign_off, write_claims
from models.clock import utc_now
from models.database import writing
from models.disclosures import Disclosure, Verdict
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.jobs import find_job, insert_jobs
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.sealing import Sealer
from models.states import State
from models.tables import jobs
from tests.models.rows import a_job
from tests.workers.rows import KEYS, PSEUDONYM_KEY, read_job, store_job
from workers.dispatch import Dispatcher
from workers.maintenance import Expirer, Pruner, Redispatcher, Rescuer, Scheduler
from workers.messages import queue_keys

_HOUR = dt.timedelta(hours=1)


@pytest.fixture
def ledger() -> LedgerWriter:
    return LedgerWriter(PSEUDONYM_KEY)


@pytest.fixture
def commits(engine: Engine) -> Iterator[GroupCommit]:
    commits = GroupCommit(engine)
    yield commits
    commits.close()


class _Monotonic:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _worker(engine: Engine) -> Worker:
    worker = Worker(id=new_id(), host="test", pid=1, queues=("urgent",), started_at=utc_now())
    with writing(engine) as connection:
        beat(connection, worker, now=utc_now())
    return worker


def _claimed(engine: Engine, commits: GroupCommit, worker: Worker) -> str:
    job_id = store_job(engine)
    claim = commits.run(
        write_claims, ClaimRequest(job_id=job_id, worker_id=worker.id, at=utc_now())
    )
    assert claim is not None
    return job_id


def _disclose(commits: GroupCommit, ledger: LedgerWriter, job_id: str) -> None:
    SqlLedger(commits, ledger).record(
        Disclosure(
            id=new_id(),
            job_id=job_id,
            kind="sms_code",
            attempt=1,
            fence=1,
            operation="aliyun.sms.send",
            recipient="aliyun_sms",
            host="dysmsapi.aliyuncs.com",
            purpose="account",
            clauses=("一(1)1",),
            policy_version="2023-01-01",
            categories=("user.contact.phone_number",),
            stripped=("scene",),
            subject=None,
            consent_ref=None,
            verdict=Verdict.ADMITTED,
            reason=None,
            at=utc_now(),
        )
    )


def test_a_scheduled_job_is_queued_when_its_time_has_come(
    engine: Engine, dispatcher: Dispatcher
) -> None:
    job_id = store_job(engine, run_at=utc_now() + _HOUR)
    assert Scheduler(engine, dispatcher).round() == 0
    assert read_job(engine, job_id).state == State.SCHEDULED
    later = utc_now() + _HOUR
    assert Scheduler(engine, dispatcher, clock=lambda: later).round() == 1
    assert read_job(engine, job_id).state == State.QUEUED


def test_queued_jobs_are_rung_for_again_once_redis_has_forgotten_them(
    engine: Engine, dispatcher: Dispatcher
) -> None:
    store_job(engine)
    service = Redispatcher(engine, dispatcher, ["urgent"])
    assert service.round() == 0, "a dispatch of a moment ago is not lost"
    later = utc_now() + dt.timedelta(seconds=5)
    service = Redispatcher(engine, dispatcher, ["urgent"], clock=lambda: later)
    assert service.round() == 1
    assert dispatcher.waiting("urgent") == 1
    assert service.round() == 0, "rung for once, not at every round"


def test_a_long_queue_is_not_a_lost_one(engine: Engine, dispatcher: Dispatcher) -> None:
    job_id = store_job(engine)
    dispatcher.ring_now([job_id], "urgent")
    later = utc_now() + dt.timedelta(minutes=1)
    assert Redispatcher(engine, dispatcher, ["urgent"], clock=lambda: later).round() == 0


def test_a_job_that_later_ones_have_overtaken_has_lost_its_message(
    engine: Engine, dispatcher: Dispatcher
) -> None:
    long_ago = utc_now() - dt.timedelta(seconds=60)
    overtaken = store_job(engine, dispatched_at=long_ago)
    young = store_job(engine, dispatched_at=utc_now() - dt.timedelta(seconds=5))
    dispatcher.ring_now([new_id()], "urgent")
    service = Redispatcher(engine, dispatcher, ["urgent"])
    assert service.round() == 1
    assert read_job(engine, overtaken).dispatched_at > long_ago
    assert read_job(engine, young).dispatched_at < utc_now() - dt.timedelta(seconds=4)
    assert service.round() == 0, "not at every round"


def test_a_strange_message_at_the_head_of_a_queue_says_nothing(
    engine: Engine, dispatcher: Dispatcher, redis_url: str
) -> None:
    store_job(engine, dispatched_at=utc_now() - dt.timedelta(seconds=60))
    names, contents, _ = queue_keys("urgent")
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(names, "strange", "lost")
        client.hset(contents, "strange", b"\x00")
    service = Redispatcher(engine, dispatcher, ["urgent"])
    assert service.round() == 0
    with redis.Redis.from_url(redis_url) as client:
        client.lpop(names)
    assert service.round() == 0, "nor does one whose content is gone"


def test_a_dispatch_known_to_have_failed_is_made_up_for_at_once(
    engine: Engine, dispatcher: Dispatcher
) -> None:
    store_job(engine, dispatched_at=None)
    dispatcher.ring_now([new_id()], "urgent")
    assert Redispatcher(engine, dispatcher, ["urgent"]).round() == 1


def test_while_redis_is_down_the_rows_stay_as_they_are(engine: Engine) -> None:
    job_id = store_job(engine, dispatched_at=None)
    down = Dispatcher(redis.Redis(port=1), engine)
    with pytest.raises(redis.RedisError):
        Redispatcher(engine, down, ["urgent"]).round()
    down.close()
    assert read_job(engine, job_id).dispatched_at is None


def test_a_job_past_its_lifetime_expires_and_forgets_its_payload(engine: Engine) -> None:
    job_id = store_job(engine)
    assert Expirer(engine).round() == 0
    later = utc_now() + _HOUR
    assert Expirer(engine, clock=lambda: later).round() == 1
    row = read_job(engine, job_id)
    assert (row.state, row.sealed) == (State.EXPIRED, None)


def test_an_orphan_whose_provider_was_not_called_goes_back_to_the_queue(
    engine: Engine, commits: GroupCommit, ledger: LedgerWriter
) -> None:
    worker = _worker(engine)
    job_id = _claimed(engine, commits, worker)
    with writing(engine) as connection:
        sign_off(connection, worker.id, now=utc_now())
    assert Rescuer(engine, commits, ledger, worker_id=new_id()).round() == 1
    row = read_job(engine, job_id)
    assert row.state == State.RETRYING
    assert row.sealed is not None
    assert row.claims == 1, "the lost claim goes on counting"


def test_an_orphan_whose_bytes_may_have_left_becomes_unknown_and_is_not_repeated(
    engine: Engine, commits: GroupCommit, ledger: LedgerWriter
) -> None:
    worker = _worker(engine)
    job_id = _claimed(engine, commits, worker)
    _disclose(commits, ledger, job_id)
    with writing(engine) as connection:
        sign_off(connection, worker.id, now=utc_now())
    assert Rescuer(engine, commits, ledger, worker_id=new_id()).round() == 1
    with engine.connect() as connection:
        view = find_job(connection, job_id)
        assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
    assert view is not None
    assert (view.state, view.reason) == (State.UNKNOWN, "worker.lost")
    assert [disclosure.result for disclosure in view.disclosures] == ["unknown"]


def test_a_machine_that_is_gone_leaves_many_orphans_and_all_are_settled_in_one_round(
    engine: Engine, commits: GroupCommit, ledger: LedgerWriter
) -> None:
    worker = _worker(engine)
    ids = [_claimed(engine, commits, worker) for _ in range(30)]
    for job_id in ids[:10]:
        _disclose(commits, ledger, job_id)
    with writing(engine) as connection:
        sign_off(connection, worker.id, now=utc_now())
    assert Rescuer(engine, commits, ledger, worker_id=new_id()).round() == 30
    states = [read_job(engine, job_id).state for job_id in ids]
    assert states == [State.UNKNOWN] * 10 + [State.RETRYING] * 20
    with engine.connect() as connection:
        assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []


def test_silence_is_measured_by_the_rescuers_own_watch(
    engine: Engine, commits: GroupCommit, ledger: LedgerWriter
) -> None:
    worker = _worker(engine)
    _claimed(engine, commits, worker)
    watch = _Monotonic()
    rescuer = Rescuer(engine, commits, ledger, worker_id=new_id(), monotonic=watch)
    for _ in range(9):
        assert rescuer.round() == 0
        watch.now += 1
    with writing(engine) as connection:
        beat(connection, worker, now=utc_now() - 1000 * _HOUR)
    for _ in range(10):
        assert rescuer.round() == 0, "a heartbeat counts, whatever its clock says"
        watch.now += 1
    assert rescuer.round() == 1


def test_a_time_in_which_a_rescuer_could_not_look_counts_for_little(
    engine: Engine, commits: GroupCommit, ledger: LedgerWriter
) -> None:
    _claimed(engine, commits, _worker(engine))
    watch = _Monotonic()
    rescuer = Rescuer(engine, commits, ledger, worker_id=new_id(), monotonic=watch)
    rescuer.round()
    watch.now += 3600
    assert rescuer.round() == 0, "while the database was away nobody could beat"
    for _ in range(8):
        watch.now += 1
        assert rescuer.round() == 0
    watch.now += 1
    assert rescuer.round() == 1, "but the watch goes on where it was"


def test_two_rescuers_settle_an_orphan_once(
    engine: Engine, commits: GroupCommit, ledger: LedgerWriter
) -> None:
    worker = _worker(engine)
    job_id = _claimed(engine, commits, worker)
    with writing(engine) as connection:
        sign_off(connection, worker.id, now=utc_now())
    for _ in range(2):
        Rescuer(engine, commits, ledger, worker_id=new_id()).round()
    with engine.connect() as connection:
        view = find_job(connection, job_id)
    assert view is not None
    assert len(view.attempts) == 1


def test_past_buckets_are_forgotten(engine: Engine) -> None:
    job_id = store_job(engine)
    later = utc_now() + dt.timedelta(days=2)
    Pruner(engine, Sealer(engine, KEYS), clock=lambda: later).round()
    assert read_job(engine, job_id).sealed is None


def test_more_than_a_batch_of_old_jobs_is_deleted_in_rounds_that_follow_one_another(
    engine: Engine,
) -> None:
    old = utc_now() - dt.timedelta(days=200)
    with writing(engine) as connection:
        insert_jobs(connection, [a_job() for _ in range(501)])
        connection.execute(jobs.update().values(state=State.SUCCEEDED, settled_at=old))
    pruner = Pruner(engine, Sealer(engine, KEYS))
    seen = [(pruner.round(), pruner.interval) for _ in range(2)]
    assert seen == [(500, 1.0), (1, 60.0)]


def test_long_settled_jobs_are_deleted_but_unknown_ones_wait(engine: Engine) -> None:
    old = utc_now() - dt.timedelta(days=200)
    store_job(engine, state=State.SUCCEEDED, settled_at=old)
    unknown = store_job(engine, state=State.UNKNOWN, settled_at=old)
    Pruner(engine, Sealer(engine, KEYS)).round()
    assert read_job(engine, unknown).state == State.UNKNOWN
    with engine.connect() as connection:
        assert len(connection.exec_driver_sql("SELECT id FROM jobs").all()) == 1
