"""A real name checked and a login taken, through real processes: what comes back, and what stays."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from integrations.sandbox.tokens import phone_behind
from tests.integrations.sandbox.test_cloudauth import id_number
from tests.journeys.backends import Backend, Told
from tests.journeys.houses import House

NAME = "欧阳测试"
NUMBER = id_number()
PERSON = {
    "name": NAME,
    "id_number": NUMBER,
    "purpose": "query",
    "order_no": "zjj-2026-1",
    "expected_order_no": "ZJJ-2026-1",
    "consent_ref": "agreed-1",
    "user": "u-1",
}
AGREED = {
    "ref": "agreed-1",
    "kind": "separate",
    "purpose": "verify_identity",
    "user": "u-1",
    "granted_at": "2026-11-24T00:00:00Z",
}


@pytest.fixture(scope="module")
def backend(running_house: House) -> Iterator[Backend]:
    """The shop's own, which is told how its jobs end."""
    with Backend() as backend:
        made = running_house.command(
            *("webhooks", "add", "--backend", "demo", "--url", backend.url),
            *("--reason", "a journey", "--json"),
        )
        backend.secret = json.loads(made.stdout)["secret"]
        post(running_house, "/v1/consents", AGREED)
        yield backend


def post(house: House, path: str, body: dict[str, str]) -> dict[str, Any]:
    with house.api() as api:
        answer = api.post(path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def told_of(house: House, backend: Backend, job_id: str) -> dict[str, Any]:
    """The webhook about a job."""

    def found() -> list[Told]:
        return [told for told in backend.told().get("", []) if told.data["job_id"] == job_id]

    house.await_(found, "the backend is told")
    (told,) = found()
    assert told.event == "job.settled"
    return told.data


def asked(house: House, action: str) -> int:
    entries = house.sandbox("requests")["requests"]
    return sum(entry["action"] == action for entry in entries)


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_verdict_comes_back_and_nothing_of_the_person_stays(
    running_house: House, backend: Backend
) -> None:
    house, before = running_house, asked(running_house, "Id2MetaVerify")
    with ThreadPoolExecutor(4) as pool:
        jobs = list(pool.map(lambda _: post(house, "/v1/identity-checks", PERSON), range(4)))
    settled = [house.settled(job["id"]) for job in jobs]
    assert [job["result"]["verdict"] for job in settled] == ["match"] * 4
    now = asked(house, "Id2MetaVerify")
    assert now - before == 1, "the same question at one moment is paid once"
    for job in jobs:
        assert told_of(house, backend, job["id"]) == {
            "job_id": job["id"],
            "kind": "identity_check",
            "status": "succeeded",
            "verdict": "match",
        }
    for text in (NAME, NUMBER, PERSON["order_no"]):
        assert text.encode() not in everything_in(house.data)


def test_a_check_that_loses_its_worker_tells_that_there_is_no_verdict(
    running_house: House, backend: Backend
) -> None:
    house, before = running_house, asked(running_house, "Id2MetaVerify")
    house.sandbox("faults", {"kind": "hang", "seconds": 30, "times": 1})
    job_id = post(house, "/v1/identity-checks", PERSON | {"id_number": id_number("002")})["id"]
    house.await_(lambda: asked(house, "Id2MetaVerify") > before, "Aliyun is asked")
    (worker,) = house.pids("urgent")
    os.kill(worker, signal.SIGKILL)
    job = house.settled(job_id)
    assert (job["state"], job["reason"]) == ("unknown", "worker.lost")
    assert job["result"] == {"verdict": "unavailable"}
    told = told_of(house, backend, job_id)
    assert (told["verdict"], told["reason_code"]) == ("unavailable", "worker.lost")
    again = post(house, "/v1/identity-checks", PERSON | {"id_number": id_number("002")})
    assert house.settled(again["id"])["result"]["verdict"] == "match", "its turn is over"


@pytest.mark.parametrize("road", ["aliyun", "jiguang", "china_mobile"])
def test_a_login_brings_a_number_that_only_its_backend_sees_and_once(
    running_house: House, backend: Backend, road: str
) -> None:
    house, token = running_house, f"token-of-{road}-{uuid.uuid4().hex}"
    job_id = post(house, "/v1/logins", {"login_token": token, "road": road})["id"]
    job = house.settled(job_id)
    assert job["state"] == "succeeded"
    told = told_of(house, backend, job_id)
    with house.api() as api:
        first, second = (api.post(f"/v1/logins/{job_id}/phone") for _ in range(2))
    assert first.json() == {"phone": phone_behind(token)}
    assert second.status_code == 410
    seen = everything_in(house.data) + json.dumps([job, told]).encode()
    assert phone_behind(token).encode() not in seen
    assert token.encode() not in seen
