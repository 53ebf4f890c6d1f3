"""A push has one cid, kept before it leaves, and whatever happens a device rings once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from integrations.policy import load_policy
from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.database import writing
from models.dump import dump_rows
from models.errors import ConfigurationError
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.jobs import JobView, find_job
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.pii import PushToken
from models.pseudonyms import Pseudonyms
from models.push_cids import CIDS_KEPT, prune_cids
from models.sealing import Sealer
from models.states import State
from models.tables import jobs, push_cids
from tasks import Push
from tests.workers.rows import KEYS, KEYS_TEXT, PSEUDONYM_KEY, store_job
from workers.circuits import Circuits
from workers.consents import Agreement, Consents, Objection
from workers.execution import Execution
from workers.maintenance import Reconciler
from workers.outlet import Integrations, open_outlet
from workers.pushes import Pushes, open_pushes
from workers.settings import Settings, load_settings

TOKEN = "13065ffa4e3ae5f7c4b"
RESET = Fault(kind="reset", action="push", times=1)
ON_THE_WAY = Fault(kind="drop", action="push", processed=False, times=1)


class House:
    """A worker and a reconciler over one database and sandbox, with a clock to turn."""

    def __init__(self, engine: Engine, server: SandboxServer, folder: Path) -> None:
        self.engine = engine
        self.journal = server.sandbox.journal
        self.faults = server.sandbox.faults
        self.ahead = dt.timedelta(0)
        ledger, self._commits = LedgerWriter(PSEUDONYM_KEY), GroupCommit(engine)
        given: Any = {"master_keys": KEYS_TEXT, "sandbox_url": server.url}
        settings = Settings(data=folder, **given)
        self._outlet = open_outlet(settings, SqlLedger(self._commits, ledger), engine)
        policy, sealer = self._outlet.gate.policy, Sealer(engine, KEYS)
        circuits = Circuits(engine, self._commits, policy)
        pushes = Pushes(self._outlet.pushes._provider, engine, clock=self.now)
        parts = {name: getattr(self._outlet, name) for name in Integrations.__slots__}
        context = Integrations(**{**parts, "pushes": pushes})
        self.execution = Execution(
            worker_id=new_id(),
            commits=self._commits,
            ledger=ledger,
            sealer=sealer,
            context=context,
            circuits=circuits,
        )
        self.reconciler = Reconciler(
            engine,
            self._commits,
            ledger,
            sealer,
            context,
            circuits,
            worker_id=new_id(),
            policy_version=policy.version,
            clock=self.now,
        )

    def now(self) -> dt.datetime:
        return utc_now() + self.ahead

    def push(self, *faults: Fault, consent: str | None = None, **columns: Any) -> str:
        """Run one push, under mishaps; returns its job."""
        for fault in faults:
            self.faults.add(fault.model_copy())
        payload = Push(
            push_token=PushToken(TOKEN), notice="order_update", user="u-17", consent_ref=consent
        )
        job_id = store_job(self.engine, payload=payload, **columns)
        self.execution.run(job_id)
        self.faults.clear()
        return job_id

    def run_again(self, job_id: str) -> JobView:
        with writing(self.engine) as connection:
            connection.execute(jobs.update().values(run_at=utc_now()))
        self.execution.run(job_id)
        return self.look(job_id)

    def reconcile(self, after: dt.timedelta = dt.timedelta(seconds=6)) -> int:
        self.ahead += after
        return self.reconciler.round()

    def look(self, job_id: str) -> JobView:
        with self.engine.connect() as connection:
            view = find_job(connection, job_id)
            assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
        assert view is not None
        return view

    def cid_of(self, job_id: str) -> str:
        with self.engine.connect() as connection:
            cid = select(push_cids.c.cid).where(push_cids.c.reference == job_id)
            return str(connection.execute(cid).scalar_one())

    def pushed(self, job_id: str) -> tuple[int, int]:
        """How often the job's push arrived, and how often a device rang."""
        cid = self.cid_of(job_id)
        return self.journal.count(cid), self.journal.accepted(cid)

    def close(self) -> None:
        self._outlet.close()
        self._commits.close()


@pytest.fixture
def house(engine: Engine, server: SandboxServer, tmp_path: Path) -> Iterator[House]:
    server.sandbox.reset()
    house = House(engine, server, tmp_path)
    yield house
    house.close()


