"""Withdrawing and restricting stop what waits, and nothing of it can be replayed."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Engine

from integrations.policy import Policy, load_policy
from models.audits import audits_of
from models.clock import utc_now
from models.consents import ConsentKind, RestrictionReason
from models.errors import IdempotencyConflict, NotFound
from models.job_search import JobFilter
from models.pii import Phone
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from models.states import State
from models.tables import consents, restrictions
from tests.models.rows import all_rows
from tests.workers.rows import KEYS, PSEUDONYM_KEY, read_job, store_job
from workers.consents import Agreement, Consents, Objection
from workers.replays import Replays

PHONE = Phone("16400001234")
PSEUDONYMS = Pseudonyms(PSEUDONYM_KEY)
GRANTED = dt.datetime(2026, 3, 1, 20, 0, tzinfo=dt.timezone(dt.timedelta(hours=8)))


@pytest.fixture
def policy() -> Policy:
    return load_policy()


@pytest.fixture
def service(engine: Engine, policy: Policy) -> Consents:
    return Consents(engine, PSEUDONYMS, policy)


def _agreement(**changes: Any) -> Agreement:
    content = {
        "ref": "agreed-1",
        "kind": "separate",
        "purpose": "verify_phone",
        "phone": PHONE,
        "granted_at": GRANTED,
    }
    return Agreement.model_validate(content | changes)


def test_of_the_person_only_keyed_digests_are_stored(engine: Engine, service: Consents) -> None:
    service.record(_agreement(user="u-17"), backend="test")
    service.restrict(Objection(phone=PHONE, reason="objection"), backend="test")

    (consent,), (restriction,) = all_rows(engine, consents), all_rows(engine, restrictions)
    assert consent.phone == restriction.person == PSEUDONYMS.subject(PHONE)
    assert consent.user == PSEUDONYMS.user("test", "u-17")
    assert consent.granted_at == GRANTED
    assert "16400001234" not in repr((consent, restriction))


def test_the_same_consent_is_the_same_however_its_time_is_written(
    service: Consents, policy: Policy
) -> None:
    first = service.record(_agreement(), backend="test")
    assert first.policy_version == policy.version
    assert first.kind is ConsentKind.SEPARATE

    assert service.record(_agreement(granted_at="2026-03-01T12:00:00Z"), backend="test") == first
    assert service.record(_agreement(policy_version=policy.version), backend="test") == first
    with pytest.raises(IdempotencyConflict):
        service.record(_agreement(policy_version="2019-01-01"), backend="test")


def test_a_consent_under_the_text_of_its_day_is_the_same_under_the_next(
    engine: Engine, service: Consents, policy: Policy
) -> None:
    first = service.record(_agreement(), backend="test")
    newer = policy.model_copy(update={"version": "2027-01-01.1"})

    assert Consents(engine, PSEUDONYMS, newer).record(_agreement(), backend="test") == first


def test_a_consent_to_what_the_policy_does_not_have_is_refused(service: Consents) -> None:
    with pytest.raises(NotFound):
        service.record(_agreement(purpose="marketing"), backend="test")


@pytest.mark.parametrize("column", ["consent_ref", "guardian_ref"])
def test_a_withdrawal_cancels_what_waits_on_it_and_erases_it(
    engine: Engine, service: Consents, column: str
) -> None:
    service.record(_agreement(), backend="test")
    states = (State.QUEUED, State.SCHEDULED, State.RETRYING)
    mine: dict[str, Any] = {column: "agreed-1"}
    waiting = [store_job(engine, state=state, **mine) for state in states]
    others = [
        store_job(engine, state=State.QUEUED, **(mine | {column: "agreed-2"})),
        store_job(engine, state=State.QUEUED, backend="forum", **mine),
        store_job(engine, state=State.RUNNING, **mine),
        store_job(engine, state=State.QUEUED),
    ]

    stopped = service.withdraw("agreed-1", backend="test")

    assert stopped.cancelled == 3
    assert stopped.consent is not None
    assert stopped.consent.withdrawn_at is not None
    for job_id in waiting:
        row = read_job(engine, job_id)
        assert (row.state, row.reason, row.sealed) == ("cancelled", "consent_withdrawn", None)
        with engine.connect() as connection:
            (audit,) = audits_of(connection, job_id)
        assert (audit.actor, audit.reason) == ("backend:test", "consent_withdrawn")
    for job_id in others:
        assert read_job(engine, job_id).sealed is not None
    assert service.withdraw("agreed-1", backend="test").cancelled == 0


def test_nobody_withdraws_or_lifts_what_is_anothers(service: Consents) -> None:
    service.record(_agreement(), backend="test")
    objection = Objection(phone=PHONE, reason="disputed")
    restriction = service.restrict(objection, backend="test").restriction
    assert restriction is not None

    with pytest.raises(NotFound):
        service.withdraw("agreed-1", backend="forum")
    with pytest.raises(NotFound):
        service.lift(restriction.id, backend="forum")
    assert service.lift(restriction.id, backend="test").lifted_at is not None


def test_a_restriction_cancels_what_waits_about_the_person_whoever_handed_it_in(
    engine: Engine, service: Consents
) -> None:
    mine = [store_job(engine), store_job(engine, backend="forum")]
    other = store_job(engine, subject="9" * 64)

    stopped = service.restrict(Objection(phone=PHONE, reason="erasure"), backend="test")

    assert stopped.cancelled == 2
    assert stopped.restriction is not None
    assert stopped.restriction.reason is RestrictionReason.ERASURE
    for job_id in mine:
        row = read_job(engine, job_id)
        assert (row.state, row.reason, row.sealed) == ("cancelled", "subject_restricted", None)
    assert read_job(engine, other).state == State.QUEUED


def test_jobs_that_are_a_legal_duty_go_on(engine: Engine, policy: Policy) -> None:
    purpose = policy.purposes["verify_phone"]
    basis = purpose.basis.model_copy(update={"kind": "legal_duty"})
    duty = {"verify_phone": purpose.model_copy(update={"basis": basis})}
    changed = policy.model_copy(update={"purposes": {**policy.purposes, **duty}})
    job_id = store_job(engine)

    stopped = Consents(engine, PSEUDONYMS, changed).restrict(
        Objection(phone=PHONE, reason="erasure"), backend="test"
    )
    assert stopped.cancelled == 0
    assert read_job(engine, job_id).state == State.QUEUED


def _refusals(engine: Engine, policy: Policy) -> dict[str, int]:
    plan = Replays(engine, Sealer(engine, KEYS), policy).plan(JobFilter())
    return dict(plan.refused)


def _failed(engine: Engine, **columns: Any) -> None:
    store_job(engine, state=State.FAILED, settled_at=utc_now(), fence=1, **columns)


def test_what_is_restricted_is_not_replayed_until_it_is_lifted(
    engine: Engine, service: Consents, policy: Policy
) -> None:
    _failed(engine)
    assert _refusals(engine, policy) == {}
    stopped = service.restrict(Objection(phone=PHONE, reason="objection"), backend="test")
    assert _refusals(engine, policy) == {"subject_restricted": 1}
    assert stopped.restriction is not None

    service.lift(stopped.restriction.id, backend="test")
    assert _refusals(engine, policy) == {}


def test_what_nobody_agrees_to_any_more_is_not_replayed(
    engine: Engine, service: Consents, policy: Policy
) -> None:
    purpose = policy.purposes["verify_phone"]
    basis = purpose.basis.model_copy(update={"kind": "consent", "consent": "separate"})
    agreed = {"verify_phone": purpose.model_copy(update={"basis": basis})}
    strict = policy.model_copy(update={"purposes": {**policy.purposes, **agreed}})
    _failed(engine)
    _failed(engine, consent_ref="agreed-1")
    assert _refusals(engine, strict) == {"consent_missing": 1, "consent_unknown": 1}

    service.record(_agreement(), backend="test")
    assert _refusals(engine, strict) == {"consent_missing": 1}

    service.withdraw("agreed-1", backend="test")
    assert _refusals(engine, strict) == {"consent_missing": 1, "consent_withdrawn": 1}
