"""GET /v1/jobs/{id}: state, attempts and receipt, never a value."""

from __future__ import annotations

import datetime as dt

import httpx
import pytest

from models.claims import ClaimRequest, write_claims
from models.clock import utc_now
from models.database import WRITES
from models.disclosures import Disclosure, DisclosureResult, SendResult, Verdict
from models.group_commit import Transaction
from models.identifiers import new_id
from models.ledger import LedgerWriter
from models.settlement import Settlement
from models.states import Event
from tests.workers.gateway.serving import Gateway

CODE = {"phone": "16400001234", "code": "246810", "scene": "register", "user": "u-815"}


@pytest.fixture
def job_id(http: httpx.Client) -> str:
    reply = http.post("/v1/sms-codes", json=CODE, headers={"Idempotency-Key": new_id()})
    job_id: str = reply.json()["id"]
    return job_id


def work(gateway: Gateway, job_id: str) -> None:
    """What a worker does to the database when it sends the code."""
    worker_id, disclosure_id, now = new_id(), new_id(), utc_now()
    ledger = LedgerWriter(b"l" * 32)
    with gateway.engine.connect().execution_options(**WRITES) as connection, connection.begin():
        transaction = Transaction(connection)
        request = ClaimRequest(job_id=job_id, worker_id=worker_id, at=now)
        (claim,) = write_claims(transaction, [request])
        assert claim is not None
        disclosure = Disclosure(
            id=disclosure_id,
            job_id=job_id,
            kind="sms_code",
            attempt=1,
            fence=claim.fence,
            operation="aliyun.sms.send",
            recipient="aliyun_sms",
            host="dysmsapi.aliyuncs.com",
            purpose="authentication",
            clauses=("一(1)1",),
            policy_version="2023-01-01",
            categories=("user.contact.phone_number", "user.authorization.credentials"),
            stripped=("scene", "user"),
            subject=claim.subject,
            consent_ref=None,
            verdict=Verdict.ADMITTED,
            reason=None,
            at=now,
        )
        result = DisclosureResult(
            disclosure_id=disclosure_id,
            result=SendResult.ANSWERED,
            http_status=200,
            provider_code="OK",
            provider_request_id="F655A8D5",
            at=now + dt.timedelta(milliseconds=30),
            milliseconds=30.0,
        )
        ledger.write_disclosures(transaction, [disclosure])
        settlement = Settlement(
            job_id=job_id,
            fence=claim.fence,
            number=1,
            worker_id=worker_id,
            event=Event.SUCCEED,
            started_at=now,
            at=now + dt.timedelta(milliseconds=40),
            milliseconds=40.0,
            provider_code="OK",
            result={"biz_id": "900619746936498440^0"},
            disclosure_results=(result,),
        )
        assert ledger.write_settlements(transaction, [settlement]) == [True]


def test_a_fresh_job_has_no_attempts_and_an_empty_receipt(http: httpx.Client, job_id: str) -> None:
    job = http.get(f"/v1/jobs/{job_id}").json()
    created = dt.datetime.fromisoformat(job.pop("created_at"))
    assert dt.datetime.fromisoformat(job.pop("updated_at")) == created
    assert dt.datetime.fromisoformat(job.pop("expires_at")) - created == dt.timedelta(minutes=5)
    assert job == {
        "id": job_id,
        "kind": "sms_code",
        "state": "queued",
        "attempts": [],
        "reason": None,
        "result": {},
        "receipt": [],
    }


def test_a_settled_job_shows_what_was_sent_and_what_stayed(
    http: httpx.Client, gateway: Gateway, job_id: str
) -> None:
    work(gateway, job_id)
    reply = http.get(f"/v1/jobs/{job_id}")
    job = reply.json()
    assert job["state"] == "succeeded"
    assert job["result"] == {"biz_id": "900619746936498440^0"}
    (attempt,) = job["attempts"]
    assert attempt.pop("ended_at") > attempt.pop("started_at")
    assert attempt == {
        "number": 1,
        "counted": True,
        "outcome": "succeed",
        "code": None,
        "provider_code": "OK",
        "milliseconds": 40.0,
    }
    (disclosure,) = job["receipt"]
    assert disclosure.pop("at").endswith("Z")
    assert disclosure == {
        "attempt": 1,
        "recipient": "aliyun_sms",
        "operation": "aliyun.sms.send",
        "purpose": "authentication",
        "clauses": ["一(1)1"],
        "policy_version": "2023-01-01",
        "categories": ["user.contact.phone_number", "user.authorization.credentials"],
        "stripped": ["scene", "user"],
        "verdict": "admitted",
        "reason": None,
        "result": "answered",
        "milliseconds": 30.0,
    }
    # Neither a value nor its mask, nor the pseudonym under which we know the person.
    for secret in (*CODE.values(), "164****1234", "1234", "subject"):
        assert secret not in reply.text.replace("900619746936498440", "")


def test_another_backends_job_does_not_exist(gateway: Gateway, job_id: str) -> None:
    with gateway.http(gateway.other_api_key) as other:
        theirs = other.get(f"/v1/jobs/{job_id}")
        nobodys = other.get(f"/v1/jobs/{'0' * 32}")
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() == nobodys.json()
    assert theirs.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("job_id", ["16400001234", "0" * 31, "A" * 32, "%00", "a" * 5000])
def test_what_is_no_job_id_does_not_exist_either(http: httpx.Client, job_id: str) -> None:
    reply = http.get(f"/v1/jobs/{job_id}")
    assert reply.status_code == 404
    assert job_id not in reply.text