def test_a_notice_is_pushed_under_a_cid_that_was_kept_before(house: House) -> None:
    job_id = house.push()
    view = house.look(job_id)
    assert view.state is State.SUCCEEDED
    assert set(view.result) == {"msg_id"}
    assert [d.operation for d in view.disclosures] == ["jiguang.push.cid", "jiguang.push.send"]
    assert [d.categories for d in view.disclosures] == [(), ("user.device.device_id",)]
    assert house.pushed(job_id) == (1, 1)


def test_cids_are_fetched_in_store(house: House) -> None:
    first, second = house.push(), house.push()
    assert [d.operation for d in house.look(second).disclosures] == ["jiguang.push.send"]
    assert house.cid_of(first) != house.cid_of(second)


def test_a_lost_answer_is_repeated_under_the_same_cid_and_the_device_rings_once(
    house: House,
) -> None:
    job_id = house.push(RESET)
    assert house.look(job_id).state is State.UNKNOWN
    assert house.reconcile() == 1
    view = house.look(job_id)
    assert (view.state, view.reason) == (State.SUCCEEDED, "reconciled.repeated")
    assert house.pushed(job_id) == (2, 1)


def test_a_push_that_never_arrived_is_made_up_for(house: House) -> None:
    job_id = house.push(ON_THE_WAY)
    assert house.pushed(job_id) == (1, 0)
    assert house.reconcile() == 1
    assert house.pushed(job_id) == (2, 1)


def test_however_often_answers_are_lost_the_device_rings_once(house: House) -> None:
    job_id = house.push(RESET)
    for pause in (6, 16, 61):
        house.faults.add(RESET.model_copy())
        assert house.reconcile(dt.timedelta(seconds=pause)) == 0
    assert house.reconcile(dt.timedelta(seconds=301)) == 1
    assert house.look(job_id).state is State.SUCCEEDED
    assert house.pushed(job_id) == (5, 1)


def test_after_its_day_a_cid_is_never_used_and_the_job_waits_for_a_person(house: House) -> None:
    job_id = house.push(RESET)
    assert house.reconcile(dt.timedelta(days=1)) == 0
    view = house.look(job_id)
    assert (view.state, view.attempts[-1].code) == (State.UNKNOWN, "push.cid_expired")
    for _ in range(8):
        assert house.reconcile(dt.timedelta(hours=4)) == 0
    assert house.look(job_id).state is State.UNKNOWN
    assert house.pushed(job_id) == (1, 1)


def test_a_cid_serves_until_shortly_before_its_day_is_over(house: House) -> None:
    job_id = house.push(ON_THE_WAY)
    assert house.reconcile(dt.timedelta(hours=23, minutes=30)) == 1
    assert house.pushed(job_id) == (2, 1)


def test_a_job_past_its_lifetime_is_not_repeated(house: House) -> None:
    job_id = house.push(ON_THE_WAY)
    with writing(house.engine) as connection:
        connection.execute(jobs.update().values(expires_at=utc_now()))
    assert house.reconcile() == 0
    assert house.look(job_id).attempts[-1].code == "expired"
    assert house.pushed(job_id) == (1, 0)


def test_every_attempt_bears_the_cid_of_the_first(house: House) -> None:
    job_id = house.push(Fault(kind="code", code="2002", action="push", times=1))
    view = house.look(job_id)
    assert (view.state, view.reason) == (State.RETRYING, "provider.throttled")
    waits = (view.run_at - view.attempts[-1].ended_at).total_seconds()
    assert 1 <= waits <= 61, "as the provider's header says"
    assert house.run_again(job_id).state is State.SUCCEEDED
    assert house.pushed(job_id) == (2, 1)


def test_a_push_that_had_to_wait_longer_than_its_cid_protects_gets_another_one(
    house: House,
) -> None:
    job_id = house.push(Fault(kind="code", code="2002", action="push", times=1))
    first = house.cid_of(job_id)
    assert house.look(job_id).state is State.RETRYING, "nothing was pushed"
    house.ahead += dt.timedelta(hours=24)
    house.faults.add(RESET.model_copy())
    assert house.run_again(job_id).state is State.UNKNOWN
    assert house.cid_of(job_id) != first
    assert house.reconcile() == 1
    assert house.look(job_id).state is State.SUCCEEDED
    assert house.pushed(job_id) == (2, 1)


def test_a_push_that_was_ever_unclear_gets_no_other_cid(house: House) -> None:
    job_id = house.push(RESET)
    with writing(house.engine) as connection:  # as a worker that was thought dead may have it
        connection.execute(jobs.update().values(state=State.RETRYING))
    house.ahead += dt.timedelta(hours=24)
    view = house.run_again(job_id)
    assert (view.state, view.reason) == (State.UNKNOWN, "push.cid_expired")
    assert house.pushed(job_id) == (1, 1)


