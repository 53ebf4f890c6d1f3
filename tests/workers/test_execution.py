"""What a provider does decides where a job goes, and nothing is ever sent twice blindly."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from models.claims import ClaimRequest, write_claims
from models.clock import Clock, utc_now
from models.database import migrate, open_database, writing
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.jobs import JobView, find_job
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.pii import Phone, VerificationCode
from models.sealing import Sealer, seal_identity
from models.states import State
from models.tables import jobs
from tasks import SmsCode
from tests.workers.rows import KEYS, PSEUDONYM_KEY, read_job, store_job
from workers.circuits import Circuits
from workers.execution import Execution
from workers.maintenance import Rescuer
from workers.outlet import open_outlet
from workers.settings import Settings


@pytest.fixture
def sandbox(server: SandboxServer) -> SandboxServer:
    server.sandbox.reset()
    return server


@contextmanager
def _working(
    engine: Engine,
    sandbox: SandboxServer,
    folder: Path,
    sealer: Sealer,
    clock: Clock = utc_now,
) -> Iterator[Execution]:
    ledger = LedgerWriter(PSEUDONYM_KEY)
    commits = GroupCommit(engine)
    settings = Settings(data=folder, sandbox_url=sandbox.url)
    integrations = open_outlet(settings, SqlLedger(commits, ledger), engine)
    yield Execution(
        worker_id=new_id(),
        commits=commits,
        ledger=ledger,
        sealer=sealer,
        context=integrations,
        circuits=Circuits(engine, commits, integrations.gate.policy),
        clock=clock,
    )
    integrations.close()
    commits.close()


@pytest.fixture
def execution(engine: Engine, sandbox: SandboxServer, tmp_path: Path) -> Iterator[Execution]:
    with _working(engine, sandbox, tmp_path, Sealer(engine, KEYS)) as execution:
        yield execution


def _look(engine: Engine, job_id: str) -> JobView:
    with engine.connect() as connection:
        view = find_job(connection, job_id)
        assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
    assert view is not None
    return view


def test_an_accepted_text_succeeds_and_its_payload_is_forgotten(
    engine: Engine, execution: Execution, sandbox: SandboxServer
) -> None:
    job_id = store_job(engine)
    execution.run(job_id)
    view = _look(engine, job_id)
    assert view.state is State.SUCCEEDED
    assert set(view.result) == {"biz_id", "road"}
    assert [attempt.provider_code for attempt in view.attempts] == ["OK"]
    assert [disclosure.result for disclosure in view.disclosures] == ["answered"]
    with engine.connect() as connection:
        assert connection.execute(jobs.select()).one().sealed is None


def test_a_second_delivery_of_the_same_id_does_nothing(
    engine: Engine, execution: Execution, sandbox: SandboxServer
) -> None:
    job_id = store_job(engine)
    execution.run(job_id)
    execution.run(job_id)
    assert sandbox.sandbox.journal.count(job_id) == 1
    assert len(_look(engine, job_id).attempts) == 1


def test_an_id_that_is_nobodys_does_nothing(execution: Execution) -> None:
    execution.run(new_id())


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [
        (Fault(kind="reset", times=1), State.UNKNOWN, "outcome.unknown"),
        (Fault(kind="drop", times=1), State.UNKNOWN, "outcome.unknown"),
        (Fault(kind="garbage", times=1), State.UNKNOWN, "outcome.unknown"),
        (Fault(kind="status", status=502, times=1), State.UNKNOWN, None),
        (Fault(kind="code", code="isp.SYSTEM_ERROR", times=1), State.UNKNOWN, None),
        (Fault(kind="code", code="isv.NEVER_SEEN", times=1), State.UNKNOWN, None),
        (
            Fault(kind="code", code="isv.MOBILE_NUMBER_ILLEGAL", times=1),
            State.FAILED,
            "provider.number_refused",
        ),
        (Fault(kind="code", code="isv.AMOUNT_NOT_ENOUGH", times=1), State.FAILED, None),
        (
            Fault(kind="code", code="Throttling.User", times=1),
            State.RETRYING,
            "provider.throttled",
        ),
    ],
    ids=lambda value: value.code or value.kind if isinstance(value, Fault) else None,
)
def test_each_mishap_leads_where_it_should(
    engine: Engine,
    execution: Execution,
    sandbox: SandboxServer,
    fault: Fault,
    state: State,
    reason: str | None,
) -> None:
    sandbox.sandbox.faults.add(fault)
    job_id = store_job(engine)
    execution.run(job_id)
    view = _look(engine, job_id)
    assert view.state is state
    assert reason in {None, view.reason}
    assert sandbox.sandbox.journal.count(job_id) == 1
    execution.run(job_id)
    assert sandbox.sandbox.journal.count(job_id) == 1, "not before its time, and never if settled"


def test_waiting_for_the_provider_is_no_attempt(
    engine: Engine, execution: Execution, sandbox: SandboxServer
) -> None:
    sandbox.sandbox.faults.add(Fault(kind="code", code="Throttling.User", times=1))
    job_id = store_job(engine)
    execution.run(job_id)
    with writing(engine) as connection:
        connection.execute(jobs.update().values(run_at=utc_now()))
    execution.run(job_id)
    view = _look(engine, job_id)
    assert view.state is State.SUCCEEDED
    assert [attempt.counted for attempt in view.attempts] == [False, True]
    assert [attempt.number for attempt in view.attempts] == [1, 1]


def test_a_limit_that_outlives_the_code_expires_the_job(
    engine: Engine, execution: Execution, sandbox: SandboxServer
) -> None:
    limit = Fault(
        kind="code", code="isv.BUSINESS_LIMIT_CONTROL", message="触发天级流控Permits:10", times=1
    )
    sandbox.sandbox.faults.add(limit)
    job_id = store_job(engine)
    execution.run(job_id)
    assert _look(engine, job_id).state is State.EXPIRED


@pytest.mark.parametrize("mishap", ["nobody listens", "the TLS handshake fails"])
def test_an_unreachable_provider_is_tried_again_because_nothing_left(
    engine: Engine, sandbox: SandboxServer, tmp_path: Path, mishap: str
) -> None:
    # The sandbox speaks no TLS.
    url = (
        "http://127.0.0.1:1" if mishap == "nobody listens" else f"https://127.0.0.1:{sandbox.port}"
    )
    ledger, commits = LedgerWriter(PSEUDONYM_KEY), GroupCommit(engine)
    settings = Settings(data=tmp_path, sandbox_url=url)
    integrations = open_outlet(settings, SqlLedger(commits, ledger), engine)
    execution = Execution(
        worker_id=new_id(),
        commits=commits,
        ledger=ledger,
        sealer=Sealer(engine, KEYS),
        context=integrations,
        circuits=Circuits(engine, commits, integrations.gate.policy),
    )
    job_id = store_job(engine)
    execution.run(job_id)
    commits.close()
    view = _look(engine, job_id)
    assert (view.state, view.reason) == (State.RETRYING, "provider.unreachable")
    assert [disclosure.result for disclosure in view.disclosures] == ["unsent"]
    assert sandbox.sandbox.journal.count(job_id) == 0


def test_a_code_past_its_lifetime_is_never_sent(
    engine: Engine, execution: Execution, sandbox: SandboxServer
) -> None:
    job_id = store_job(engine, expires_at=utc_now() - dt.timedelta(seconds=1))
    execution.run(job_id)
    view = _look(engine, job_id)
    assert view.state is State.EXPIRED
    assert sandbox.sandbox.journal.count(job_id) == 0


def test_a_job_from_another_policy_version_is_denied_on_record(
    engine: Engine, execution: Execution, sandbox: SandboxServer
) -> None:
    job_id = store_job(engine)
    with writing(engine) as connection:
        sealer = Sealer(engine, KEYS)
        from models.sealing import seal_identity

        payload = SmsCode(phone=Phone("16400001234"), code=VerificationCode("1234"), scene="login")
        row = connection.execute(jobs.select()).one()
        sealed = sealer.seal(
            payload.held(), identity=seal_identity(job_id, row.kind, "1999"), bucket=row.bucket
        )
        connection.execute(jobs.update().values(policy_version="1999", sealed=sealed))
    execution.run(job_id)
    view = _look(engine, job_id)
    assert (view.state, view.reason) == (State.FAILED, "egress_denied")
    assert [(d.verdict, d.reason) for d in view.disclosures] == [("denied", "policy_version")]
    assert sandbox.sandbox.journal.count(job_id) == 0


def test_a_payload_moved_to_another_job_does_not_open(engine: Engine, execution: Execution) -> None:
    victim, thief = store_job(engine), store_job(engine)
    with writing(engine) as connection:
        sealed = connection.scalar(
            jobs.select().with_only_columns(jobs.c.sealed).where(jobs.c.id == victim)
        )
        connection.execute(jobs.update().where(jobs.c.id == thief).values(sealed=sealed))
    execution.run(thief)
    view = _look(engine, thief)
    assert (view.state, view.reason) == (State.FAILED, "seal.broken")


def test_a_kind_of_a_newer_version_waits_for_it(engine: Engine, execution: Execution) -> None:
    job_id = store_job(engine, kind="holographic_call")
    execution.run(job_id)
    view = _look(engine, job_id)
    assert (view.state, view.reason) == (State.RETRYING, "kind.unknown")
    assert [attempt.counted for attempt in view.attempts] == [False]


def test_a_job_that_kills_its_workers_is_poison(engine: Engine, execution: Execution) -> None:
    job_id = store_job(engine, claims=5)
    execution.run(job_id)
    view = _look(engine, job_id)
    assert (view.state, view.reason) == (State.FAILED, "poison")
    assert view.disclosures == ()


def test_poison_keeps_the_evidence_of_every_worker_that_died_over_it(
    engine: Engine, execution: Execution
) -> None:
    job_id = store_job(engine)
    commits = GroupCommit(engine)
    rescuer = Rescuer(engine, commits, LedgerWriter(PSEUDONYM_KEY), worker_id=new_id())
    dead = [new_id() for _ in range(5)]
    for worker_id in dead:
        request = ClaimRequest(job_id=job_id, worker_id=worker_id, at=utc_now())
        assert commits.run(write_claims, request) is not None
        assert rescuer.round() == 1
    commits.close()
    execution.run(job_id)
    view = _look(engine, job_id)
    assert (view.state, view.reason) == (State.FAILED, "poison")
    assert [a.code for a in view.attempts] == ["worker.lost"] * 5 + ["poison"]
    assert read_job(engine, job_id).sealed is not None, "so that a person may replay it"


def test_a_worker_that_lost_its_claim_sends_nothing(
    engine: Engine, execution: Execution, sandbox: SandboxServer
) -> None:
    job_id = store_job(engine)
    other = GroupCommit(engine)
    claim = other.run(write_claims, ClaimRequest(job_id=job_id, worker_id=new_id(), at=utc_now()))
    other.close()
    assert claim is not None
    execution.run(job_id)
    assert sandbox.sandbox.journal.count(job_id) == 0
    assert execution.active == frozenset()


def test_an_outcome_outlasts_an_outage_of_the_database(
    sqlite_url: str, sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.database._BUSY_SECONDS", 0)
    engine = open_database(sqlite_url)
    migrate(engine)
    with _working(engine, sandbox, tmp_path, Sealer(engine, KEYS)) as execution:
        sandbox.sandbox.faults.add(Fault(kind="hang", seconds=0.5, times=1))
        job_id = store_job(engine)
        thread = threading.Thread(target=execution.run, args=(job_id,))
        thread.start()
        while not sandbox.sandbox.journal.count(job_id):
            time.sleep(0.01)
        with writing(engine):  # nobody else can
            thread.join(2)
            assert execution.active == {job_id}, "it has been turned away again and again"
        thread.join()
    assert _look(engine, job_id).state is State.SUCCEEDED
    engine.dispose()


def test_a_database_that_is_away_as_a_seal_is_opened_fails_no_job(
    engine: Engine, sandbox: SandboxServer, tmp_path: Path
) -> None:
    nowhere = Sealer(open_database("postgresql://nobody@127.0.0.1:1/none"), KEYS)
    job_id = store_job(engine)
    with _working(engine, sandbox, tmp_path, nowhere) as execution:
        execution.run(job_id)
    view = _look(engine, job_id)
    assert (view.state, view.reason) == (State.RETRYING, "database.unavailable")
    assert sandbox.sandbox.journal.count(job_id) == 0


def test_an_accepted_text_that_cannot_be_followed_is_accepted_all_the_same(
    engine: Engine, sandbox: SandboxServer, tmp_path: Path
) -> None:
    sealer = Sealer(engine, KEYS)
    job_id = store_job(engine, expires_at=None)
    row = read_job(engine, job_id)
    sealer.open(
        row.sealed,
        identity=seal_identity(row.id, row.kind, row.policy_version),
        bucket=row.bucket,
    )
    with writing(engine) as connection:
        connection.exec_driver_sql("DROP TABLE data_keys")
    tomorrow = dt.timedelta(days=1)
    with _working(
        engine, sandbox, tmp_path, sealer, clock=lambda: utc_now() + tomorrow
    ) as execution:
        execution.run(job_id)
    assert _look(engine, job_id).state is State.SUCCEEDED
