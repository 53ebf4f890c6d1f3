"""Job rows for tests that need one and do not care how it came about."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Engine, select

from integrations.policy import load_policy
from models.clock import utc_now
from models.database import writing
from models.jobs import insert_jobs
from models.keys import MasterKeys, generate_key
from models.pii import Phone, VerificationCode
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from models.tables import jobs
from tasks import SmsCode
from tasks.payload import Payload
from tasks.preparation import Preparation

__all__ = ["KEYS", "KEYS_TEXT", "PSEUDONYM_KEY", "a_code", "read_job", "store_job"]

KEYS_TEXT = f"test:{generate_key()}"
KEYS = MasterKeys.parse(KEYS_TEXT)
PSEUDONYM_KEY = bytes(range(32))


def a_code(phone: str = "16400001234") -> SmsCode:
    """A code for a number that reaches nobody."""
    return SmsCode(phone=Phone(phone), code=VerificationCode("246810"), scene="register")


def store_job(
    engine: Engine,
    *,
    payload: Payload | None = None,
    run_at: dt.datetime | None = None,
    **columns: Any,
) -> str:
    """Store a job (a code, unless another payload is given), set some columns; returns its id."""
    preparation = Preparation(
        Sealer(engine, KEYS), Pseudonyms(PSEUDONYM_KEY), policy_version=load_policy().version
    )
    job = preparation.prepare(payload or a_code(), backend="test", run_at=run_at)
    with writing(engine) as connection:
        insert_jobs(connection, [job])
        if columns:
            connection.execute(
                jobs.update().where(jobs.c.id == job.id).values(updated_at=utc_now(), **columns)
            )
    return job.id


def read_job(engine: Engine, job_id: str) -> Any:
    """The row as it stands."""
    with engine.connect() as connection:
        return connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
