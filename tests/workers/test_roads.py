"""Two roads for one text: another one is taken only when the first provably sent nothing."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from integrations.backend import BackendWebhooks
from integrations.destinations import OwnHosts
from integrations.gate import Gate
from integrations.policy import load_policy
from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.codes import NewCode, Verification, checker_of, insert_codes
from models.database import writing
from models.errors import (
    ConfigurationError,
    DeniedError,
    RetryError,
    UnknownOutcomeError,
    WaitError,
    ZjjError,
)
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.jobs import JobView, find_job
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.pauses import Pause, Scope, list_pauses, pause
from models.payments.books import Books
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from models.states import State
from models.tables import deliveries, jobs
from models.webhooks import Endpoints
from tasks.preparation import Preparation
from tasks.roads import may_go_elsewhere, most_hopeful
from tests.workers.rows import KEYS, PSEUDONYM_KEY, store_job
from workers.circuits import Circuits
from workers.codes import CodeGuess, CodeService
from workers.dispatch import Dispatcher, connect_redis
from workers.execution import Execution
from workers.identities import open_identity_checks
from workers.logins import open_login_roads
from workers.maintenance import Reconciler
from workers.merchants import Merchants
from workers.outlet import Integrations
from workers.pushes import open_pushes
from workers.service import JobService
from workers.settings import load_settings
from workers.sms_outlet import open_sms_roads
from workers.till import Till

BOTH = ("aliyun_sms", "aliyun_sms_auth")
SMS = "dysmsapi.aliyuncs.com"
AUTH = "dypnsapi.aliyuncs.com"
NOWHERE = "http://127.0.0.1:9"


class World:
    """A worker between a database and two providers."""

    def __init__(self, engine: Engine, server: SandboxServer, folder: Path) -> None:
        self.engine = engine
        self.sandbox = server.sandbox
        self._url = server.url
        self._folder = folder
        self._closing: list[Callable[[], None]] = []

    def worker(self, *roads: str, dial: dict[str, str] | None = None) -> Execution:
        ledger, commits = LedgerWriter(PSEUDONYM_KEY), GroupCommit(self.engine)
        gate = Gate(
            load_policy(),
            SqlLedger(commits, ledger),
            dial={SMS: self._url, AUTH: self._url, **(dial or {})},
        )
        settings = load_settings(data=self._folder, sandbox_url=self._url, sms_roads=roads or BOTH)
        till = Till(Books(self.engine), Merchants([]), gate, settings.payment_confirm_from)
        integrations = Integrations(
            sms_roads=open_sms_roads(gate, settings),
            webhooks=BackendWebhooks(gate, Endpoints(self.engine, KEYS), OwnHosts()),
            identities=open_identity_checks(gate, self.engine, settings),
            logins=open_login_roads(gate, self.engine, settings),
            payments=till,
            pushes=open_pushes(gate, self.engine, settings),
            gate=gate,
        )
        self.circuits = Circuits(self.engine, commits, gate.policy, moment=0.0)
        sealer = Sealer(self.engine, KEYS)
        self.reconciler = Reconciler(
            self.engine,
            commits,
            ledger,
            sealer,
            integrations,
            self.circuits,
            worker_id=new_id(),
            policy_version=gate.policy.version,
            clock=lambda: utc_now() + dt.timedelta(minutes=1),
        )
        self._closing += [commits.close, gate.close]
        return Execution(
            worker_id=new_id(),
            commits=commits,
            ledger=ledger,
            sealer=sealer,
            context=integrations,
            circuits=self.circuits,
        )

    def job(self, *, ours: bool = True) -> str:
        """A code to send, made by us unless a backend brought it."""
        job_id = store_job(self.engine)
        now = utc_now()
        code = NewCode(
            place=new_id(),
            subject="s" * 64,
            job_id=job_id,
            backend="test",
            scene="register",
            digest="d" * 64,
            created_at=now,
            expires_at=now + dt.timedelta(minutes=5),
        )
        if ours:
            with writing(self.engine) as connection:
                insert_codes(connection, [code])
        return job_id

    def look(self, job_id: str) -> JobView:
        with self.engine.connect() as connection:
            view = find_job(connection, job_id)
            assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
        assert view is not None
        return view

    def checker(self, job_id: str) -> str | None:
        with self.engine.connect() as connection:
            return checker_of(connection, job_id)

    def question(self) -> str:
        """The question that waits for a worker, once there is one."""
        waiting = jobs.c.kind == "sms_code_check", jobs.c.state == State.QUEUED
        while True:
            with self.engine.connect() as connection:
                found: str | None = connection.scalar(select(jobs.c.id).where(*waiting))
            if found is not None:
                return found
            time.sleep(0.01)

    def texts(self, job_id: str) -> list[str]:
        """Who carried out a text for the job, whether or not we were told."""
        entries = self.sandbox.journal.entries(job_id)
        return [entry["provider"] for entry in entries if entry["accepted"]]

    def fault(self, **fault: Any) -> None:
        self.sandbox.faults.add(Fault(**fault))

    def close(self) -> None:
        while self._closing:
            self._closing.pop()()


@pytest.fixture
def world(engine: Engine, server: SandboxServer, tmp_path: Path) -> Iterator[World]:
    server.sandbox.reset()
    world = World(engine, server, tmp_path)
    yield world
    world.close()


def test_a_healthy_first_road_is_taken_and_named(world: World) -> None:
    job_id = world.job()
    world.worker().run(job_id)
    view = world.look(job_id)
    assert view.state is State.SUCCEEDED
    assert (view.result["road"], view.reason) == ("aliyun_sms", None)
    assert world.checker(job_id) == "ours"


def test_the_order_of_the_roads_is_configuration(world: World) -> None:
    job_id = world.job()
    world.worker("aliyun_sms_auth", "aliyun_sms").run(job_id)
    assert world.look(job_id).result["road"] == "aliyun_sms_auth"
    assert world.texts(job_id) == ["aliyun_number_auth"]
    assert world.checker(job_id) == "aliyun_sms_auth"


def test_a_code_that_the_provider_made_is_verified_by_it_and_passes_once(world: World) -> None:
    execution = world.worker("aliyun_sms_auth", "aliyun_sms")
    with a_code_service(world.engine) as codes:
        sent = codes.issue("16400001234", "register", backend="test")
        while world.look(sent.id).state == State.QUEUED:
            # Whoever notes that it could not be dispatched holds its row for a moment.
            execution.run(sent.id)
        (made,) = world.sandbox.dypns.codes(sent.id)

        def verified(code: str) -> Verification:
            guess = CodeGuess.model_validate(
                {"phone": "16400001234", "scene": "register", "code": code}
            )
            return codes.verify(guess, backend="test")

        with ThreadPoolExecutor(1) as person:
            wrong = person.submit(verified, f"{(int(made) + 1) % 10 ** len(made):0{len(made)}}")
            execution.run(world.question())
            assert (wrong.result().reason, wrong.result().attempts_left) == ("wrong", 4)
            right = person.submit(verified, made)
            execution.run(world.question())
            assert right.result().verified
        assert verified(made).reason == "used"


@contextmanager
def a_code_service(engine: Engine) -> Iterator[CodeService]:
    commits, pseudonyms = GroupCommit(engine), Pseudonyms(PSEUDONYM_KEY)
    preparation = Preparation(
        Sealer(engine, KEYS), pseudonyms, policy_version=load_policy().version
    )
    dispatcher = Dispatcher(connect_redis("redis://127.0.0.1:1/0"), engine)
    service = JobService(engine, commits, preparation, dispatcher)
    yield CodeService(service, commits, pseudonyms)
    commits.close()
    dispatcher.close()


def test_of_the_second_roads_texts_nobody_can_be_asked_so_no_number_is_kept(world: World) -> None:
    worker = world.worker(*BOTH[::-1])
    worker.run(world.job())
    world.close()
    with world.engine.connect() as connection:
        row = connection.execute(select(deliveries)).one()
    assert (row.road, row.state) == ("aliyun_sms_auth", "accepted")
    assert (row.sealed, row.ask_at) == (None, None)


def test_a_code_that_the_backend_brought_cannot_have_the_provider_make_one(world: World) -> None:
    job_id = world.job(ours=False)
    world.worker("aliyun_sms_auth", "aliyun_sms").run(job_id)
    assert world.texts(job_id) == ["aliyun_sms"]
    other = world.job(ours=False)
    world.worker("aliyun_sms_auth").run(other)
    assert world.look(other).reason == "configuration"
    assert world.texts(other) == []


REFUSALS = [
    ("Throttling.User", "provider.throttled", False),
    ("isv.SMS_TEMPLATE_ILLEGAL", "provider.template_refused", False),
    ("isv.SMS_SIGNATURE_ILLEGAL", "provider.sign_refused", True),
    ("isv.AMOUNT_NOT_ENOUGH", "provider.account_refused", True),
    ("isv.DAY_LIMIT_CONTROL", "provider.quota_spent", True),
]


@pytest.mark.parametrize(("code", "because", "stops"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_a_refusal_that_proves_nothing_was_sent_takes_the_other_road(
    world: World, code: str, because: str, stops: bool
) -> None:
    job_id = world.job()
    world.fault(kind="code", code=code, action="SendSms", times=1)
    world.worker().run(job_id)
    view = world.look(job_id)
    assert (view.state, view.reason) == (State.SUCCEEDED, "road.aliyun_sms_auth")
    assert (view.result["road"], view.result["because"]) == ("aliyun_sms_auth", because)
    assert [row.recipient for row in view.disclosures] == ["aliyun_sms", "aliyun_number_auth"]
    assert world.texts(job_id) == ["aliyun_number_auth"]
    assert world.checker(job_id) == "aliyun_sms_auth"
    with world.engine.connect() as connection:
        paused = {pause.name for pause in list_pauses(connection, now=utc_now())}
    assert paused == ({"aliyun_sms"} if stops else set())


def test_a_road_that_cannot_be_reached_sends_the_text_by_the_other(world: World) -> None:
    job_id = world.job()
    world.worker(dial={SMS: NOWHERE}).run(job_id)
    view = world.look(job_id)
    assert (view.result["road"], view.result["because"]) == (
        "aliyun_sms_auth",
        "provider.unreachable",
    )
    assert [row.result for row in view.disclosures] == ["unsent", "answered"]


def test_a_road_at_rest_is_not_tried_at_all(world: World) -> None:
    worker = world.worker(dial={SMS: NOWHERE})
    for _ in range(5):
        worker.run(world.job())
    job_id = world.job()
    worker.run(job_id)
    view = world.look(job_id)
    assert view.result["because"] == "recipient.resting"
    assert [row.recipient for row in view.disclosures] == ["aliyun_number_auth"]


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]], ids=lambda order: order[0])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset"},
        {"kind": "drop"},
        {"kind": "drop", "processed": False},
        {"kind": "garbage"},
        {"kind": "status", "status": 502},
        {"kind": "code", "code": "isp.SYSTEM_ERROR"},
        {"kind": "code", "code": "isv.NEVER_SEEN"},
    ],
    ids=str,
)
def test_after_an_unknown_outcome_no_road_is_taken_and_there_is_never_a_second_text(
    world: World, order: tuple[str, ...], fault: dict[str, Any]
) -> None:
    job_id = world.job()
    world.fault(**fault, times=1)
    world.worker(*order).run(job_id)
    assert world.look(job_id).state is State.UNKNOWN
    assert world.sandbox.journal.count(job_id) == 1
    assert len(world.texts(job_id)) <= 1


@pytest.mark.parametrize("word", ["分钟级", "小时级"])
def test_a_limit_that_protects_a_number_is_not_walked_around(world: World, word: str) -> None:
    job_id = world.job()
    world.fault(kind="code", code="isv.BUSINESS_LIMIT_CONTROL", message=f"触发{word}流控", times=1)
    world.worker().run(job_id)
    assert world.look(job_id).state in {State.RETRYING, State.EXPIRED}
    assert world.texts(job_id) == []
    assert world.sandbox.journal.count(job_id) == 1


def test_a_bad_number_is_bad_on_every_road(world: World) -> None:
    job_id = world.job()
    world.fault(kind="code", code="isv.MOBILE_NUMBER_ILLEGAL", times=1)
    world.worker().run(job_id)
    assert world.look(job_id).reason == "provider.number_refused"
    assert world.sandbox.journal.count(job_id) == 1


def test_when_no_road_is_open_the_job_waits(world: World) -> None:
    job_id = world.job()
    world.worker(dial={SMS: NOWHERE, AUTH: NOWHERE}).run(job_id)
    view = world.look(job_id)
    assert (view.state, view.reason) == (State.RETRYING, "provider.unreachable")


def test_a_text_that_goes_back_to_our_road_is_checked_by_us_again(world: World) -> None:
    job_id = world.job()
    world.fault(kind="code", code="Throttling.User", times=2)
    worker = world.worker()
    worker.run(job_id)
    assert world.checker(job_id) == "aliyun_sms_auth"
    assert world.look(job_id).state is State.RETRYING
    with writing(world.engine) as connection:
        connection.execute(jobs.update().values(run_at=utc_now()))
    worker.run(job_id)
    assert world.texts(job_id) == ["aliyun_sms"]
    assert world.checker(job_id) == "ours"


def test_a_code_that_the_provider_would_not_make_is_ours_again_in_the_same_breath(
    world: World,
) -> None:
    job_id = world.job()
    world.fault(kind="code", code="Throttling.User", action="SendSmsVerifyCode", times=1)
    world.worker(*BOTH[::-1]).run(job_id)
    assert world.texts(job_id) == ["aliyun_sms"]
    assert world.checker(job_id) == "ours"


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]], ids=lambda order: order[0])
def test_no_road_sends_a_code_that_has_died(world: World, order: tuple[str, ...]) -> None:
    job_id = world.job()
    worker = world.worker(*order)
    with writing(world.engine) as connection:
        connection.execute(jobs.update().values(expires_at=utc_now()))
    worker.run(job_id)
    assert world.look(job_id).state is State.EXPIRED
    assert world.texts(job_id) == []


def test_nobody_is_asked_about_a_text_of_the_second_road(world: World) -> None:
    job_id = world.job()
    world.fault(kind="reset", times=1)
    world.worker(*BOTH[::-1]).run(job_id)
    world.reconciler.round()
    view = world.look(job_id)
    assert view.state is State.UNKNOWN
    assert view.attempts[-1].code == "reconciled.nobody_to_ask"
    assert len(view.disclosures) == 1


@pytest.mark.parametrize(
    "error",
    [
        UnknownOutcomeError("x", code="provider.unreachable"),
        DeniedError("x", code="provider.unreachable"),
        RetryError("x"),
        WaitError("x", code="provider.number_throttled.minute"),
        WaitError("x", code="claim.lost"),
        ConfigurationError("x"),
    ],
    ids=lambda error: f"{type(error).__name__} {error.code}",
)
def test_what_does_not_prove_that_another_road_may_serve_stays(error: ZjjError) -> None:
    assert not may_go_elsewhere(error)


def test_of_two_refusals_the_one_that_passes_soonest_decides() -> None:
    later, sooner = WaitError("x", retry_after=9), WaitError("x", retry_after=2)
    never = ConfigurationError("x")
    assert most_hopeful([never, later, sooner]) is sooner
    assert most_hopeful([never]) is never


def test_roads_are_a_list_of_known_names() -> None:
    assert load_settings(sms_roads="aliyun_sms_auth, aliyun_sms").sms_roads == BOTH[::-1]
    for wrong in ("aliyun_sms,carrier_pigeon", "aliyun_sms,aliyun_sms", ""):
        with pytest.raises(ConfigurationError, match="ZJJ_SMS_ROADS"):
            load_settings(sms_roads=wrong)


def test_a_worker_does_not_start_with_a_text_that_promises_too_much(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZJJ_CODE_SECONDS", "120")
    with pytest.raises(ConfigurationError, match="promises 5 minutes"):
        world.worker()


def test_a_job_that_was_paused_by_a_person_takes_the_other_road(world: World) -> None:
    with writing(world.engine) as connection:
        pause(
            connection,
            Pause(
                scope=Scope.RECIPIENT,
                name="aliyun_sms",
                since=utc_now(),
                until=None,
                actor="an operator",
                reason="maintenance",
            ),
        )
    job_id = world.job()
    world.worker().run(job_id)
    assert world.look(job_id).result["because"] == "recipient.paused"
