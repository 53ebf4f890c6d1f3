"""Where nobody reports a text, a job asks, for a while; then its number is gone."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.database import writing
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.jobs import JobView, find_job
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from models.states import State
from models.tables import deliveries, jobs
from tasks.preparation import Preparation
from tests.workers.rows import KEYS, PSEUDONYM_KEY, store_job
from workers.circuits import Circuits
from workers.dispatch import Dispatcher
from workers.execution import Execution
from workers.maintenance import Inquirer
from workers.outlet import open_outlet
from workers.settings import load_settings


class Parts:
    """A worker, and a clock to turn for its maintenance."""

    def __init__(
        self, engine: Engine, server: SandboxServer, dispatcher: Dispatcher, folder: Path
    ) -> None:
        self.engine = engine
        self.sandbox = server.sandbox
        self.ahead = dt.timedelta(0)
        self.commits = GroupCommit(engine)
        ledger = LedgerWriter(PSEUDONYM_KEY)
        settings = load_settings(data=folder, sandbox_url=server.url)
        self.outlet = open_outlet(settings, SqlLedger(self.commits, ledger), engine)
        sealer = Sealer(engine, KEYS)
        policy = self.outlet.gate.policy
        self.execution = Execution(
            worker_id=new_id(),
            commits=self.commits,
            ledger=ledger,
            sealer=sealer,
            context=self.outlet,
            circuits=Circuits(engine, self.commits, policy),
        )
        self.inquirer = Inquirer(
            engine,
            sealer,
            Preparation(sealer, Pseudonyms(PSEUDONYM_KEY), policy_version=policy.version),
            dispatcher,
            clock=lambda: utc_now() + self.ahead,
        )

    def send(self) -> str:
        """Have a text accepted; returns its reference."""
        job_id = store_job(self.engine)
        self.execution.run(job_id)
        deadline = time.monotonic() + 5
        while self.delivery() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return job_id

    def delivery(self) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(select(deliveries)).one_or_none()

    def question(self) -> str | None:
        with self.engine.connect() as connection:
            return connection.scalar(select(jobs.c.id).where(jobs.c.kind == "sms_report"))

    def look(self, job_id: str) -> JobView:
        with self.engine.connect() as connection:
            view = find_job(connection, job_id)
            assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
        assert view is not None
        return view

    def close(self) -> None:
        self.outlet.close()
        self.commits.close()


@pytest.fixture
def parts(
    engine: Engine, server: SandboxServer, dispatcher: Dispatcher, tmp_path: Path
) -> Iterator[Parts]:
    server.sandbox.reset()
    parts = Parts(engine, server, dispatcher, tmp_path)
    yield parts
    parts.close()


def test_an_accepted_text_is_followed_by_ids_and_a_sealed_number(parts: Parts) -> None:
    reference = parts.send()
    row = parts.delivery()
    assert (row.reference, row.road, row.scene, row.state) == (
        reference,
        "aliyun_sms",
        "register",
        "accepted",
    )
    assert row.biz_id == parts.look(reference).result["biz_id"]
    assert b"16400001234" not in row.sealed


def test_a_silent_text_is_asked_about_and_its_fate_noted(parts: Parts) -> None:
    parts.send()
    assert parts.inquirer.round() == 0
    parts.ahead = dt.timedelta(minutes=2, seconds=1)
    assert parts.inquirer.round() == 1
    assert parts.inquirer.round() == 0
    question = parts.question()
    assert question is not None
    parts.execution.run(question)
    row = parts.delivery()
    assert (row.state, row.source, row.seconds, row.sealed) == ("delivered", "query", 0.0, None)
    view = parts.look(question)
    assert (view.state, view.result) == (State.SUCCEEDED, {"delivery": "delivered"})
    assert [each.operation for each in view.disclosures] == ["aliyun.sms.query"]


def test_a_text_that_failed_has_a_reason(parts: Parts) -> None:
    parts.sandbox.faults.add(Fault(kind="undelivered", code="IS_CLOSE", times=1))
    parts.send()
    parts.ahead = dt.timedelta(minutes=3)
    parts.inquirer.round()
    parts.execution.run(parts.question() or "")
    assert (parts.delivery().state, parts.delivery().reason) == ("undelivered", "phone.off")


def test_while_the_carrier_is_silent_the_question_waits_and_ends(parts: Parts) -> None:
    parts.sandbox.aliyun_sms.delivery_seconds = 10_000
    parts.send()
    parts.ahead = dt.timedelta(minutes=3)
    parts.inquirer.round()
    question = parts.question() or ""
    waits = []
    for _ in range(4):
        parts.execution.run(question)
        view = parts.look(question)
        waits.append((view.state, round((view.run_at - utc_now()).total_seconds(), -2)))
        with writing(parts.engine) as connection:
            connection.execute(jobs.update().where(jobs.c.id == question).values(run_at=utc_now()))
    assert waits[:3] == [
        (State.RETRYING, 300),
        (State.RETRYING, 900),
        (State.RETRYING, 1800),
    ]
    assert parts.look(question).result == {"delivery": "unreported"}
    parts.ahead = dt.timedelta(hours=1, seconds=1)
    parts.inquirer.round()
    assert parts.delivery().state == "unreported"


def test_a_text_that_was_reported_is_not_asked_about(parts: Parts) -> None:
    parts.send()
    with writing(parts.engine) as connection:
        connection.execute(deliveries.update().values(state="delivered", sealed=None, ask_at=None))
    parts.ahead = dt.timedelta(minutes=3)
    assert parts.inquirer.round() == 0
    assert parts.question() is None
