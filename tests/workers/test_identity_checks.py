"""A verdict is kept and the person is not; nothing is asked twice, and no child is asked about."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from stdnum.cn import ric

from integrations.policy import load_policy
from integrations.sandbox.app import create_sandbox
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.database import writing
from models.dump import dump_rows
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.identities import forget_verdicts, prune_verdicts
from models.jobs import JobView, find_job
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.pauses import Pause, Scope, pause
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from models.states import State
from models.tables import identity_verdicts, jobs
from tasks.registry import told
from tests.integrations.sandbox.test_cloudauth import id_number
from tests.tasks.test_identity_check import a_check
from tests.workers.rows import KEYS, PSEUDONYM_KEY, read_job, store_job
from workers.circuits import Circuits
from workers.consents import Agreement, Consents
from workers.execution import Execution
from workers.outlet import open_outlet
from workers.settings import Settings

PHONE = "16400001234"
AN_ORDER = {
    "purpose": "query",
    "order_no": "ZJJ-2026-1",
    "expected_order_no": "ZJJ-2026-1",
    "product_ref": None,
}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(create_sandbox(SandboxConfig())) as running:
        yield running


@pytest.fixture
def sandbox(server: SandboxServer) -> SandboxServer:
    server.sandbox.reset()
    return server


Make = Callable[..., Execution]


@pytest.fixture
def make(engine: Engine, sandbox: SandboxServer, tmp_path: Path) -> Iterator[Make]:
    commits = GroupCommit(engine)
    opened = []

    def execution(**settings: Any) -> Execution:
        ledger = LedgerWriter(PSEUDONYM_KEY)
        integrations = open_outlet(
            Settings(data=tmp_path, sandbox_url=sandbox.url, **settings),
            SqlLedger(commits, ledger),
            engine,
        )
        opened.append(integrations)
        return Execution(
            worker_id=new_id(),
            commits=commits,
            ledger=ledger,
            sealer=Sealer(engine, KEYS),
            context=integrations,
            circuits=Circuits(engine, commits, integrations.gate.policy),
        )

    yield execution
    for each in opened:
        each.close()
    commits.close()


@pytest.fixture
def consents(engine: Engine) -> Consents:
    """Knows that the person has agreed."""
    consents = Consents(engine, Pseudonyms(PSEUDONYM_KEY), load_policy())
    consents.record(an_agreement(), backend="test")
    return consents


def an_agreement(**changes: Any) -> Agreement:
    content = {
        "ref": "consent-1",
        "kind": "separate",
        "purpose": "verify_identity",
        "user": "u-17",
        "granted_at": utc_now(),
    }
    return Agreement.model_validate(content | changes)


@pytest.fixture
def check(engine: Engine, make: Make, consents: Consents) -> Callable[..., JobView]:
    """Run one check to its end."""
    del consents
    execution = make()

    def run(*, on: Execution | None = None, **changes: Any) -> JobView:
        job_id = store_job(engine, payload=a_check(**changes))
        (on or execution).run(job_id)
        return look(engine, job_id)

    return run


def look(engine: Engine, job_id: str) -> JobView:
    with engine.connect() as connection:
        view = find_job(connection, job_id)
        assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
    assert view is not None
    return replace(view, result=told(view.kind, view.state, view.result))


def refused(view: JobView) -> str | None:
    """Why the gate let nothing out."""
    assert (view.state, view.reason) == (State.FAILED, "egress_denied")
    (disclosure,) = view.disclosures
    return disclosure.reason


def sent(sandbox: SandboxServer) -> int:
    return int(sandbox.sandbox.journal.totals()["requests"])


@pytest.mark.parametrize(
    ("sequence", "verdict"), [("001", "match"), ("902", "mismatch"), ("903", "no_record")]
)
def test_a_verdict_stands_and_the_payload_is_gone_with_it(
    engine: Engine, check: Callable[..., JobView], sequence: str, verdict: str
) -> None:
    view = check(id_number=id_number(sequence))
    assert view.state is State.SUCCEEDED
    assert view.result["verdict"] == verdict
    assert read_job(engine, view.id).sealed is None


def test_what_stays_is_verdict_time_request_consent_and_fingerprint(
    engine: Engine, check: Callable[..., JobView]
) -> None:
    view = check(id_number=id_number(), phone=PHONE)
    with engine.connect() as connection:
        (row,) = connection.execute(select(identity_verdicts)).all()
        everything = b"".join(dump_rows(connection))
    assert (row.verdict, row.consent_ref, row.job_id) == ("match", "consent-1", view.id)
    assert row.provider_request_id == view.disclosures[0].provider_request_id
    assert len(row.fingerprint) == 64
    for value in ("张三", id_number(), PHONE):
        assert value.encode() not in everything


def test_a_verified_phone_stays_inside(check: Callable[..., JobView]) -> None:
    view = check(phone=PHONE, phone_verified=True)
    assert [d.operation for d in view.disclosures] == ["aliyun.identity.two_factor"]
    assert "phone" in view.disclosures[0].stripped


def test_an_unverified_phone_is_the_third_factor_and_the_order_stays_inside(
    check: Callable[..., JobView],
) -> None:
    view = check(phone=PHONE, **AN_ORDER)
    assert [d.operation for d in view.disclosures] == ["aliyun.identity.three_factor"]
    assert {"order_no", "expected_order_no"} <= set(view.disclosures[0].stripped)


@pytest.mark.parametrize("purpose", ["certification", "query"])
def test_an_order_that_is_not_the_persons_lets_nothing_leave(
    engine: Engine, check: Callable[..., JobView], sandbox: SandboxServer, purpose: str
) -> None:
    view = check(**(AN_ORDER | {"purpose": purpose, "order_no": "ZJJ-2026-2"}))
    assert (view.state, view.reason) == (State.FAILED, "order_mismatch")
    assert view.disclosures == ()
    assert read_job(engine, view.id).sealed is None
    assert sent(sandbox) == 0


def test_the_same_question_again_is_answered_from_the_record(
    check: Callable[..., JobView], sandbox: SandboxServer
) -> None:
    first, second = check(), check()
    assert (first.result["answered_by"], second.result["answered_by"]) == ("provider", "record")
    assert second.result["verdict"] == first.result["verdict"]
    assert second.result["checked_at"] == first.result["checked_at"]
    assert second.disclosures == ()
    assert sent(sandbox) == 1


@pytest.mark.parametrize(
    "changes", [{"name": "李四"}, {"id_number": id_number("002")}, {"phone": PHONE}]
)
def test_another_question_is_asked(
    check: Callable[..., JobView], sandbox: SandboxServer, changes: dict[str, Any]
) -> None:
    check()
    assert check(**changes).result["answered_by"] == "provider"
    assert sent(sandbox) == 2


def test_a_verdict_that_has_ceased_to_be_valid_answers_nothing(
    check: Callable[..., JobView], make: Make, sandbox: SandboxServer
) -> None:
    check()
    assert check(on=make(identity_valid_days=0)).result["answered_by"] == "provider"
    assert sent(sandbox) == 2


@pytest.mark.parametrize(
    ("sequence", "by"), [("001", "record"), ("902", "record"), ("903", "provider")]
)
def test_who_is_in_no_record_is_asked_about_again_on_another_day(
    engine: Engine, check: Callable[..., JobView], sequence: str, by: str
) -> None:
    number = id_number(sequence)
    check(id_number=number)
    assert check(id_number=number).result["answered_by"] == "record"
    with writing(engine) as connection:
        yesterday = utc_now() - dt.timedelta(days=1, minutes=1)
        connection.execute(identity_verdicts.update().values(at=yesterday))
    assert check(id_number=number).result["answered_by"] == by


def test_a_verdict_is_pruned_or_forgotten_with_its_consent(
    engine: Engine, check: Callable[..., JobView]
) -> None:
    check()
    with writing(engine) as connection:
        assert prune_verdicts(connection, before=utc_now() - dt.timedelta(days=1)) == 0
        assert forget_verdicts(connection, "shop", "consent-1") == 0, "another backend's"
        assert forget_verdicts(connection, "test", "consent-1") == 1
    check()
    with writing(engine) as connection:
        assert prune_verdicts(connection, before=utc_now()) == 1


def test_a_child_without_a_guardians_consent_is_refused_and_forgotten(
    engine: Engine, check: Callable[..., JobView], sandbox: SandboxServer
) -> None:
    view = check(id_number=a_childs_number())
    assert (view.state, view.reason) == (State.FAILED, "guardian_consent_required")
    assert view.result == {"verdict": "unavailable"}
    assert read_job(engine, view.id).sealed is None
    assert view.disclosures == ()
    assert sent(sandbox) == 0


def test_what_is_refused_does_not_wait_for_an_aliyun_that_is_at_rest(
    engine: Engine, check: Callable[..., JobView]
) -> None:
    at_rest = Pause(
        scope=Scope.RECIPIENT,
        name="aliyun_identity",
        since=utc_now(),
        until=None,
        actor="cli:me",
        reason="test",
    )
    with writing(engine) as connection:
        pause(connection, at_rest)
    assert check().state is State.RETRYING
    for view in (
        check(id_number=a_childs_number()),
        check(**(AN_ORDER | {"order_no": "ZJJ-2026-2"})),
    ):
        assert view.state is State.FAILED
        assert read_job(engine, view.id).sealed is None


def a_childs_number() -> str:
    head = f"999999{utc_now().year - 10}0101001"
    return head + str(ric.calc_check_digit(head + "0"))


def test_a_child_is_checked_with_a_guardians_consent(
    check: Callable[..., JobView], consents: Consents
) -> None:
    consents.record(an_agreement(ref="guardian-1", kind="guardian"), backend="test")
    view = check(id_number=a_childs_number(), guardian_ref="guardian-1")
    assert view.result["verdict"] == "match"


def test_a_guardian_who_has_not_agreed_lets_nothing_of_the_child_leave(
    engine: Engine, check: Callable[..., JobView], sandbox: SandboxServer
) -> None:
    view = check(id_number=a_childs_number(), guardian_ref="guardian-1")
    assert refused(view) == "guardian_unknown"
    assert read_job(engine, view.id).sealed is None
    assert sent(sandbox) == 0


def test_a_consent_that_was_never_recorded_opens_nothing(
    engine: Engine, check: Callable[..., JobView], sandbox: SandboxServer
) -> None:
    view = check(consent_ref="consent-2")
    assert refused(view) == "consent_unknown"
    assert read_job(engine, view.id).sealed is None
    assert sent(sandbox) == 0


def test_somebody_elses_consent_opens_nothing_not_even_the_record(
    check: Callable[..., JobView], sandbox: SandboxServer
) -> None:
    assert check().result["verdict"] == "match"
    view = check(user="u-18")
    assert refused(view) == "consent_person"
    assert sent(sandbox) == 1


def test_a_withdrawn_consent_stops_what_waits_and_forgets_the_verdict(
    engine: Engine, check: Callable[..., JobView], make: Make, consents: Consents
) -> None:
    check()
    waiting = store_job(engine, payload=a_check(name="李四"))
    assert consents.withdraw("consent-1", backend="test").cancelled == 1
    make().run(waiting)
    assert look(engine, waiting).state is State.CANCELLED
    assert read_job(engine, waiting).sealed is None
    assert refused(check()) == "consent_withdrawn"
    with engine.connect() as connection:
        assert connection.execute(select(identity_verdicts)).all() == []


def test_a_consent_that_is_withdrawn_while_aliyun_answers_leaves_no_verdict_behind(
    engine: Engine, make: Make, consents: Consents, sandbox: SandboxServer
) -> None:
    sandbox.sandbox.faults.add(Fault(kind="hang", seconds=1.5, times=1))
    job_id = store_job(engine, payload=a_check())
    worker = threading.Thread(target=make().run, args=(job_id,))
    worker.start()
    while not sent(sandbox):
        worker.join(0.02)
    consents.withdraw("consent-1", backend="test")
    worker.join()
    assert look(engine, job_id).result["verdict"] == "match"
    with engine.connect() as connection:
        assert connection.execute(select(identity_verdicts)).all() == []


def test_a_guardian_who_withdraws_has_the_childs_verdict_forgotten(
    engine: Engine, check: Callable[..., JobView], consents: Consents
) -> None:
    consents.record(an_agreement(ref="guardian-1", kind="guardian"), backend="test")
    check(id_number=a_childs_number(), guardian_ref="guardian-1")
    consents.withdraw("guardian-1", backend="test")
    with engine.connect() as connection:
        assert connection.execute(select(identity_verdicts)).all() == []


def test_a_guardian_whom_a_grown_up_does_not_need_decides_nothing(
    check: Callable[..., JobView], sandbox: SandboxServer
) -> None:
    assert check(guardian_ref="guardian-1").result["answered_by"] == "provider"
    assert check().result["answered_by"] == "record"


def test_a_billed_answer_is_never_asked_for_twice(
    check: Callable[..., JobView], sandbox: SandboxServer
) -> None:
    sandbox.sandbox.faults.add(Fault(kind="hang", seconds=30, times=1))
    view = check()
    assert (view.state, view.result["verdict"]) == (State.UNKNOWN, "unavailable")
    assert sent(sandbox) == 1


@pytest.mark.parametrize(
    "fault", [Fault(kind="code", code="500"), Fault(kind="status", status=502)]
)
def test_a_fault_on_their_side_is_retried_once(
    engine: Engine, make: Make, consents: Consents, sandbox: SandboxServer, fault: Fault
) -> None:
    sandbox.sandbox.faults.add(fault.model_copy())
    execution = make()
    job_id = store_job(engine, payload=a_check())
    execution.run(job_id)
    assert look(engine, job_id).state is State.RETRYING
    assert read_job(engine, job_id).sealed is not None
    assert "verdict" not in look(engine, job_id).result
    with writing(engine) as connection:
        connection.execute(jobs.update().values(run_at=utc_now()))
    execution.run(job_id)
    view = look(engine, job_id)
    assert (view.state, view.reason) == (State.FAILED, "provider.unavailable")
    assert view.result["verdict"] == "unavailable"
    assert read_job(engine, job_id).sealed is None
    execution.run(job_id)
    assert sent(sandbox) == 2


def test_a_person_of_whom_aliyun_wants_to_hear_no_more_is_left_alone(
    check: Callable[..., JobView], sandbox: SandboxServer
) -> None:
    sandbox.sandbox.faults.add(Fault(kind="code", code="403", times=1))
    assert check().reason == "provider.person_throttled"
    assert check().reason == "identity.person_throttled"
    assert check(id_number=id_number("002")).result["verdict"] == "match"
    assert sent(sandbox) == 2


def test_nobody_is_checked_more_often_in_a_day_than_allowed(
    check: Callable[..., JobView], make: Make, sandbox: SandboxServer
) -> None:
    execution = make(identity_daily_limit=2, identity_valid_days=0)
    views = [check(on=execution) for _ in range(3)]
    assert [view.reason for view in views] == [None, None, "identity.daily_limit"]
    assert views[2].result == {"verdict": "unavailable"}
    assert sent(sandbox) == 2


def _at_once(engine: Engine, make: Make, job_ids: list[str], **settings: Any) -> list[JobView]:
    """Let each job be run by a worker of its own, all at one time; then whoever waits, in order."""
    workers = [make(**settings) for _ in job_ids]
    threads = [
        threading.Thread(target=worker.run, args=(job_id,))
        for worker, job_id in zip(workers, job_ids, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for job_id in job_ids:
        _let_it_run_now(engine, job_id)
        workers[0].run(job_id)
    return [look(engine, job_id) for job_id in job_ids]


def _let_it_run_now(engine: Engine, job_id: str) -> None:
    with writing(engine) as connection:
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(run_at=utc_now()))


def test_the_same_question_at_the_same_moment_is_paid_once(
    engine: Engine, make: Make, consents: Consents, sandbox: SandboxServer
) -> None:
    sandbox.sandbox.faults.add(Fault(kind="hang", seconds=1.5))
    asked = [store_job(engine, payload=a_check()) for _ in range(3)]
    views = _at_once(engine, make, asked)
    assert sent(sandbox) == 1
    assert [view.result["verdict"] for view in views] == ["match"] * 3
    assert sorted(view.result["answered_by"] for view in views) == ["provider", "record", "record"]
    waited = [a for view in views for a in view.attempts if a.code == "identity.in_progress"]
    assert waited
    assert not any(attempt.counted for attempt in waited)


def test_what_one_person_is_asked_in_a_day_is_counted_exactly_also_at_the_same_moment(
    engine: Engine, make: Make, consents: Consents, sandbox: SandboxServer
) -> None:
    sandbox.sandbox.faults.add(Fault(kind="hang", seconds=1.5))
    names = ("张三", "张四", "张五")
    asked = [store_job(engine, payload=a_check(name=name)) for name in names]
    views = _at_once(engine, make, asked, identity_daily_limit=1)
    assert sent(sandbox) == 1
    assert sorted(view.reason or "" for view in views) == [
        "",
        "identity.daily_limit",
        "identity.daily_limit",
    ]
