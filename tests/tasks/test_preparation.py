from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.database import migrate, open_database
from models.jobs import NewJob
from models.keys import MasterKeys, generate_key
from models.pii import IdNumber, Personal, Phone
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from tasks import registry
from tasks.payload import ConsentRef, Payload, UserId
from tasks.preparation import Preparation
from tasks.sms_code import SMS_CODE, SmsCode

PHONE, ID_NUMBER = Phone("16400001234"), IdNumber("999999199001010016")
PSEUDONYMS = Pseudonyms(b"p" * 32)


class Check(Payload):
    """What an identity check might take."""

    phone: Phone
    id_number: IdNumber
    user: UserId | None = None
    consent_ref: ConsentRef
    guardian_ref: ConsentRef | None = None


@pytest.fixture
def preparation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Preparation]:
    check = replace(SMS_CODE, kind="check", payload=Check)
    monkeypatch.setattr(registry, "TASKS", {SMS_CODE.kind: SMS_CODE, check.kind: check})
    engine = open_database(f"sqlite:///{tmp_path / 'zjj.db'}")
    migrate(engine)
    sealer = Sealer(engine, MasterKeys.parse("test:" + generate_key()))
    yield Preparation(sealer, PSEUDONYMS, policy_version="2023-01-01.2")
    engine.dispose()


def _prepared(preparation: Preparation, **more: str) -> NewJob:
    payload = Check(phone=PHONE, id_number=ID_NUMBER, consent_ref="agreed-1", **more)
    return preparation.prepare(payload, backend="shop")


def test_the_consents_that_a_payload_names_stand_in_the_jobs_row(preparation: Preparation) -> None:
    job = _prepared(preparation, guardian_ref="parent-1")

    assert (job.consent_ref, job.guardian_ref) == ("agreed-1", "parent-1")
    assert _prepared(preparation).guardian_ref is None


def test_a_payload_without_them_has_none(preparation: Preparation) -> None:
    code = SmsCode.model_validate({"phone": "16400001234", "code": "246810", "scene": "login"})
    job = preparation.prepare(code, backend="shop")

    assert (job.consent_ref, job.guardian_ref, job.people) == (None, None, ())


def test_a_job_is_found_by_everything_that_is_one_persons(preparation: Preparation) -> None:
    job = _prepared(preparation, user="u-17")

    assert job.subject == PSEUDONYMS.subject(PHONE)
    assert job.people == (PSEUDONYMS.subject(ID_NUMBER), PSEUDONYMS.user("shop", "u-17"))


def test_the_same_user_id_of_another_backend_is_somebody_else() -> None:
    known: set[str] = {PSEUDONYMS.user("shop", "17"), PSEUDONYMS.user("forum", "17")}
    values: tuple[Personal, ...] = (PHONE, ID_NUMBER)

    assert len(known | {PSEUDONYMS.subject(value) for value in values}) == 4
