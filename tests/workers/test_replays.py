"""A replay does on purpose what a rule never does, once, and says what will leave."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from integrations.policy import Policy, load_policy
from models.audits import audits_of
from models.clock import utc_now
from models.consents import (
    Consent,
    ConsentKind,
    Restriction,
    RestrictionReason,
    record_consent,
    restrict,
    withdraw_consent,
)
from models.database import writing
from models.errors import InvalidValue, NotFound
from models.identifiers import new_id
from models.job_search import JobFilter
from models.keys import MasterKeys, generate_key
from models.replays import cancel_jobs
from models.sealing import Sealer, seal_identity
from models.states import State
from models.tables import jobs
from tasks.refund import RefundPayment
from tests.workers.rows import KEYS, a_code, read_job, store_job
from workers.replays import Replays

FAILED = JobFilter(states=(State.FAILED,))
EVERY = JobFilter()


@pytest.fixture
def policy() -> Policy:
    return load_policy()


@pytest.fixture
def replays(engine: Engine, policy: Policy) -> Replays:
    return Replays(engine, Sealer(engine, KEYS), policy)


def _failed(engine: Engine, **columns: Any) -> str:
    fields: dict[str, Any] = {
        "state": State.FAILED,
        "settled_at": utc_now(),
        "fence": 1,
        "attempts": 5,
    }
    return store_job(engine, **{**fields, **columns})


def _run(
    replays: Replays, wanted: JobFilter, *, even_if_sent: bool = False
) -> dict[str | None, int]:
    batch = replays.begin(
        wanted, actor="test", reason="the template was wrong", even_if_sent=even_if_sent
    )
    return replays.run(batch, per_second=10_000)


def test_a_dry_run_says_what_would_leave_and_touches_nothing(
    engine: Engine, replays: Replays, policy: Policy
) -> None:
    ids = [_failed(engine) for _ in range(3)]
    expired = _failed(engine, expires_at=utc_now())
    erased = _failed(engine, sealed=None)
    unknown = _failed(engine, state=State.UNKNOWN)
    _failed(engine, state=State.SUCCEEDED)
    plan = replays.plan(EVERY)
    assert (plan.replayable, plan.policy_version) == (3, policy.version)
    assert plan.refused == {"expired": 1, "payload.erased": 1, "outcome.unknown": 1}
    assert [(each.job_id, each.reason) for each in plan.refusals] == [
        (expired, "expired"),
        (erased, "payload.erased"),
        (unknown, "outcome.unknown"),
    ]
    ((leaving, count),) = plan.leaving
    assert count == 3
    assert leaving.recipient == "aliyun_sms"
    assert leaving.categories == ("user.contact.phone_number", "user.authorization.credentials")
    assert "一(1)1" in leaving.clauses
    assert {read_job(engine, job_id).state for job_id in ids} == {State.FAILED}


def test_a_dry_run_names_only_the_company_that_a_refund_would_reach(
    engine: Engine, replays: Replays
) -> None:
    refund = RefundPayment(
        channel="alipay",
        merchant="2021000000000001",
        order_no="order-000001",
        refund_no="refund-000001",
        amount=900,
        total=12900,
    )
    _failed(engine, payload=refund)
    plan = replays.plan(FAILED)
    assert (plan.replayable, plan.refused) == (1, {})
    assert {leaving.recipient for leaving, _ in plan.leaving} == {"alipay"}


@pytest.mark.parametrize(
    ("roads", "recipients"),
    [
        (("aliyun_sms",), ["aliyun_sms"]),
        (("aliyun_sms", "aliyun_sms_auth"), ["aliyun_sms"]),
        # The second road takes no code that its backend brought.
        (("aliyun_sms_auth", "aliyun_sms"), ["aliyun_number_auth", "aliyun_sms"]),
    ],
)
def test_a_dry_run_names_the_roads_that_a_code_would_take(
    engine: Engine, policy: Policy, roads: tuple[str, ...], recipients: list[str]
) -> None:
    _failed(engine)
    plan = Replays(engine, Sealer(engine, KEYS), policy, roads=roads).plan(FAILED)
    assert [leaving.recipient for leaving, _ in plan.leaving] == recipients


def test_a_replayed_job_begins_anew_under_its_own_id(engine: Engine, replays: Replays) -> None:
    job_id = _failed(engine)
    assert _run(replays, FAILED) == {"replayed": 1}
    row = read_job(engine, job_id)
    assert (row.state, row.attempts, row.claims, row.settled_at) == (State.QUEUED, 0, 0, None)
    assert row.nonce not in {None, job_id}, "the recipient's idempotency must not block it"
    assert row.dispatched_at is None, "so that it is rung for"
    with engine.connect() as connection:
        (audit,) = audits_of(connection, job_id)
    assert (audit.actor, audit.reason) == ("test", "the template was wrong")


def test_a_batch_replays_each_job_once_however_often_it_is_run(
    engine: Engine, replays: Replays
) -> None:
    job_id = _failed(engine)
    batch = replays.begin(FAILED, actor="test", reason="outage")
    replays.run(batch)
    with writing(engine) as connection:
        connection.execute(jobs.update().values(state=State.FAILED, fence=2))
    assert replays.run(batch) == {"replayed": 1}
    assert read_job(engine, job_id).state == State.FAILED


def test_two_runs_of_one_batch_at_once_share_it(engine: Engine, replays: Replays) -> None:
    ids = [_failed(engine) for _ in range(20)]
    batch = replays.begin(FAILED, actor="test", reason="outage")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: replays.run(batch, per_second=1000), range(2)))
    with engine.connect() as connection:
        audits = Counter(len(audits_of(connection, job_id)) for job_id in ids)
    assert audits == {1: 20}


def test_an_interrupted_batch_goes_on_where_it_stopped(engine: Engine, replays: Replays) -> None:
    for _ in range(5):
        _failed(engine)
    batch = replays.begin(FAILED, actor="test", reason="outage")

    def interrupt(_: int) -> None:
        if replays.verdicts(batch)["replayed"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replays.run(batch, on_progress=interrupt)
    assert replays.verdicts(batch) == {"replayed": 2, None: 3}
    assert replays.run(batch) == {"replayed": 5}


def test_a_job_that_moved_on_after_it_was_chosen_is_left(engine: Engine, replays: Replays) -> None:
    job_id = _failed(engine)
    batch = replays.begin(FAILED, actor="test", reason="outage")
    with writing(engine) as connection:
        connection.execute(jobs.update().values(fence=2))
    assert replays.run(batch) == {"changed": 1}
    assert read_job(engine, job_id).state == State.FAILED


def test_an_unknown_outcome_needs_a_person_who_accepts_a_second_message(
    engine: Engine, replays: Replays
) -> None:
    _failed(engine, state=State.UNKNOWN)
    assert _run(replays, EVERY) == {"outcome.unknown": 1}
    assert _run(replays, EVERY, even_if_sent=True) == {"replayed": 1}


def test_questions_about_an_unknown_outcome_do_not_count_as_having_moved_on(
    engine: Engine, replays: Replays
) -> None:
    _failed(engine, state=State.UNKNOWN)
    batch = replays.begin(EVERY, actor="test", reason="outage", even_if_sent=True)
    with writing(engine) as connection:
        connection.execute(jobs.update().values(fence=3, asked=2))
    assert replays.run(batch) == {"replayed": 1}


def test_a_payload_of_an_earlier_policy_is_sealed_anew_under_todays(
    engine: Engine, replays: Replays, policy: Policy
) -> None:
    job_id = _failed(engine)
    sealer = Sealer(engine, KEYS)
    row = read_job(engine, job_id)
    old = sealer.seal(
        a_code().held(), identity=seal_identity(job_id, row.kind, "1999"), bucket=row.bucket
    )
    with writing(engine) as connection:
        connection.execute(jobs.update().values(policy_version="1999", sealed=old))
    assert _run(replays, FAILED) == {"replayed": 1}
    row = read_job(engine, job_id)
    assert row.policy_version == policy.version
    opened = sealer.open(
        row.sealed, identity=seal_identity(job_id, row.kind, policy.version), bucket=row.bucket
    )
    assert opened["scene"] == "register"


def test_a_policy_that_became_narrower_refuses(engine: Engine, policy: Policy) -> None:
    _failed(engine)
    operations = {k: v for k, v in policy.operations.items() if k != "aliyun.sms.send"}
    narrower = policy.model_copy(update={"operations": operations})
    replays = Replays(engine, Sealer(engine, KEYS), narrower)
    assert replays.plan(FAILED).refused == {"policy.narrower": 1}
    assert _run(replays, FAILED) == {"policy.narrower": 1}


def test_a_withdrawn_consent_refuses(engine: Engine, policy: Policy) -> None:
    purpose = policy.purposes["verify_phone"]
    basis = purpose.basis.model_copy(update={"consent": "separate"})
    purposes = {**policy.purposes, "verify_phone": purpose.model_copy(update={"basis": basis})}
    asking = policy.model_copy(update={"purposes": purposes})
    job_id = _failed(engine, consent_ref="agreed-1")
    row = read_job(engine, job_id)
    agreed = Consent(
        backend=row.backend,
        ref="agreed-1",
        kind=ConsentKind.SEPARATE,
        purpose="verify_phone",
        phone=row.subject,
        user=None,
        granted_at=utc_now(),
        policy_version=policy.version,
    )
    with writing(engine) as connection:
        record_consent(connection, agreed, now=utc_now())
    replays = Replays(engine, Sealer(engine, KEYS), asking)
    assert replays.plan(FAILED).replayable == 1
    with writing(engine) as connection:
        withdraw_consent(connection, row.backend, "agreed-1", now=utc_now())
    assert replays.plan(FAILED).refused == {"consent_withdrawn": 1}
    assert _run(replays, FAILED) == {"consent_withdrawn": 1}


def test_a_restricted_person_refuses(engine: Engine, replays: Replays) -> None:
    row = read_job(engine, _failed(engine))
    objection = Restriction(
        id=new_id(),
        backend=row.backend,
        person=row.subject,
        reason=RestrictionReason.OBJECTION,
        since=utc_now(),
    )
    with writing(engine) as connection:
        restrict(connection, objection)
    assert _run(replays, FAILED) == {"subject_restricted": 1}


def test_a_broken_seal_is_refused_by_name(engine: Engine, replays: Replays) -> None:
    _failed(engine, sealed=b"\x01" + b"x" * 60)
    assert replays.plan(FAILED).refused == {"seal.broken": 1}


def test_a_payload_under_a_lost_master_key_is_refused_and_keeps_no_other_from_being_replayed(
    engine: Engine, policy: Policy
) -> None:
    job_id = _failed(engine)
    other = MasterKeys.parse(f"other:{generate_key()}")
    replays = Replays(engine, Sealer(engine, other), policy)
    assert replays.plan(FAILED).refused == {"configuration": 1}
    assert _run(replays, FAILED) == {"configuration": 1}
    assert replays.masks(job_id) == {}


def test_the_rate_is_kept(engine: Engine, replays: Replays) -> None:
    for _ in range(5):
        _failed(engine)
    began = utc_now()
    batch = replays.begin(FAILED, actor="test", reason="outage")
    replays.run(batch, per_second=10)
    assert utc_now() - began >= dt.timedelta(seconds=0.4)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201, "because of 16400001234"])
def test_a_reason_is_needed_and_holds_nothing_personal(replays: Replays, reason: str) -> None:
    with pytest.raises(InvalidValue, match="reason: must") as refusal:
        replays.begin(FAILED, actor="test", reason=reason)
    assert "16400001234" not in str(refusal.value)


def test_an_unknown_batch_is_not_found(replays: Replays) -> None:
    with pytest.raises(NotFound):
        replays.run(new_id())


def test_cancelling_erases_what_waits_and_leaves_the_rest(engine: Engine) -> None:
    waiting, failed = store_job(engine), _failed(engine)
    with writing(engine) as connection:
        done = cancel_jobs(connection, EVERY, actor="test", reason="mistake", now=utc_now())
    assert done == [waiting]
    assert (read_job(engine, waiting).state, read_job(engine, waiting).sealed) == (
        State.CANCELLED,
        None,
    )
    assert read_job(engine, failed).state == State.FAILED
