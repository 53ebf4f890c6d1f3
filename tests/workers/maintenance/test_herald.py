"""A backend is told how each of its jobs ends, once for each end, whoever settled it."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, select

from integrations.policy import load_policy
from models.claims import expire
from models.clock import utc_now
from models.database import writing
from models.endings import any_unannounced
from models.job_search import JobFilter
from models.jobs import find_job
from models.pseudonyms import Pseudonyms
from models.replays import cancel_jobs
from models.sealing import Sealer, seal_identity
from models.states import State
from models.tables import jobs
from models.webhooks import add_endpoint
from tasks.preparation import Preparation
from tasks.registry import TASKS
from tests.workers.rows import KEYS, PSEUDONYM_KEY, store_job
from workers.dispatch import Dispatcher
from workers.maintenance import Herald
from workers.replays import Replays
from workers.webhooks import Announcer

NOW = utc_now()


@pytest.fixture
def herald(engine: Engine, dispatcher: Dispatcher) -> Herald:
    with writing(engine) as connection:
        add_endpoint(
            connection,
            KEYS,
            backend="test",
            url="http://127.0.0.1:9/hook",
            events=["job.*"],
            now=NOW,
        )
    preparation = Preparation(
        Sealer(engine, KEYS), Pseudonyms(PSEUDONYM_KEY), policy_version=load_policy().version
    )
    return Herald(engine, Announcer(engine, preparation), dispatcher)


def _told(engine: Engine) -> list[dict[str, Any]]:
    """What the webhooks say, in the order in which they were stored."""
    sealer = Sealer(engine, KEYS)
    with engine.connect() as connection:
        rows = connection.execute(
            select(jobs).where(jobs.c.kind == "webhook").order_by(jobs.c.lane, jobs.c.position)
        ).all()
    return [
        sealer.open(
            row.sealed,
            identity=seal_identity(row.id, row.kind, row.policy_version),
            bucket=row.bucket,
        )
        for row in rows
    ]


def _ended(engine: Engine, state: State, **columns: Any) -> str:
    ending: dict[str, Any] = {"state": state, "settled_at": NOW, "announces": True} | columns
    return store_job(engine, **ending)


def test_the_webhook_says_what_anybody_may_see_of_the_job(engine: Engine, herald: Herald) -> None:
    job_id = _ended(engine, State.SUCCEEDED, result={"verdict": "mismatch", "other": "x"})
    assert herald.round() == 1
    (told,) = _told(engine)
    with engine.connect() as connection:
        view = find_job(connection, job_id)
    assert view is not None
    assert told.pop("endpoint")
    assert told == {
        "event": "job.settled",
        "occurred_at": NOW.isoformat().replace("+00:00", "Z"),
        "ordering_key": job_id,
        "job_id": view.id,
        "kind": view.kind,
        "status": view.state,
        "verdict": view.result["verdict"],
    }


@pytest.mark.parametrize("state", [State.FAILED, State.UNKNOWN, State.EXPIRED, State.CANCELLED])
def test_a_bad_end_is_told_with_its_reason(engine: Engine, herald: Herald, state: State) -> None:
    _ended(engine, state, reason="provider.refused")
    herald.round()
    (told,) = _told(engine)
    assert (told["status"], told["reason_code"]) == (state, "provider.refused")


def test_an_odd_reason_and_an_odd_verdict_are_not_repeated(engine: Engine, herald: Herald) -> None:
    _ended(engine, State.FAILED, reason="刘 16400001234", result={"verdict": "16400001234"})
    herald.round()
    (told,) = _told(engine)
    assert told["reason_code"] == "other"
    assert "verdict" not in told


def test_each_end_is_told_once_and_the_last_word_comes_last(engine: Engine, herald: Herald) -> None:
    job_id = _ended(engine, State.UNKNOWN)
    assert [herald.round(), herald.round()] == [1, 0]
    with writing(engine) as connection:
        connection.execute(
            jobs.update().where(jobs.c.id == job_id).values(state=State.SUCCEEDED, settled_at=NOW)
        )
    assert [herald.round(), herald.round()] == [1, 0]
    assert [told["status"] for told in _told(engine)] == ["unknown", "succeeded"]


def test_a_job_that_was_replayed_and_failed_again_is_told_of_again(
    engine: Engine, herald: Herald
) -> None:
    job_id = _ended(engine, State.FAILED)
    assert herald.round() == 1
    replays = Replays(engine, Sealer(engine, KEYS), load_policy())
    batch = replays.begin(JobFilter(ids=(job_id,)), actor="test", reason="outage")
    assert replays.run(batch) == {"replayed": 1}
    assert herald.round() == 0
    with writing(engine) as connection:
        again = jobs.update().where(jobs.c.id == job_id)
        connection.execute(again.values(state=State.FAILED, settled_at=utc_now()))
    assert herald.round() == 1
    assert [told["status"] for told in _told(engine)] == ["failed", "failed"]


def test_what_expires_and_what_is_cancelled_is_told_too(engine: Engine, herald: Herald) -> None:
    past = NOW - dt.timedelta(minutes=1)
    store_job(engine, announces=True, expires_at=past)
    other = store_job(engine, announces=True)
    with writing(engine) as connection:
        expire(connection, NOW)
        wanted = JobFilter(ids=(other,))
        cancel_jobs(connection, wanted, actor="cli:me", reason="why not", now=NOW)
    assert herald.round() == 2
    assert {told["status"] for told in _told(engine)} == {"expired", "cancelled"}


@pytest.mark.parametrize("state", [State.FAILED, State.UNKNOWN, State.EXPIRED, State.CANCELLED])
def test_a_verdict_that_never_came_is_told_as_unavailable(
    engine: Engine, herald: Herald, state: State
) -> None:
    _ended(engine, state, kind="identity_check", reason="worker.lost")
    herald.round()
    (told,) = _told(engine)
    assert (told["verdict"], told["reason_code"]) == ("unavailable", "worker.lost")


def test_nobody_is_told_of_jobs_that_do_not_announce_or_go_on(
    engine: Engine, herald: Herald
) -> None:
    _ended(engine, State.SUCCEEDED, announces=False)
    _ended(engine, State.RETRYING, settled_at=None)
    assert herald.round() == 0
    assert _told(engine) == []


def test_a_backend_without_an_endpoint_owes_nothing(engine: Engine, herald: Herald) -> None:
    _ended(engine, State.SUCCEEDED, backend="another")
    assert herald.round() == 1
    assert _told(engine) == []
    with engine.connect() as connection:
        assert not any_unannounced(connection)


def test_heralds_of_several_workers_tell_each_end_once(
    engine: Engine, herald: Herald, dispatcher: Dispatcher
) -> None:
    ended = {_ended(engine, State.SUCCEEDED) for _ in range(10)}
    with ThreadPoolExecutor(4) as pool:
        rounds = list(pool.map(lambda _: herald.round(), range(8)))
    assert sum(rounds) == 10
    assert {told["job_id"] for told in _told(engine)} == ended
    assert len(_told(engine)) == 10


def test_it_is_announced_which_tasks_announce() -> None:
    assert {kind for kind, task in TASKS.items() if task.announces} >= {"identity_check"}
    assert not TASKS["webhook"].announces
    assert not TASKS["sms_code"].announces
