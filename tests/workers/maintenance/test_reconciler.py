"""Unknown outcomes are looked up at the recipient, and never repeated by a rule."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.jobs import JobView, find_job
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.sealing import Sealer
from models.states import Event, State
from tests.workers.rows import KEYS, PSEUDONYM_KEY, read_job, store_job
from workers.circuits import Circuits
from workers.execution import Execution
from workers.maintenance import Reconciler
from workers.outlet import open_outlet
from workers.settings import Settings


class _Parts:
    """A worker's execution and reconciler over one database and sandbox, with a clock to turn."""

    def __init__(self, engine: Engine, server: SandboxServer, folder: Path) -> None:
        self.engine = engine
        self.journal = server.sandbox.journal
        self.faults = server.sandbox.faults
        self.ahead = dt.timedelta(0)
        self.ledger = LedgerWriter(PSEUDONYM_KEY)
        self.commits = GroupCommit(engine)
        settings = Settings(data=folder, sandbox_url=server.url)
        self.integrations = open_outlet(settings, SqlLedger(self.commits, self.ledger), engine)
        self.sealer = Sealer(engine, KEYS)
        policy = self.integrations.gate.policy
        self.circuits = Circuits(engine, self.commits, policy)
        self.execution = Execution(
            worker_id=new_id(),
            commits=self.commits,
            ledger=self.ledger,
            sealer=self.sealer,
            context=self.integrations,
            circuits=self.circuits,
        )
        self.reconciler = self.a_reconciler()

    def a_reconciler(self) -> Reconciler:
        return Reconciler(
            self.engine,
            self.commits,
            self.ledger,
            self.sealer,
            self.integrations,
            self.circuits,
            worker_id=new_id(),
            policy_version=self.integrations.gate.policy.version,
            clock=lambda: utc_now() + self.ahead,
        )

    def lose(self, fault: Fault) -> str:
        """A job whose outcome is unknown, and due to be asked about."""
        self.faults.add(fault)
        job_id = store_job(self.engine)
        self.execution.run(job_id)
        self.faults.clear()
        assert self.look(job_id).state is State.UNKNOWN
        self.ahead += dt.timedelta(seconds=6)
        return job_id

    def look(self, job_id: str) -> JobView:
        with self.engine.connect() as connection:
            view = find_job(connection, job_id)
            assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
        assert view is not None
        return view

    def close(self) -> None:
        self.integrations.close()
        self.commits.close()


@pytest.fixture
def parts(engine: Engine, server: SandboxServer, tmp_path: Path) -> Iterator[_Parts]:
    server.sandbox.reset()
    parts = _Parts(engine, server, tmp_path)
    yield parts
    parts.close()


def test_a_text_that_arrived_is_found_and_not_sent_again(parts: _Parts) -> None:
    job_id = parts.lose(Fault(kind="reset", times=1))
    assert parts.reconciler.round() == 1
    view = parts.look(job_id)
    assert (view.state, view.reason) == (State.SUCCEEDED, "reconciled.delivered")
    assert view.provider_code == "DELIVERED"
    assert [(a.event, a.counted) for a in view.attempts] == [
        (Event.LOSE, True),
        (Event.SUCCEED, False),
    ]
    assert [d.operation for d in view.disclosures] == ["aliyun.sms.send", "aliyun.sms.query"]
    assert view.disclosures[1].categories == ("user.contact.phone_number",)
    assert parts.journal.count(job_id) == 1
    assert read_job(parts.engine, job_id).sealed is None


def test_a_text_that_the_carrier_refused_has_failed_with_the_carriers_code(
    parts: _Parts, server: SandboxServer
) -> None:
    job_id = parts.lose(Fault(kind="reset", times=1))
    (texts,) = server.sandbox.aliyun_sms._messages.values()
    texts[:] = [replace(text, undelivered="MOBILE_NOT_ON_SERVICE") for text in texts]
    assert parts.reconciler.round() == 1
    view = parts.look(job_id)
    assert (view.state, view.reason) == (State.FAILED, "reconciled.failed")
    assert view.provider_code == "MOBILE_NOT_ON_SERVICE"


def test_a_text_that_nobody_knows_of_stays_unknown_and_is_asked_about_more_and_more_rarely(
    parts: _Parts,
) -> None:
    job_id = parts.lose(Fault(kind="drop", processed=False, times=1))
    asked_at = []
    for _ in range(12):
        parts.reconciler.round()
        asked_at.append(read_job(parts.engine, job_id).run_at)
        parts.ahead += dt.timedelta(hours=3, seconds=1)
    view = parts.look(job_id)
    assert view.state is State.UNKNOWN
    assert {a.code for a in view.attempts[1:]} == {"reconciled.not_found"}
    assert len(view.attempts) == 1 + 7, "questions are bounded"
    assert parts.journal.count(job_id) == 1, "and nothing is sent again"


def test_before_its_time_and_by_two_at_once_nobody_asks_twice(parts: _Parts) -> None:
    job_id = parts.lose(Fault(kind="drop", processed=False, times=1))
    other = parts.a_reconciler()
    assert [parts.reconciler.round(), other.round()] == [0, 0]
    assert len(parts.look(job_id).attempts) == 2
    assert other.round() == 0
    assert len(parts.look(job_id).attempts) == 2


def test_a_question_without_an_answer_is_asked_again(parts: _Parts) -> None:
    job_id = parts.lose(Fault(kind="reset", times=1))
    parts.faults.add(Fault(kind="garbage", action="QuerySendDetails", times=1))
    assert parts.reconciler.round() == 0
    assert parts.look(job_id).attempts[-1].code == "provider.no_answer"
    parts.ahead += dt.timedelta(seconds=16)
    assert parts.reconciler.round() == 1
    assert parts.look(job_id).state is State.SUCCEEDED


def test_an_erased_payload_is_not_asked_about(parts: _Parts) -> None:
    job_id = parts.lose(Fault(kind="reset", times=1))
    with parts.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET sealed = NULL")
    assert parts.reconciler.round() == 0
    assert parts.look(job_id).state is State.UNKNOWN
