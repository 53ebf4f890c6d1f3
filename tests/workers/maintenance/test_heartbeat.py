"""A worker shows that it lives, and leaves no job running that it does not work on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from models.claims import ClaimRequest, Worker, write_claims
from models.clock import utc_now
from models.disclosures import SendResult
from models.group_commit import GroupCommit
from models.jobs import find_job
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.states import State
from models.upkeep import list_workers
from tests.models.rows import a_disclosure
from tests.workers.rows import PSEUDONYM_KEY, read_job, store_job
from workers.maintenance import Heartbeat

ME = "a" * 32


class _Life:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.active: set[str] = set()
        self.commits = GroupCommit(engine)
        self.ledger = LedgerWriter(PSEUDONYM_KEY)
        me = Worker(id=ME, host="h", pid=1, queues=("urgent",), started_at=utc_now())
        self.heartbeat = Heartbeat(
            me, engine, self.commits, self.ledger, lambda: frozenset(self.active)
        )

    def claim(self) -> Any:
        request = ClaimRequest(job_id=store_job(self.engine), worker_id=ME, at=utc_now())
        claim = self.commits.run(write_claims, request)
        assert claim is not None
        return claim


@pytest.fixture
def life(engine: Engine) -> Iterator[_Life]:
    life = _Life(engine)
    yield life
    life.commits.close()


def test_every_round_is_a_sign_of_life(life: _Life, engine: Engine) -> None:
    for _ in range(3):
        assert life.heartbeat.round() == 0
    with engine.connect() as connection:
        assert [(row.id, row.beats) for row in list_workers(connection)] == [(ME, 3)]


def test_a_claim_that_nobody_heard_of_goes_back_to_the_queue(life: _Life, engine: Engine) -> None:
    job_id = life.claim().job_id
    assert life.heartbeat.round() == 0, "it may be on its way"
    assert life.heartbeat.round() == 1
    row = read_job(engine, job_id)
    assert (row.state, row.attempts, row.claimed_by) == (State.RETRYING, 0, None)


def test_a_job_that_was_disclosed_and_lost_sight_of_is_unknown(life: _Life, engine: Engine) -> None:
    claim = life.claim()
    disclosure = a_disclosure(claim, at=utc_now())
    SqlLedger(life.commits, life.ledger).record(disclosure)
    life.heartbeat.round()
    assert life.heartbeat.round() == 1
    with engine.connect() as connection:
        view = find_job(connection, claim.job_id)
        assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
    assert view is not None
    assert (view.state, view.reason) == (State.UNKNOWN, "claim.stray")
    assert [d.result for d in view.disclosures] == [SendResult.UNKNOWN]


def test_what_is_worked_on_is_left_alone(life: _Life, engine: Engine) -> None:
    job_id = life.claim().job_id
    life.active.add(job_id)
    for _ in range(3):
        assert life.heartbeat.round() == 0
    assert read_job(engine, job_id).state == State.RUNNING
