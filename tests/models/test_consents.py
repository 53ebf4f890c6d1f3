"""What nobody agreed to, or somebody forbade, is not disclosed from that moment on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, select

from models.consents import (
    Consent,
    ConsentKind,
    Restriction,
    RestrictionReason,
    fault_of,
    find_consent,
    lift_restriction,
    record_consent,
    restrict,
    withdraw_consent,
)
from models.database import writing
from models.disclosures import Demands, Disclosure, Verdict, Withheld
from models.errors import ClaimLost, IdempotencyConflict
from models.group_commit import GroupCommit, Transaction, WriteApart
from models.identifiers import new_id
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.tables import consents, disclosures, restrictions
from tests.models.rows import KEY, NOW, SECOND, a_disclosure, all_rows, change_job, claim_new, write

PHONE, USER, SOMEBODY = "5" * 64, "6" * 64, "7" * 64
CONSENT = Consent(
    backend="shop",
    ref="agreed-1",
    kind=ConsentKind.SEPARATE,
    purpose="verify_identity",
    phone=PHONE,
    user=None,
    granted_at=NOW - 60 * SECOND,
    policy_version="2023-01-01",
)
GUARDIAN = replace(CONSENT, ref="parent-1", kind=ConsentKind.GUARDIAN)
DEMANDS = Demands(backend="shop", consent="agreed-1", separate=True)


def _record(engine: Engine, *items: Consent) -> None:
    with writing(engine) as connection:
        for item in items:
            record_consent(connection, item, now=NOW)


def _withdraw(engine: Engine, ref: str = "agreed-1", backend: str = "shop") -> Consent | None:
    with writing(engine) as connection:
        return withdraw_consent(connection, backend, ref, now=NOW)


def _restriction(person: str = PHONE, backend: str = "shop") -> Restriction:
    return Restriction(
        id=new_id(),
        backend=backend,
        person=person,
        reason=RestrictionReason.OBJECTION,
        since=NOW,
    )


def _restrict(engine: Engine, person: str = PHONE, backend: str = "shop") -> Restriction:
    with writing(engine) as connection:
        return restrict(connection, _restriction(person, backend))


def _wanted(
    engine: Engine, demands: Demands = DEMANDS, people: tuple[str, ...] = (), **more: Any
) -> Disclosure:
    claimed = claim_new(engine, subject=PHONE, people=people)
    return a_disclosure(claimed, demands=demands, **{"purpose": "verify_identity"} | more)


def _reason(engine: Engine, ledger: LedgerWriter, disclosure: Disclosure) -> str | None:
    """Why it was withheld; None if it is on record."""
    (answer,) = write(engine, ledger.write_disclosures, disclosure)
    stored = [row.id for row in all_rows(engine, disclosures)]
    assert (disclosure.id in stored) == (answer is None)
    if answer is None:
        return None
    assert isinstance(answer, Withheld)
    return answer.code


def test_a_consent_is_recorded_once_and_as_it_was_given(engine: Engine) -> None:
    _record(engine, CONSENT)
    _record(engine, CONSENT)

    (row,) = all_rows(engine, consents)
    assert row.recorded_at == NOW
    with engine.connect() as connection:
        assert find_consent(connection, "shop", "agreed-1") == CONSENT
        assert find_consent(connection, "forum", "agreed-1") is None


@pytest.mark.parametrize(
    "change",
    [
        {"kind": ConsentKind.CONSENT},
        {"purpose": "notify"},
        {"phone": SOMEBODY},
        {"user": USER},
        {"granted_at": NOW},
        {"policy_version": "2019-01-01"},
    ],
)
def test_a_reference_names_one_consent_for_ever(engine: Engine, change: dict[str, Any]) -> None:
    _record(engine, CONSENT)

    with pytest.raises(IdempotencyConflict):
        _record(engine, replace(CONSENT, **change))
    _record(engine, replace(CONSENT, backend="forum", **change))


def test_a_consent_stays_withdrawn_from_its_first_withdrawal(engine: Engine) -> None:
    _record(engine, CONSENT)
    assert _withdraw(engine) == replace(CONSENT, withdrawn_at=NOW)
    with writing(engine) as connection:
        again = withdraw_consent(connection, "shop", "agreed-1", now=NOW + SECOND)
        recorded = record_consent(connection, CONSENT, now=NOW + SECOND)

    assert again == recorded == replace(CONSENT, withdrawn_at=NOW)


def test_nobody_withdraws_anothers_consent(engine: Engine) -> None:
    _record(engine, CONSENT)

    assert _withdraw(engine, backend="forum") is None
    assert _withdraw(engine, ref="agreed-2") is None
    with engine.connect() as connection:
        assert find_consent(connection, "shop", "agreed-1") == CONSENT


def test_what_a_consent_covers_is_disclosed(engine: Engine, ledger: LedgerWriter) -> None:
    _record(engine, CONSENT)

    assert _reason(engine, ledger, _wanted(engine)) is None


@pytest.mark.parametrize(
    ("consent", "reason"),
    [
        (None, "consent_unknown"),
        (replace(CONSENT, backend="forum"), "consent_unknown"),
        (replace(CONSENT, withdrawn_at=NOW), "consent_withdrawn"),
        (replace(CONSENT, kind=ConsentKind.CONSENT), "consent_kind"),
        (replace(CONSENT, kind=ConsentKind.GUARDIAN), "consent_kind"),
        (replace(CONSENT, purpose="notify"), "consent_purpose"),
        (replace(CONSENT, policy_version="2019-05-01.1"), "consent_outdated"),
        (replace(CONSENT, phone=SOMEBODY), "consent_person"),
        (replace(CONSENT, user=USER), "consent_person"),
        (replace(CONSENT, phone=None, user=USER), "consent_person"),
        (replace(CONSENT, phone=None), "consent_person"),
    ],
)
def test_what_it_does_not_cover_is_withheld(
    engine: Engine, ledger: LedgerWriter, consent: Consent | None, reason: str
) -> None:
    if consent is not None:
        _record(engine, replace(consent, withdrawn_at=None))
        if consent.withdrawn_at is not None:
            _withdraw(engine)

    assert _reason(engine, ledger, _wanted(engine)) == reason


@pytest.mark.parametrize(
    "consent",
    [
        replace(CONSENT, user=USER),
        replace(CONSENT, phone=None, user=USER),
        replace(CONSENT, phone=None, user=PHONE),
        replace(CONSENT, policy_version="2023-01-01.7"),
    ],
)
def test_it_covers_whoever_the_job_is_about_under_the_same_text(
    engine: Engine, ledger: LedgerWriter, consent: Consent
) -> None:
    _record(engine, consent)

    assert _reason(engine, ledger, _wanted(engine, people=(USER,))) is None


@pytest.mark.parametrize("kind", [ConsentKind.CONSENT, ConsentKind.SEPARATE])
def test_a_simple_consent_will_do_where_no_separate_one_is_demanded(
    engine: Engine, ledger: LedgerWriter, kind: ConsentKind
) -> None:
    _record(engine, replace(CONSENT, kind=kind))

    assert _reason(engine, ledger, _wanted(engine, replace(DEMANDS, separate=False))) is None


def test_a_childs_guardian_must_have_agreed_too(engine: Engine, ledger: LedgerWriter) -> None:
    demands = replace(DEMANDS, guardian="parent-1")
    _record(engine, CONSENT)
    assert _reason(engine, ledger, _wanted(engine, demands)) == "guardian_unknown"

    _record(engine, replace(GUARDIAN, ref="parent-2", kind=ConsentKind.SEPARATE))
    other = replace(demands, guardian="parent-2")
    assert _reason(engine, ledger, _wanted(engine, other)) == "guardian_kind"

    _record(engine, GUARDIAN)
    assert _reason(engine, ledger, _wanted(engine, demands)) is None

    _withdraw(engine, "parent-1")
    assert _reason(engine, ledger, _wanted(engine, demands)) == "guardian_withdrawn"


@pytest.mark.parametrize("person", [PHONE, USER])
def test_nothing_about_a_restricted_person_is_disclosed(
    engine: Engine, ledger: LedgerWriter, person: str
) -> None:
    restriction = _restrict(engine, person)
    plain = Demands(backend="shop")
    assert _reason(engine, ledger, _wanted(engine, plain, (USER,))) == "subject_restricted"

    _record(engine, CONSENT)
    assert _reason(engine, ledger, _wanted(engine, people=(USER,))) == "subject_restricted"

    with writing(engine) as connection:
        assert lift_restriction(connection, "shop", restriction.id, now=NOW) is not None
    assert _reason(engine, ledger, _wanted(engine, plain, (USER,))) is None
    assert _reason(engine, ledger, _wanted(engine, people=(USER,))) is None


def test_a_legal_duty_is_done_in_spite_of_it(engine: Engine, ledger: LedgerWriter) -> None:
    _restrict(engine)

    assert _reason(engine, ledger, _wanted(engine, Demands(spared=True))) is None
    _record(engine, CONSENT)
    assert _reason(engine, ledger, _wanted(engine, replace(DEMANDS, spared=True))) is None


def test_other_people_are_disclosed_as_before(engine: Engine, ledger: LedgerWriter) -> None:
    _restrict(engine, SOMEBODY)
    nobodys = a_disclosure(claim_new(engine, subject=None))

    assert _reason(engine, ledger, _wanted(engine, Demands(), (USER,))) is None
    assert _reason(engine, ledger, nobodys) is None


def test_a_denial_is_on_record_whatever_it_demanded(engine: Engine, ledger: LedgerWriter) -> None:
    _restrict(engine)
    denied = _wanted(engine, verdict=Verdict.DENIED, reason="subject_restricted")

    assert _reason(engine, ledger, denied) is None


def test_a_lost_claim_is_not_taken_for_a_restriction(engine: Engine, ledger: LedgerWriter) -> None:
    wanted = _wanted(engine, Demands())
    change_job(engine, wanted.job_id, fence=9)

    (answer,) = write(engine, ledger.write_disclosures, wanted)
    assert isinstance(answer, ClaimLost)


@pytest.mark.parametrize("people", [(), (USER,)], ids=["subject", "somebody else of the job"])
def test_a_restriction_waits_for_what_is_being_recorded_and_stops_what_comes_after(
    engine: Engine, ledger: LedgerWriter, people: tuple[str, ...]
) -> None:
    before, after = (_wanted(engine, Demands(), people) for _ in range(2))
    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as connection:
            transaction = Transaction(connection)
            assert ledger.write_disclosures(transaction, [before]) == [None]
            restricting = pool.submit(_restrict, engine, *(people or (PHONE,)))
            with pytest.raises(TimeoutError):
                restricting.result(timeout=0.2)
            transaction.finish()
        transaction.committed()
        restricting.result(timeout=5)

    assert _reason(engine, ledger, after) == "subject_restricted"


def test_what_is_recorded_while_a_restriction_is_made_waits_for_it_and_sees_it(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    record = SqlLedger(commits, ledger).record
    for _ in range(10):  # as often as makes the driver keep the statement's plan
        record(_wanted(engine, Demands()))
    disclosure = _wanted(engine, Demands())
    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as connection:
            restrict(connection, _restriction())
            recording = pool.submit(record, disclosure)
            with pytest.raises(TimeoutError):
                recording.result(timeout=0.2)
        with pytest.raises(Withheld) as withheld:
            recording.result(timeout=5)
    assert withheld.value.code == "subject_restricted"


def test_a_restriction_does_not_wait_for_somebody_who_reads(postgres: Engine) -> None:
    with postgres.connect() as reading:
        reading.execute(select(restrictions)).all()
        _restrict(postgres)


def test_a_person_is_restricted_once_by_each_backend(engine: Engine) -> None:
    first = _restrict(engine)
    assert _restrict(engine) == first
    other = _restrict(engine, backend="forum")
    assert other.id != first.id

    with writing(engine) as connection:
        assert lift_restriction(connection, "forum", first.id, now=NOW) is None
        lifted = lift_restriction(connection, "shop", first.id, now=NOW)
        assert lifted == replace(first, lifted_at=NOW)
        assert lift_restriction(connection, "shop", first.id, now=NOW + SECOND) == lifted
    assert _restrict(engine).id != first.id
    with writing(engine) as connection:
        by_operator = lift_restriction(connection, None, other.id, now=NOW)
    assert by_operator == replace(other, lifted_at=NOW)


def test_one_that_is_withheld_does_not_take_its_neighbours_along(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    _record(engine, CONSENT)
    _restrict(engine, SOMEBODY)
    fine = [_wanted(engine), _wanted(engine, Demands())]
    uncovered = _wanted(engine, replace(DEMANDS, consent="agreed-2"))
    restricted = a_disclosure(claim_new(engine, subject=SOMEBODY))
    for bad in (uncovered, restricted):
        with pytest.raises(WriteApart):
            write(engine, ledger.write_disclosures, *fine, bad)

    writer = SqlLedger(commits, ledger)
    for each in fine:
        writer.record(each)
    with pytest.raises(Withheld, match="nothing that stands"):
        writer.record(uncovered)
    assert {row.id for row in all_rows(engine, disclosures)} == {each.id for each in fine}
    with engine.connect() as connection:
        assert list(verify_ledger(connection, KEY)) == []


def test_what_stands_already_is_not_withheld_afterwards(
    engine: Engine, ledger: LedgerWriter
) -> None:
    _record(engine, CONSENT)
    wanted = _wanted(engine)
    assert write(engine, ledger.write_disclosures, wanted, acknowledged=False) == [None]
    _withdraw(engine)

    assert write(engine, ledger.write_disclosures, wanted, repeated=True) == [None]
    assert len(all_rows(engine, disclosures)) == 1


def test_the_day_of_the_text_decides_not_the_number_of_its_reading() -> None:
    def fault(version: str) -> str | None:
        return fault_of(
            CONSENT,
            kinds=[ConsentKind.SEPARATE],
            purpose="verify_identity",
            policy_version=version,
            people=[PHONE],
        )

    assert fault("2023-01-01.2") is None
    assert fault("2023-01-01.14") is None
    assert fault("2023-01-02.2") == "outdated"
