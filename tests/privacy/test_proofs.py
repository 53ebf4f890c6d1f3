"""The proofs hold, and they fail where something is wrong."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from integrations.policy import PACKAGED, Policy, load_policy
from integrations.sandbox import sm2_key
from tasks.registry import TASKS
from tests.integrations.gate.parts import CONSTANTS
from workers.cli.app import app
from workers.proofs.canary import sweep_operations
from workers.proofs.control import LEAKS, PLANTS, control
from workers.proofs.doors import strange_commands
from workers.proofs.interference import non_interference
from workers.proofs.lab import cell_faults
from workers.proofs.necessity import necessity
from workers.proofs.people import Person, made_up_payload
from workers.proofs.report import Proof, run_proof
from workers.proofs.traces import Value, find

POLICY = load_policy()
TEXT = PACKAGED.read_text("utf-8")
PHONE = "16400001234"


def _silent(name: str, done: int, total: int) -> None:
    pass


def _changed(folder: Path, old: str, new: str) -> Policy:
    path = folder / "changed.toml"
    text = TEXT.replace(old, new, 1)
    assert text != TEXT
    path.write_text(text, "utf-8")
    return load_policy(path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_operation_sends_its_cells_whatever_goes_wrong() -> None:
    proof = sweep_operations(POLICY, _silent)
    assert proof.faults == []
    assert proof.cases == 7 * len(POLICY.operations)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_deliberate_leak_is_caught() -> None:
    assert len(LEAKS) >= 12
    assert len(PLANTS) >= 12
    assert control(POLICY, _silent).faults == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_may_not_leave_does_not_change_a_byte() -> None:
    assert non_interference(POLICY, _silent, variations=10).faults == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_personal_field_is_needed() -> None:
    assert necessity(POLICY, _silent).faults == []


def test_an_operation_that_nobody_drives_is_not_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "more.toml"
    path.write_text(TEXT + CONSTANTS, "utf-8")
    faults = sweep_operations(load_policy(path), _silent).faults
    assert len(faults) == 7
    assert all("constants: no proof drives this operation" in fault for fault in faults)


def test_a_field_that_the_recipient_can_do_without_is_named(tmp_path: Path) -> None:
    needless = (
        'Name = { title = "姓名", from = "name", category = "user.name", transform = "raw", '
        "pattern = '.*', max = 30 }\n"
    )
    policy = _changed(
        tmp_path,
        '[operations."aliyun.sms.send".fields]\n',
        f'[operations."aliyun.sms.send".fields]\n{needless}',
    )
    assert necessity(policy, _silent).faults == [
        "aliyun.sms.send: works without Name, which must leave the policy"
    ]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("PhoneNumbers={phone}&TemplateParam=%7B%22code%22%3A%22{code}%22%7D", None),
        ("PhoneNumbers={phone}", "lacks one of its cells"),
        ("PhoneNumbers={phone}&P={phone}&C={code}", "carries phone 2 times"),
        ("PhoneNumbers={phone}&C={code}&U={user}", "carries user"),
        ("PhoneNumbers={phone}&C={code}&H={hex}", "(hex)"),
    ],
)
def test_a_request_is_held_against_the_cells_of_its_operation(body: str, fault: str | None) -> None:
    person = Person(code="246811")
    texts = {value.name: value.text for value in person.values}
    head = (
        "POST / HTTP/1.1\r\nHost: dysmsapi.aliyuncs.com\r\nAccept: application/json\r\n"
        "x-acs-action: SendSms\r\nx-acs-version: 2017-05-25\r\n\r\n"
    )
    request = head + body.format(**texts, hex=texts["phone"].encode().hex())
    found = cell_faults(POLICY, request.encode(), [person])
    assert found == [] if fault is None else any(fault in each for each in found)


@pytest.mark.parametrize(
    ("sealed", "fault"),
    [
        (("UserName", "IdentifyNum"), None),
        (("UserName",), "lacks one of its cells"),
        ((), "lacks one of its cells"),
        (("UserName", "IdentifyNum", "Else"), "carries phone"),
    ],
)
def test_encrypted_cells_are_opened_and_plain_ones_do_not_count(
    sealed: tuple[str, ...], fault: str | None
) -> None:
    person = Person(code="246811")
    texts = {value.name: value.text for value in person.values}
    cells = {"ParamType": "sm2", "UserName": texts["name"], "IdentifyNum": texts["id_number"]}
    if "Else" in sealed:
        cells["Else"] = texts["phone"]
    encrypt = sm2_key.TRANSFORMS["sm2"]
    body = {
        name: encrypt(text) if name in sealed and name != "Else" else text
        for name, text in cells.items()
    }
    head = (
        "POST / HTTP/1.1\r\nHost: cloudauth.aliyuncs.com\r\nAccept: application/json\r\n"
        "x-acs-action: Id2MetaVerify\r\nx-acs-version: 2019-03-07\r\n\r\n"
    )
    found = cell_faults(POLICY, (head + urlencode(body)).encode(), [person])
    assert found == [] if fault is None else any(fault in each for each in found)


def test_a_request_that_is_no_operation_is_a_fault() -> None:
    assert cell_faults(POLICY, b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", [])


def test_payloads_are_made_up_for_every_kind_of_job() -> None:
    person = Person(code="246810")
    for task in TASKS.values():
        assert type(made_up_payload(task.payload, person)) is task.payload


def test_a_command_that_nobody_told_the_proofs_about_is_named() -> None:
    assert strange_commands(app) == []

    more, group = typer.Typer(), typer.Typer()
    more.add_typer(group, name="people")
    group.command("list")(lambda: None)
    group.command("show")(lambda: None)
    assert strange_commands(more) == ["people list", "people show"]


def test_ids_digests_and_times_are_no_phone_numbers() -> None:
    chance = random.Random(7)
    noise = "\n".join(
        f"{chance.getrandbits(128):032x} 2026-11-23T10:{chance.randrange(60):02d}:"
        f"{chance.randrange(60):02d}.{chance.randrange(10**6):06d}Z {chance.randrange(10**6)}"
        for _ in range(20_000)
    )
    assert find([Value("phone", PHONE)], noise.encode()) == []


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_what_time_it_is_is_nobodys_number(unit: int) -> None:
    now = str(int(time.time() * unit))
    shared = Value("id_number", "999999" + now[2:9] + "12345")
    assert find([shared], f"at {now}".encode()) == []
    assert find([shared], f"at {now[:9]}".encode())
    assert find([Value("phone", PHONE)], f"at 86{PHONE}".encode())


def test_a_number_that_is_one_persons_is_not_taken_for_anothers() -> None:
    mine, alike = Value("phone", "16412345678"), Value("id_number", "999999123456780016")
    assert [(t.value, t.form) for t in find([mine, alike], b"phone=16412345678")] == [
        (mine, "plain"),
        (mine, "digits"),
    ]
    assert {t.value for t in find([mine, alike], b"phone=816412345678")} == {mine, alike}


@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(sorted(PLANTS)))
def test_a_value_is_found_wherever_it_stands(before: bytes, after: bytes, plant: str) -> None:
    planted = before + b"\x00" + PLANTS[plant](PHONE) + b"\x00" + after
    assert find([Value("phone", PHONE)], planted)


def test_a_proof_that_breaks_or_tries_nothing_does_not_hold() -> None:
    def breaks() -> list[str]:
        raise RuntimeError("secret words")

    broken = run_proof(Proof("x", "", ""), [breaks], _silent)
    assert not broken.holds
    assert "secret" not in broken.faults[0]
    assert not run_proof(Proof("x", "", ""), [], _silent).holds


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_report_holds_on_both_databases(postgres_url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "workers.cli", "privacy", "prove", "--json"),
            *("--database-url", postgres_url),
        ],
        env={
            "PATH": os.environ["PATH"],
            "ZJJ_DATA": str(tmp_path / "zjj"),
            # What the machine is configured for must not matter.
            "ZJJ_ALIYUN_ACCESS_KEY_ID": "LTAI",
            "ZJJ_REDIS_URL": "redis://192.0.2.7",
        },
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    found = json.loads(done.stdout)
    assert done.returncode == 0, [(proof["name"], proof["faults"]) for proof in found]
    assert [proof["holds"] for proof in found] == [True] * 7
