"""Logins over HTTP: handed in, and their number taken once."""

from __future__ import annotations

import datetime as dt
from typing import Any

import httpx
import pytest

from models.clock import utc_now
from models.database import writing
from models.login_phones import KeepPhone, SealedPhone, phone_identity
from models.pii import Phone
from models.sealing import bucket_of
from models.tables import jobs
from tests.workers.gateway.serving import Gateway

PHONE = "16400001234"


def hand_in(http: httpx.Client, path: str = "/v1/logins", **body: Any) -> httpx.Response:
    fields = {"login_token": "sdk-token-0000000001", **body}
    key = {"Idempotency-Key": f"login-{sorted(fields.items())}".replace(" ", "")[:255]}
    return http.post(path, json=fields, headers=key)


@pytest.mark.parametrize(
    ("road", "kind"),
    [
        ("aliyun", "phone_login"),
        ("jiguang", "jiguang_login"),
        ("china_mobile", "jiguang_login"),
    ],
)
def test_a_token_takes_the_road_of_its_sdk(http: httpx.Client, road: str, kind: str) -> None:
    reply = hand_in(http, road=road)
    assert (reply.status_code, reply.json()["kind"]) == (202, kind)


def test_a_road_that_does_not_exist_is_refused(http: httpx.Client) -> None:
    reply = hand_in(http, road="carrier")
    assert reply.status_code == 422
    assert "sdk-token" not in reply.text


def bring_home(gateway: Gateway, job_id: str) -> None:
    """As a worker does when a login has succeeded."""
    expires_at = utc_now() + dt.timedelta(minutes=2)
    bucket = bucket_of(expires_at)
    sealed = gateway.sealer.seal(
        {"phone": Phone(PHONE)}, identity=phone_identity(job_id), bucket=bucket
    )
    record = SealedPhone(
        job_id=job_id, backend="shop", sealed=sealed, bucket=bucket, expires_at=expires_at
    )
    with writing(gateway.engine) as connection:
        assert KeepPhone(record).apply(connection, utc_now())
        connection.execute(
            jobs.update()
            .where(jobs.c.id == job_id)
            .values(state="succeeded", settled_at=utc_now(), sealed=None)
        )


def test_a_number_is_given_once_to_whoever_asked_for_the_login(
    gateway: Gateway, http: httpx.Client
) -> None:
    job_id = hand_in(http, road="aliyun", user="u-1").json()["id"]
    path = f"/v1/logins/{job_id}/phone"
    early = http.post(path)
    assert (early.status_code, early.json()["type"]) == (409, "urn:problem-type:zjj:job-state")
    bring_home(gateway, job_id)

    with gateway.http(gateway.other_api_key) as other:
        assert other.post(path).status_code == 404
    assert httpx.post(gateway.url + path, trust_env=False).status_code == 401
    assert PHONE not in http.get(f"/v1/jobs/{job_id}").text

    first, second = http.post(path), http.post(path)
    assert (first.status_code, first.json()) == (200, {"phone": PHONE})
    assert first.headers["Cache-Control"] == "no-store"
    assert second.status_code == 410
    assert second.json()["type"] == "urn:problem-type:zjj:gone"
    assert PHONE not in second.text


def test_other_jobs_have_no_number(http: httpx.Client) -> None:
    code = {"phone": PHONE, "code": "246810", "scene": "login"}
    job = http.post("/v1/sms-codes", json=code, headers={"Idempotency-Key": "no-login"}).json()
    assert http.post(f"/v1/logins/{job['id']}/phone").status_code == 404


def test_a_recovery_is_handed_in(http: httpx.Client) -> None:
    reply = hand_in(http, "/v1/phone-checks", phone=PHONE)
    assert (reply.status_code, reply.json()["kind"]) == (202, "phone_check")
