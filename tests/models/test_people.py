"""A person is found in every table, and forgotten in all but the account of what left."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from sqlalchemy import Engine

from models.consents import (
    Consent,
    ConsentKind,
    Restriction,
    RestrictionReason,
    record_consent,
    restrict,
)
from models.database import writing
from models.identifiers import new_id
from models.identities import IdentityRecord
from models.ledger import LedgerWriter, verify_ledger
from models.login_phones import KeepPhone, SealedPhone
from models.people import Forgotten, forget_person, kept_about
from models.push_cids import PushCid, keep_cid
from models.states import State
from models.tables import (
    codes,
    deliveries,
    disclosures,
    identity_verdicts,
    job_people,
    jobs,
    metadata,
)
from tests.models.rows import (
    KEY,
    NOW,
    a_disclosure,
    a_settlement,
    all_rows,
    change_job,
    claim_new,
    job_row,
    write,
)

PHONE, USER, SOMEBODY = "5" * 64, "6" * 64, "7" * 64
TRACES = (
    "codes",
    "deliveries",
    "identity_verdicts",
    "login_phones",
    "push_cids",
    "attempts",
    "jobs",
)


def _everything(engine: Engine, ledger: LedgerWriter, person: str = PHONE) -> str:
    """A finished job about a person and a user, and whatever can hang on it; returns its id."""
    claimed = claim_new(engine, subject=person, people=(USER,))
    job_id = claimed.job_id
    write(engine, ledger.write_disclosures, a_disclosure(claimed))
    assert write(engine, ledger.write_settlements, a_settlement(claimed)) == [True]
    verdict = IdentityRecord(
        fingerprint=job_id * 2,
        verdict="match",
        at=NOW,
        subject=person,
        backend="shop",
        consent_ref="agreed-1",
        provider_request_id=None,
        job_id=job_id,
    )
    phone = SealedPhone(
        job_id=job_id, backend="shop", sealed=b"sealed", bucket="2026-03-01", expires_at=NOW
    )
    about: dict[str, Any] = {"job_id": job_id, "subject": person, "backend": "shop"}
    with writing(engine) as connection:
        connection.execute(identity_verdicts.insert().values(asdict(verdict)))
        KeepPhone(phone).apply(connection, NOW)
        keep_cid(connection, PushCid(reference=job_id, job_id=job_id, cid="c", issued_at=NOW))
        connection.execute(
            codes.insert().values(
                **about,
                place=job_id * 2,
                scene="login",
                checked_by="ours",
                digest="d" * 64,
                guesses=0,
                created_at=NOW,
                expires_at=NOW,
            )
        )
        connection.execute(
            deliveries.insert().values(
                **about,
                reference=job_id,
                road="aliyun_sms",
                scene="login",
                state="accepted",
                accepted_at=NOW,
                sealed=b"sealed",
                bucket="2026-03-01",
            )
        )
    return job_id


def _agree_and_forbid(engine: Engine, person: str = PHONE) -> None:
    consent = Consent(
        backend="shop",
        ref="agreed-1",
        kind=ConsentKind.SEPARATE,
        purpose="verify_identity",
        phone=person,
        user=None,
        granted_at=NOW,
        policy_version="2023-01-01",
    )
    restriction = Restriction(
        id=new_id(),
        backend="shop",
        person=person,
        reason=RestrictionReason.ERASURE,
        since=NOW,
    )
    with writing(engine) as connection:
        record_consent(connection, consent, now=NOW)
        restrict(connection, restriction)


def _kept(engine: Engine, person: str) -> dict[str, int]:
    with engine.connect() as connection:
        return kept_about(connection, person)


def _forget(engine: Engine, person: str = PHONE) -> Forgotten:
    with writing(engine) as connection:
        return forget_person(connection, person, now=NOW)


def test_every_table_that_names_a_person_is_looked_at() -> None:
    """A new table with a pseudonym must be found and forgotten as well."""
    naming = {
        table.name
        for table in metadata.sorted_tables
        if {"subject", "person", "phone", "user"} & {str(column.name) for column in table.columns}
    }
    assert naming == {
        *("jobs", "job_people", "codes", "deliveries", "identity_verdicts"),
        *("disclosures", "consents", "restrictions"),
    }


@pytest.mark.parametrize("person", [PHONE, USER])
def test_what_is_kept_about_somebody_is_counted_by_table(
    engine: Engine, ledger: LedgerWriter, person: str
) -> None:
    assert _kept(engine, person) == {}
    _everything(engine, ledger)
    _everything(engine, ledger, SOMEBODY)
    _agree_and_forbid(engine, person)

    number = {PHONE: 1, USER: 2}[person]
    assert _kept(engine, person) == {
        **dict.fromkeys((*TRACES, "job_people", "disclosures"), number),
        "consents": 1,
        "restrictions": 1,
    }


@pytest.mark.parametrize("person", [PHONE, USER])
def test_all_is_forgotten_but_the_account_of_what_left_and_what_was_agreed(
    engine: Engine, ledger: LedgerWriter, person: str
) -> None:
    job_id = _everything(engine, ledger)
    _agree_and_forbid(engine, person)

    evidence = {"disclosures": 1, "consents": 1, "restrictions": 1}
    assert _forget(engine, person) == Forgotten(
        forgotten=dict.fromkeys((*TRACES, "job_people"), 1), kept=evidence, unfinished=0
    )
    if person == USER:  # nothing but the forgotten link told whose the disclosure was
        del evidence["disclosures"]
    assert _kept(engine, person) == evidence
    assert [row.job_id for row in all_rows(engine, disclosures)] == [job_id]
    with engine.connect() as connection:
        assert list(verify_ledger(connection, KEY)) == []
    assert _forget(engine, person).forgotten == {}


def test_nobody_else_is_forgotten(engine: Engine, ledger: LedgerWriter) -> None:
    _everything(engine, ledger, SOMEBODY)
    before = _kept(engine, SOMEBODY)

    assert _forget(engine) == Forgotten(forgotten={}, kept={}, unfinished=0)
    assert _kept(engine, SOMEBODY) == before


@pytest.mark.parametrize(
    "columns",
    [
        {"state": State.RUNNING},
        {"state": State.UNKNOWN, "claimed_by": "a" * 32},
        {"announces": True, "announced": None},
    ],
    ids=["worked on", "asked about", "not told yet"],
)
def test_what_is_on_its_way_is_left_for_another_time(
    engine: Engine, ledger: LedgerWriter, columns: dict[str, Any]
) -> None:
    job_id = _everything(engine, ledger)
    change_job(engine, job_id, sealed=b"sealed", **columns)
    erased = _forget(engine)

    assert (erased.forgotten, erased.unfinished) == ({}, 1)
    assert {row.job_id for row in all_rows(engine, job_people)} == {job_id}
    told_later = "announces" in columns
    assert (job_row(engine, job_id).sealed is None) == told_later

    change_job(engine, job_id, state=State.SUCCEEDED, announced=State.SUCCEEDED)
    assert _forget(engine).unfinished == 0
    assert all_rows(engine, jobs) == []


def test_an_unknown_job_that_nobody_asks_about_is_forgotten(
    engine: Engine, ledger: LedgerWriter
) -> None:
    change_job(engine, _everything(engine, ledger), state=State.UNKNOWN, claimed_by=None)

    assert _forget(engine).unfinished == 0
    assert all_rows(engine, jobs) == []
