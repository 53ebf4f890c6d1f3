"""A token is sent at most once; the number behind it reaches the backend that asked, once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from integrations.policy import load_policy
from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from integrations.sandbox.tokens import phone_behind
from models.clock import utc_now
from models.database import writing
from models.dump import dump_rows
from models.errors import ConfigurationError
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.jobs import JobView, find_job
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.pii import LoginToken, Phone
from models.sealing import Sealer
from models.states import State
from models.tables import data_keys, login_phones
from tasks import JiguangLogin, PhoneCheck, PhoneLogin
from tasks.registry import told
from tests.workers.rows import KEYS, KEYS_TEXT, PSEUDONYM_KEY, read_job, store_job
from workers.circuits import Circuits
from workers.execution import Execution
from workers.login_phones import LoginPhones
from workers.logins import open_login_roads
from workers.maintenance import Expirer
from workers.outlet import open_outlet
from workers.settings import Settings, load_settings

TOKEN = "sdk-token-0000000001"
PHONE = phone_behind(TOKEN)
BOTH = pytest.mark.parametrize("kind", [PhoneLogin, JiguangLogin])


@pytest.fixture
def sandbox(server: SandboxServer) -> SandboxServer:
    server.sandbox.reset()
    return server


@pytest.fixture
def execution(engine: Engine, sandbox: SandboxServer, tmp_path: Path) -> Iterator[Execution]:
    ledger, commits = LedgerWriter(PSEUDONYM_KEY), GroupCommit(engine)
    given: Any = {"master_keys": KEYS_TEXT, "sandbox_url": sandbox.url}
    settings = Settings(data=tmp_path, **given)
    integrations = open_outlet(settings, SqlLedger(commits, ledger), engine)
    yield Execution(
        worker_id=new_id(),
        commits=commits,
        ledger=ledger,
        sealer=Sealer(engine, KEYS),
        context=integrations,
        circuits=Circuits(engine, commits, integrations.gate.policy),
    )
    integrations.close()
    commits.close()


@pytest.fixture
def phones(engine: Engine) -> LoginPhones:
    return LoginPhones(engine, Sealer(engine, KEYS))


Run = Callable[..., JobView]


@pytest.fixture
def run(engine: Engine, execution: Execution) -> Run:
    """Run one login to its end."""

    def log_in(kind: type[PhoneLogin], token: str = TOKEN) -> JobView:
        job_id = store_job(engine, payload=kind(login_token=LoginToken(token)))
        execution.run(job_id)
        execution.run(job_id)
        return look(engine, job_id)

    return log_in


def look(engine: Engine, job_id: str) -> JobView:
    with engine.connect() as connection:
        view = find_job(connection, job_id)
        assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
    assert view is not None
    return replace(view, result=told(view.kind, view.state, view.result))


def sent(sandbox: SandboxServer) -> int:
    return int(sandbox.sandbox.journal.totals()["requests"])


@BOTH
def test_the_number_is_taken_once_by_the_backend_that_asked(
    run: Run, phones: LoginPhones, kind: type[PhoneLogin]
) -> None:
    view = run(kind)
    assert view.state is State.SUCCEEDED
    assert set(view.result) == {"phone_until"}
    assert phones.take(view.id, backend="another") is None
    assert phones.take(view.id, backend="test") == PHONE
    assert phones.take(view.id, backend="test") is None


def test_of_many_fetches_at_once_one_gets_the_number(run: Run, phones: LoginPhones) -> None:
    view = run(PhoneLogin)
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda _: phones.take(view.id, backend="test"), range(6)))
    assert sorted(taken, key=str) == [PHONE, *[None] * 5]


@BOTH
def test_number_and_token_are_nowhere_in_the_database(
    engine: Engine, run: Run, phones: LoginPhones, kind: type[PhoneLogin]
) -> None:
    view = run(kind)
    with engine.connect() as connection:
        everything = b"".join(dump_rows(connection))
    assert PHONE.encode() not in everything
    assert TOKEN.encode() not in everything
    assert read_job(engine, view.id).sealed is None


def test_a_number_that_nobody_comes_for_is_dropped(
    engine: Engine, run: Run, phones: LoginPhones
) -> None:
    first, second = run(PhoneLogin), run(PhoneLogin, TOKEN + "2")
    late = LoginPhones(
        engine, Sealer(engine, KEYS), clock=lambda: utc_now() + dt.timedelta(minutes=3)
    )
    assert late.take(first.id, backend="test") is None
    assert phones.take(first.id, backend="test") is None, "it is gone all the same"
    Expirer(engine, clock=lambda: utc_now() + dt.timedelta(minutes=3)).round()
    with engine.connect() as connection:
        assert connection.execute(select(login_phones)).all() == []
    assert phones.take(second.id, backend="test") is None


@BOTH
@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (Fault(kind="hang", seconds=30, times=1), State.UNKNOWN),
        (Fault(kind="drop", times=1), State.UNKNOWN),
        (Fault(kind="garbage", times=1), State.UNKNOWN),
        (Fault(kind="status", status=502, times=1), State.UNKNOWN),
    ],
)
def test_what_is_unclear_asks_for_a_new_token_and_is_never_sent_again(
    engine: Engine,
    run: Run,
    sandbox: SandboxServer,
    kind: type[PhoneLogin],
    fault: Fault,
    state: State,
) -> None:
    sandbox.sandbox.faults.add(fault.model_copy())
    view = run(kind)
    assert (view.state, view.reason) == (state, "login.ask_for_new_token")
    assert sent(sandbox) == 1
    assert read_job(engine, view.id).sealed is None, "so it cannot be replayed"


@BOTH
@pytest.mark.parametrize("limit", [False, True])
def test_a_refused_token_and_a_limit_ask_for_a_new_token_too(
    run: Run, sandbox: SandboxServer, kind: type[PhoneLogin], limit: bool
) -> None:
    refusals = ("8001", "1804") if kind is JiguangLogin else ("isv.TOKEN_INVALID", "biz.FREQUENCY")
    sandbox.sandbox.faults.add(Fault(kind="code", code=refusals[limit], times=1))
    view = run(kind)
    assert (view.state, view.reason) == (State.FAILED, "login.ask_for_new_token")
    assert view.attempts[-1].provider_code == refusals[limit]
    assert sent(sandbox) == 1


@BOTH
def test_a_token_that_several_jobs_bring_is_sent_by_one_of_them(
    engine: Engine, execution: Execution, sandbox: SandboxServer, kind: type[PhoneLogin]
) -> None:
    token = LoginToken(TOKEN)
    check = PhoneCheck(login_token=token, phone=Phone(PHONE))
    brought = [
        store_job(engine, payload=payload) for payload in (*[kind(login_token=token)] * 3, check)
    ]
    with ThreadPoolExecutor(len(brought)) as pool:
        list(pool.map(execution.run, brought))
    views = [look(engine, job_id) for job_id in brought]
    assert sent(sandbox) == 1
    assert [view.state for view in views].count(State.SUCCEEDED) == 1
    reasons = {view.reason for view in views if view.state is not State.SUCCEEDED}
    assert reasons == {"login.ask_for_new_token"}


def test_a_number_that_cannot_be_sealed_asks_for_a_new_token(
    engine: Engine, execution: Execution, sandbox: SandboxServer
) -> None:
    tokens = [LoginToken(TOKEN + last) for last in "12"]
    first, second = (store_job(engine, payload=PhoneLogin(login_token=t)) for t in tokens)
    sandbox.sandbox.faults.add(Fault(kind="code", code="isv.TOKEN_INVALID", times=1))
    execution.run(first)
    with writing(engine) as connection:  # the worker can still open payloads, and seal nothing new
        connection.execute(data_keys.update().values(wrapped=None, destroyed_at=utc_now()))
    execution.run(second)
    view = look(engine, second)
    assert sent(sandbox) == 2
    assert (view.state, view.reason) == (State.FAILED, "login.ask_for_new_token")


def test_a_refused_account_says_so_and_a_new_token_would_not_help(
    run: Run, sandbox: SandboxServer
) -> None:
    sandbox.sandbox.faults.add(Fault(kind="code", code="9018", times=1))
    assert run(JiguangLogin).reason == "provider.account_refused"


@pytest.mark.parametrize(("phone", "verdict"), [(PHONE, "match"), ("16400001234", "mismatch")])
def test_recovery_checks_whether_a_number_is_the_phones_own(
    engine: Engine, execution: Execution, phone: str, verdict: str
) -> None:
    payload = PhoneCheck(login_token=LoginToken(TOKEN), phone=Phone(phone))
    job_id = store_job(engine, payload=payload)
    execution.run(job_id)
    view = look(engine, job_id)
    assert (view.state, view.result) == (State.SUCCEEDED, {"verdict": verdict})


def test_recovery_without_an_answer_is_unavailable(
    engine: Engine, execution: Execution, sandbox: SandboxServer
) -> None:
    sandbox.sandbox.faults.add(Fault(kind="drop", times=1))
    payload = PhoneCheck(login_token=LoginToken(TOKEN), phone=Phone(PHONE))
    job_id = store_job(engine, payload=payload)
    execution.run(job_id)
    view = look(engine, job_id)
    assert (view.reason, view.result) == ("login.ask_for_new_token", {"verdict": "unavailable"})


def test_half_of_jiguangs_settings_are_refused_at_start(engine: Engine, tmp_path: Path) -> None:
    real = {"aliyun_access_key_id": "x" * 16, "aliyun_access_key_secret": "y"}
    settings = load_settings(data=tmp_path, jiguang_app_key="z" * 24, **real)
    gate: Any = _NoGate()
    with pytest.raises(ConfigurationError, match="ZJJ_JIGUANG_PRIVATE_KEY_FILE together"):
        open_login_roads(gate, engine, settings)
    roads = open_login_roads(gate, engine, load_settings(data=tmp_path, **real))
    attempt: Any = None
    with pytest.raises(ConfigurationError, match="ZJJ_JIGUANG_APP_KEY is not set"):
        roads.jiguang(attempt)


class _NoGate:
    """The policy of a gate that nothing passes."""

    policy = load_policy()
