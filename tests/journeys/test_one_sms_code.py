"""One SMS code, from enqueue to wire and back, while things are being broken."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.journeys.houses import House


@pytest.fixture
def house(running_house: House) -> House:
    running_house.sandbox("faults", method="DELETE")
    return running_house


def test_a_code_goes_the_whole_way_and_its_receipt_tells_what_left(house: House) -> None:
    job = house.settled(house.enqueue("16400003333", user="u-1"))
    assert job["state"] == "succeeded"
    (disclosed,) = job["receipt"]
    assert disclosed["recipient"] == "aliyun_sms"
    assert disclosed["categories"] == [
        "user.contact.phone_number",
        "user.authorization.credentials",
    ]
    assert disclosed["stripped"] == ["scene", "user"]
    assert disclosed["clauses"] == ["一(1)1", "一(1)6", "五(1)"]
    seen = house.sandbox(f"requests?reference={job['id']}")
    assert (seen["seen"], seen["accepted"]) == (1, 1)


def test_fifty_threads_with_one_key_make_one_job(house: House) -> None:
    key = uuid.uuid4().hex
    body = {"phone": "16400004444", "code": "112233", "scene": "login"}

    def post(_: int) -> tuple[int, str]:
        with house.api() as api:
            answer = api.post("/v1/sms-codes", json=body, headers={"Idempotency-Key": key})
            return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(50) as threads:
        answers = set(threads.map(post, range(50)))
    assert len(answers) == 1
    ((status, job_id),) = answers
    assert status == 202
    assert house.settled(job_id)["state"] == "succeeded"
    assert house.sandbox(f"requests?reference={job_id}")["seen"] == 1
    with house.api() as api:
        other = api.post(
            "/v1/sms-codes", json={**body, "code": "445566"}, headers={"Idempotency-Key": key}
        )
    assert other.status_code == 409


def test_a_worker_killed_while_the_provider_is_called_never_sends_twice(house: House) -> None:
    house.sandbox("faults", {"kind": "hang", "seconds": 30, "times": 1})
    job_id = house.enqueue("16400005555")
    house.await_(
        lambda: house.sandbox(f"requests?reference={job_id}")["seen"] == 1, "the provider is called"
    )
    (worker,) = house.pids("urgent")
    os.kill(worker, signal.SIGKILL)
    job = house.settled(job_id, seconds=20)
    assert (job["state"], job["reason"]) == ("unknown", "worker.lost")
    time.sleep(2)
    assert house.sandbox(f"requests?reference={job_id}")["seen"] == 1


def test_a_read_timeout_is_unknown_and_not_a_resend(house: House) -> None:
    house.sandbox("faults", {"kind": "reset", "times": 1})
    job_id = house.enqueue("16400006666")
    assert house.settled(job_id)["state"] == "unknown"
    assert house.sandbox(f"requests?reference={job_id}")["seen"] == 1


def test_jobs_enqueued_while_redis_is_stopped_run_once_it_is_back(house: House) -> None:
    (redis,) = house.pids("--unixsocket") or house.pids("valkey-server")
    os.kill(redis, signal.SIGSTOP)
    try:
        ids = [house.enqueue(f"1640001{n:04d}") for n in range(5)]
    finally:
        os.kill(redis, signal.SIGKILL)
    for job_id in ids:
        assert house.settled(job_id)["state"] == "succeeded"
        assert house.sandbox(f"requests?reference={job_id}")["seen"] == 1


def test_neither_phone_nor_code_is_anywhere_at_rest(house: House) -> None:
    phone, code = "16487654321", "907513"
    job_id = house.enqueue(phone, code=code, scene="register")
    house.sandbox("faults", {"kind": "reset", "times": 1})
    lost = house.enqueue(phone, code=code, scene="bind_phone")
    for each in (job_id, lost):
        house.settled(each)
    with sqlite3.connect(house.data / "zjj.db") as database:
        dump = "\n".join(database.iterdump()).encode()
    files = [path for path in house.data.rglob("*") if path.is_file()]
    assert {"zjj.db", "zjj.db-wal", "worker-urgent.log"} <= {path.name for path in files}
    for place, content in [("dump", dump), *((path.name, path.read_bytes()) for path in files)]:
        for disguise in _disguises(phone) + _disguises(f'"{code}"'):
            assert disguise not in content, place
    assert "16487654321" not in house.said()


def _disguises(text: str) -> list[bytes]:
    raw = text.encode()
    return [raw, raw.hex().encode(), base64.b64encode(raw)]


def test_the_command_line_enqueues_and_shows(house: House) -> None:
    done = house.command(
        "jobs",
        "enqueue",
        "sms_code",
        "phone=+86 164 0000 7777",
        "code=1234",
        "scene=login",
        "--wait",
        "20",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert '"state": "succeeded"' in done.stdout
    assert "16400007777" not in done.stdout


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["phone=12345", "code=1234", "scene=login"], "phone: is not a phone number"),
        (["phone=16400007777", "code=1", "scene=login"], "code: must be 4 to 6 digits"),
        (["phone=16400007777", "code=1234", "scene=x"], "scene: "),
        (["phone=16400007777", "code=1234"], "scene: Field required"),
    ],
)
def test_the_command_line_names_the_field_and_not_the_value(
    house: House, fields: list[str], said: str
) -> None:
    done = house.command("jobs", "enqueue", "sms_code", *fields)
    assert done.returncode == 2
    assert said in done.stderr
    for field in fields:
        assert field.split("=")[1] not in done.stderr


def test_the_redis_dump_holds_job_ids_only(house: House) -> None:
    house.settled(house.enqueue("16400008888", code="864209"))
    content = b"".join(path.read_bytes() for path in _files(house.data / "redis"))
    assert b"16400008888" not in content
    assert b"864209" not in content


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_gateway_serves_its_openapi(house: House) -> None:
    answer = httpx.get(f"{house.url}/openapi.json", trust_env=False)
    assert answer.json()["paths"].keys() >= {"/v1/sms-codes", "/v1/jobs/{job_id}"}