def test_a_cid_that_does_not_come_is_asked_for_again_and_nothing_was_pushed(house: House) -> None:
    job_id = house.push(Fault(kind="reset", action="cid", times=1))
    assert house.look(job_id).state is State.RETRYING
    assert house.run_again(job_id).state is State.SUCCEEDED
    assert house.pushed(job_id) == (1, 1)


def test_a_worker_that_died_before_it_kept_a_cid_has_pushed_nothing(house: House) -> None:
    job_id = house.push(RESET)
    with writing(house.engine) as connection:
        connection.execute(push_cids.delete())
    assert house.reconcile() == 1
    assert house.look(job_id).state is State.RETRYING


def test_where_cids_may_be_forgotten_nobody_concludes_that_nothing_was_pushed(
    house: House,
) -> None:
    job_id = house.push(RESET)
    with writing(house.engine) as connection:
        assert prune_cids(connection, before=utc_now() + CIDS_KEPT) == 1
    assert house.reconcile(CIDS_KEPT) == 0
    assert house.look(job_id).state is State.UNKNOWN


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        ("1011", State.FAILED, "provider.token_stale"),
        ("1003", State.FAILED, "provider.push_refused"),
        ("1004", State.UNKNOWN, "provider.account_refused"),
        ("2002", State.UNKNOWN, "provider.throttled"),
    ],
)
def test_only_a_refusal_of_this_push_says_that_it_was_not_made(
    house: House, code: str, state: State, reason: str
) -> None:
    job_id = house.push(ON_THE_WAY)
    house.faults.add(Fault(kind="code", code=code, action="push", times=1))
    assert house.reconcile() == (state is State.FAILED)
    view = house.look(job_id)
    assert (view.state, view.attempts[-1].code) == (state, reason)


@pytest.fixture
def consents(engine: Engine) -> Consents:
    consents = Consents(engine, Pseudonyms(PSEUDONYM_KEY), load_policy())
    agreement = Agreement(
        ref="agreed-1",
        kind="consent",
        purpose="notify",
        user="u-17",
        granted_at=utc_now() - dt.timedelta(days=1),
    )
    consents.record(agreement, backend="test")
    return consents


def test_whoever_has_agreed_gets_notices_until_they_change_their_mind(
    house: House, consents: Consents
) -> None:
    assert house.look(house.push(consent="agreed-1")).state is State.SUCCEEDED
    waiting = house.push(ON_THE_WAY, consent="agreed-1")
    consents.withdraw("agreed-1", backend="test")
    before = house.journal.totals()["requests"]
    for job_id in (house.push(consent="agreed-1"), house.push(consent="never-agreed")):
        view = house.look(job_id)
        assert (view.state, view.reason) == (State.FAILED, "egress_denied")
    assert house.reconcile() == 0, "nor is it repeated"
    assert house.look(waiting).state is State.UNKNOWN
    assert house.journal.totals()["requests"] == before


def test_a_person_who_objects_gets_no_notice(house: House, consents: Consents) -> None:
    consents.restrict(Objection(user="u-17", reason="objection"), backend="test")
    assert house.look(house.push()).reason == "egress_denied"
    assert house.journal.totals()["requests"] == 0


def test_token_and_wording_are_nowhere_in_the_database(house: House) -> None:
    house.push()
    with house.engine.connect() as connection:
        everything = b"".join(dump_rows(connection))
    assert TOKEN.encode() not in everything
    assert "请打开应用查看".encode() not in everything


def test_half_of_the_settings_is_refused_and_none_closes_the_door(
    engine: Engine, tmp_path: Path
) -> None:
    real = {"aliyun_access_key_id": "x" * 16, "aliyun_access_key_secret": "y"}
    gate: Any = _NoGate()
    with pytest.raises(ConfigurationError, match="ZJJ_JPUSH_APP_KEY and ZJJ_JPUSH_MASTER_SECRET"):
        open_pushes(gate, engine, load_settings(data=tmp_path, jpush_app_key="z" * 24, **real))
    pushes = open_pushes(gate, engine, load_settings(data=tmp_path, **real))
    attempt: Any = None
    with pytest.raises(ConfigurationError, match="ZJJ_JPUSH_APP_KEY is not set"):
        pushes.push(attempt)


class _NoGate:
    """The policy of a gate that nothing passes."""

    policy = load_policy()
