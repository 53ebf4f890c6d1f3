"""Searching, replaying and cancelling with the client, at a real gateway."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator

import pytest

import zjj
from models.clock import utc_now
from models.database import writing
from models.states import State
from models.tables import jobs
from tests.workers.gateway.serving import Gateway, serve_gateway
from tests.workers.rows import a_code

PHONE = "16400001234"
"""That of tests.workers.rows."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serve_gateway(f"sqlite:///{tmp_path_factory.mktemp('operating') / 'zjj.db'}") as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[zjj.Client]:
    with zjj.Client(gateway.url, gateway.api_key) as client:
        yield client


def stored(gateway: Gateway, state: State) -> str:
    job = gateway.service.enqueue(a_code(), backend="shop")
    with writing(gateway.engine) as connection:
        connection.execute(
            jobs.update().where(jobs.c.id == job.id).values(state=state, settled_at=utc_now())
        )
    return job.id


def test_jobs_are_found_by_whom_they_are_about_and_when(
    gateway: Gateway, client: zjj.Client
) -> None:
    older, newer = stored(gateway, State.FAILED), stored(gateway, State.FAILED)
    hour_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    page = client.jobs.search(phone=PHONE, since=hour_ago, limit=1)
    assert [job.id for job in page.jobs] == [newer]
    following = client.jobs.search(phone=PHONE, before=page.next or "", limit=1)
    assert [(job.id, job.state) for job in following.jobs] == [(older, "failed")]
    assert client.jobs.search(phone="16400009999").jobs == ()
    with pytest.raises(zjj.InvalidRequestError, match="phone") as refused:
        client.jobs.search(phone="164-not-a-phone")
    assert "not-a-phone" not in str(refused.value)


def test_a_replay_says_what_came_of_it_and_happens_once_for_a_key(
    gateway: Gateway, client: zjj.Client
) -> None:
    job_id, unknown = stored(gateway, State.FAILED), stored(gateway, State.UNKNOWN)
    done = client.jobs.replay(job_id, reason="approved now", idempotency_key="k")
    assert (done.replayed, dict(done.refused), done.pending) == (1, {}, 0)
    assert client.jobs.replay(job_id, reason="approved now", idempotency_key="k") == done
    assert client.jobs.get(job_id).state == "queued"
    assert client.jobs.replay(unknown, reason="try").refused == {"outcome.unknown": 1}


def test_only_what_waits_is_cancelled(gateway: Gateway, client: zjj.Client) -> None:
    waiting, done = stored(gateway, State.QUEUED), stored(gateway, State.SUCCEEDED)
    assert client.jobs.cancel(waiting, reason="mistake").state == "cancelled"
    with pytest.raises(zjj.ConflictError, match="only a waiting one"):
        client.jobs.cancel(done, reason="mistake")


def test_anothers_jobs_do_not_exist(gateway: Gateway) -> None:
    job_id = stored(gateway, State.FAILED)
    with zjj.Client(gateway.url, gateway.other_api_key) as other:
        for act in (other.jobs.replay, other.jobs.cancel):
            with pytest.raises(zjj.NotFoundError):
                act(job_id, reason="try")


def test_the_async_client_does_the_same(gateway: Gateway) -> None:
    job_id = stored(gateway, State.FAILED)

    async def talk() -> tuple[int, str, str]:
        async with zjj.AsyncClient(gateway.url, gateway.api_key) as client:
            replay = await client.jobs.replay(job_id, reason="approved now")
            page = await client.jobs.search(state=["queued"], limit=1)
            job = await client.jobs.cancel(job_id, reason="mistake")
            return replay.replayed, page.jobs[0].id, job.state

    assert asyncio.run(talk()) == (1, job_id, "cancelled")
