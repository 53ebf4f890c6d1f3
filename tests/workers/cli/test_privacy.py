"""``zjj privacy`` tells everything about a disclosure but the values."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, update
from typer.testing import CliRunner, Result

from integrations.policy import PACKAGED, load_policy
from models.audits import audits_of
from models.claims import ClaimRequest, write_claims
from models.clock import utc_now
from models.database import migrate, open_database, writing
from models.disclosures import Disclosure, DisclosureResult, SendResult, Verdict
from models.errors import InvalidValue, NotFound
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.keys import decode_key
from models.ledger import LedgerWriter
from models.pii import Phone
from models.pseudonyms import Pseudonyms
from models.tables import disclosure_results, disclosures, job_people, jobs, ledger_heads
from tests.workers.rows import store_job
from workers.cli.app import app

PHONE = "16400004321"
KEY_TEXT = "A" * 43
KEY = decode_key(KEY_TEXT, name="test")

Zjj = Callable[..., Result]


@pytest.fixture
def engine(sqlite_url: str) -> Engine:
    engine = open_database(sqlite_url)
    migrate(engine)
    return engine


@pytest.fixture
def zjj(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zjj:
    for name, value in {
        "ZJJ_DATABASE_URL": sqlite_url,
        "ZJJ_DATA": str(tmp_path / "zjj"),
        "ZJJ_PSEUDONYM_KEY": KEY_TEXT,
        "ZJJ_LANG": "en",
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, ["privacy", *arguments], input=typed)

    return run


def _disclose(engine: Engine, phone: str = PHONE, user: str | None = None) -> str:
    """One answered disclosure about a person; returns the job's id."""
    job_id = store_job(engine)
    if user is not None:
        with writing(engine) as connection:
            person = Pseudonyms(KEY).user("shop", user)
            connection.execute(insert(job_people).values(job_id=job_id, person=person))
    commits, ledger = GroupCommit(engine), LedgerWriter(KEY)
    now = utc_now()
    claim = commits.run(write_claims, ClaimRequest(job_id=job_id, worker_id=new_id(), at=now))
    assert claim is not None
    disclosure = Disclosure(
        id=new_id(),
        job_id=job_id,
        kind="sms_code",
        attempt=1,
        fence=claim.fence,
        operation="aliyun.sms.send",
        recipient="aliyun_sms",
        host="dysmsapi.aliyuncs.com",
        purpose="verify_phone",
        clauses=("一(1)1",),
        policy_version="2023-01-01.3",
        categories=("user.contact.phone_number",),
        stripped=("scene",),
        subject=Pseudonyms(KEY).subject(Phone(phone)),
        consent_ref=None,
        verdict=Verdict.ADMITTED,
        reason=None,
        at=now,
    )
    commits.run(ledger.write_disclosures, disclosure)
    commits.run(
        ledger.write_results,
        DisclosureResult(
            disclosure_id=disclosure.id,
            result=SendResult.ANSWERED,
            http_status=200,
            provider_code="OK",
            provider_request_id="R-1",
            at=now,
            milliseconds=3.0,
        ),
    )
    commits.close()
    return job_id


def test_a_check_shows_what_may_leave_and_what_the_published_text_lacks(zjj: Zjj) -> None:
    done = zjj("check")
    assert done.exit_code == 0
    for fact in (
        "2023-01-01.3",
        "dysmsapi.aliyuncs.com",
        "PhoneNumbers: 接收短信的手机号码",
        "没有写明短信服务商",
        "没有写明实人认证服务商",
        "没有人脸信息条款",
        "没有保存期限的具体数字",
        "物流",
        "头像照片",
        "物流、快递公司: 政策没有写明任何接收方",
        "GetMobileResultDTO.Mobile",
    ):
        assert fact in done.output


def test_a_check_for_programs_names_every_gap(zjj: Zjj) -> None:
    found = json.loads(zjj("check", "--json").output)
    assert {"sms_gateway_unnamed", "identity_verifier_unnamed", "face", "retention"} <= found[
        "gaps"
    ].keys()
    assert found["recipients"]["aliyun_sms"]["named_in_policy"] is False
    assert {each["region"] for each in found["recipients"].values()} == {"CN-mainland"}


def test_a_check_states_all_that_never_happens_and_what_replies_tell_about_people(zjj: Zjj) -> None:
    shown = re.sub(r"\s+", "", zjj("check").output)
    found = json.loads(zjj("check", "--json").output)["denied"]
    policy = load_policy()
    for kind, entries in policy.denied:
        assert found[kind].keys() == entries.keys()
        for entry in entries.values():
            assert re.sub(r"\s+", "", f"• {entry.title}: {entry.reason}") in shown
    for operation in policy.operations.values():
        for path in operation.reply.personal:
            assert path in shown


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ('region = "CN-mainland"', 'region = "US"', 'region = "US"', "region"),
        ('host = "dysmsapi.aliyuncs.com"', 'host = "sms.example.com"', "sms.example", "not a host"),
        ("pattern = '1\\d{10}', max = 11", "pattern = '.*', max = 99", "'.*'", "widened"),
        ("version = ", "version ", 'version "', "toml"),
    ],
    ids=["malformed", "contradictory", "widened", "broken"],
)
def test_a_policy_that_cannot_be_relied_on_stops_with_file_line_and_reason(
    tmp_path: Path, old: str, new: str, line: str, reason: str
) -> None:
    path = tmp_path / "mine.toml"
    text = PACKAGED.read_text("utf-8").replace(old, new, 1)
    path.write_text(text, "utf-8")
    number = next(n for n, row in enumerate(text.splitlines(), 1) if line in row)
    for command in (["privacy", "check"], ["worker"]):
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", *command],
            env={
                "ZJJ_POLICY_FILE": str(path),
                "ZJJ_DATA": str(tmp_path / "zjj"),
                "ZJJ_SANDBOX_URL": "http://127.0.0.1:1",
                "COLUMNS": "400",
                "PATH": "",
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert f"mine.toml:{number}: " in done.stderr
        assert reason in done.stderr


def test_a_shop_compares_its_own_versions(zjj: Zjj, tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    text = PACKAGED.read_text("utf-8").replace("钟久久(山东)珠宝有限公司", "某公司")
    old.write_text(text, "utf-8")
    more = '"dwbillcenter.alipay.com", "a.example.com"]'
    new.write_text(text.replace('"dwbillcenter.alipay.com"]', more), "utf-8")
    assert zjj("check", "--file", str(new)).exit_code == 0
    done = zjj("check", "--file", str(new), "--against", str(old))
    assert "recipient alipay has a new host a.example.com" in str(done.exception)


def test_one_person_is_told_who_got_what_and_why_without_a_value(zjj: Zjj, engine: Engine) -> None:
    job_id = _disclose(engine)
    _disclose(engine, "16400008888")
    done = zjj("subject", "--phone", "-", typed=f"{PHONE}\n")
    assert done.exit_code == 0
    for fact in ("阿里云计算有限公司 短信服务", "手机号码", "一(1)1", "answered"):
        assert fact in done.output
    asked = zjj("subject", "--phone", "-", "--json", typed=f"+86 {PHONE}\n")
    found = json.loads(asked.output)
    assert [item["job_id"] for item in found["disclosures"]] == [job_id]
    assert PHONE not in done.output + asked.output


def test_a_stranger_is_told_that_there_is_nothing(zjj: Zjj, engine: Engine) -> None:
    _disclose(engine)
    assert "Nothing" in zjj("subject", "--phone", "-", typed="16400007777\n").output


def test_a_person_is_found_by_the_backends_own_id_too(zjj: Zjj, engine: Engine) -> None:
    job_id = _disclose(engine, user="u-17")
    _disclose(engine, user="u-18")

    def found(backend: str) -> list[str]:
        asked = zjj("subject", "--user", "-", "--backend", backend, "--json", typed="u-17\n")
        return [item["job_id"] for item in json.loads(asked.output)["disclosures"]]

    assert found("shop") == [job_id]
    assert found("forum") == [], "another backend's u-17 is somebody else"


def test_a_person_is_named_once_and_a_user_with_its_backend(zjj: Zjj, engine: Engine) -> None:
    for options in (
        (),
        ("--phone", "-", "--user", "-"),
        ("--user", "-"),
        ("--user", "u-17", "--backend", "shop"),
    ):
        assert isinstance(zjj("subject", *options, typed="u-17\n").exception, InvalidValue)


def test_a_person_is_restricted_shown_and_set_free(zjj: Zjj, engine: Engine) -> None:
    assert "Nothing" in zjj("consents", "--phone", "-", typed=PHONE).output
    done = zjj("restrict", "--phone", "-", "--reason", "objection", "--json", typed=PHONE)
    restriction = json.loads(done.output)
    assert restriction["cancelled"] == 0

    shown = zjj("consents", "--phone", "-", typed=PHONE).output
    assert "objection" in shown
    assert PHONE not in shown
    assert zjj("lift", restriction["id"]).exit_code == 0
    (known,) = json.loads(zjj("consents", "--phone", "-", "--json", typed=PHONE).output)[
        "restrictions"
    ]
    assert known["lifted_at"] is not None
    assert isinstance(zjj("lift", "0" * 32).exception, NotFound)
    with engine.connect() as connection:
        audits = audits_of(connection, restriction["id"])
    assert [audit.action for audit in audits] == ["person.restrict", "person.unrestrict"]
    assert {audit.actor.partition(":")[0] for audit in audits} == {"cli"}


def test_a_person_is_erased_after_a_look_at_what_that_comes_to(zjj: Zjj, engine: Engine) -> None:
    job_id = _disclose(engine, user="u-17")
    with writing(engine) as connection:
        connection.execute(update(jobs).values(state="succeeded"))
    who = ("--user", "-", "--backend", "shop")
    shown = zjj("subject", *who, typed="u-17\n").output
    assert "Rows kept here: job_people 1, jobs 1, disclosures 1" in shown

    trial = zjj("erase", *who, "--reason", "on paper", "--dry-run", typed="u-17\n")
    assert "Would be erased: job_people 1, jobs 1" in trial.output
    done = zjj("erase", *who, "--reason", "on paper", typed="u-17\n")
    assert "Erased: job_people 1, jobs 1" in done.output
    assert "without values, to account for it: disclosures 1" in done.output
    assert (trial.exit_code, done.exit_code) == (0, 0)
    again = zjj("erase", *who, "--reason", "on paper", "--json", typed="u-17\n")
    assert json.loads(again.output) == {
        "dry_run": False,
        "forgotten": {},
        "kept": {},
        "unfinished": 0,
    }
    phone = zjj("subject", "--phone", "-", "--json", typed=PHONE).output
    assert [item["job_id"] for item in json.loads(phone)["disclosures"]] == [job_id]
    assert zjj("ledger", "verify").exit_code == 0


def test_what_is_on_its_way_is_said_and_makes_an_erasure_fail(zjj: Zjj, engine: Engine) -> None:
    _disclose(engine, user="u-17")
    who = ("--user", "-", "--backend", "shop")
    done = zjj("erase", *who, "--reason", "on paper", typed="u-17\n")

    assert "1 jobs are still on their way" in done.output
    assert done.exit_code == 1


def test_a_number_on_the_command_line_is_refused(zjj: Zjj, engine: Engine) -> None:
    done = zjj("subject", "--phone", PHONE)
    assert isinstance(done.exception, InvalidValue)
    assert PHONE not in str(done.exception) + done.output


def test_a_leak_is_counted_in_people_and_named_in_pseudonyms(zjj: Zjj, engine: Engine) -> None:
    _disclose(engine)
    _disclose(engine, "16400008888")
    day = f"{utc_now():%Y-%m-%d}"
    period = ("--recipient", "aliyun_sms", "--from", "2026-01-01", "--to", f"{day}T23:59:59Z")
    assert "2 (1–9)" in zjj("affected", *period).output
    found = json.loads(zjj("affected", *period, "--json").output)
    assert Pseudonyms(KEY).subject(Phone(PHONE)) in found["subjects"]
    assert (found["people"], found["band"]) == (2, "1–9")


def test_days_are_beijing_days_and_count_to_their_end(zjj: Zjj, engine: Engine) -> None:
    period = ("--recipient", "aliyun_sms", "--from", "2026-03-01", "--to", "2026-03-01", "--json")
    found = json.loads(zjj("affected", *period).output)
    assert (found["begin"], found["end"]) == (
        "2026-02-28T16:00:00+00:00",
        "2026-03-01T16:00:00+00:00",
    )


def test_a_recipient_that_the_policy_lacks_is_not_found(zjj: Zjj, engine: Engine) -> None:
    done = zjj("affected", "--recipient", "acme", "--from", "2026-03-01", "--to", "2026-03-01")
    assert isinstance(done.exception, NotFound)


def test_a_whole_ledger_verifies(zjj: Zjj, engine: Engine) -> None:
    _disclose(engine)
    done = zjj("ledger", "verify")
    assert (done.exit_code, "whole: 2 rows" in done.output) == (0, True)


def test_ends_that_were_kept_elsewhere_show_that_all_is_gone(
    zjj: Zjj, engine: Engine, tmp_path: Path
) -> None:
    kept = tmp_path / "ends.json"
    _disclose(engine)
    assert zjj("ledger", "verify", "--save", str(kept)).exit_code == 0
    _disclose(engine)
    assert zjj("ledger", "verify", "--against", str(kept)).exit_code == 0
    with writing(engine) as connection:
        for table in (disclosures, disclosure_results, ledger_heads):
            connection.execute(delete(table))
    assert zjj("ledger", "verify").exit_code == 0
    before = kept.read_bytes()
    done = zjj("ledger", "verify", "--against", str(kept), "--save", str(kept))
    assert (done.exit_code, "removed at row 1" in done.output) == (1, True)
    assert kept.read_bytes() == before, "what does not fit is not kept"


@pytest.mark.parametrize("text", ["", "[]]", '[{"writer": "x"}]', "{}"])
def test_only_what_was_saved_is_compared_with(
    zjj: Zjj, engine: Engine, tmp_path: Path, text: str
) -> None:
    kept = tmp_path / "ends.json"
    kept.write_text(text)
    done = zjj("ledger", "verify", "--against", str(kept))
    assert isinstance(done.exception, InvalidValue)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (delete(disclosures), "removed"),
        (delete(disclosure_results), "tail cut"),
        (update(disclosures).values(recipient="alipay"), "altered"),
    ],
    ids=["removed", "cut", "changed"],
)
def test_a_touched_ledger_is_found_out(zjj: Zjj, engine: Engine, harm: object, what: str) -> None:
    _disclose(engine)
    with writing(engine) as connection:
        connection.execute(harm)  # type: ignore[call-overload]
    done = zjj("ledger", "verify")
    assert (done.exit_code, what in done.output) == (1, True)
    assert json.loads(zjj("ledger", "verify", "--json").stdout)["faults"][0]["what"] == what


def test_rows_in_another_order_are_found_out(zjj: Zjj, engine: Engine) -> None:
    _disclose(engine)
    with writing(engine) as connection:
        connection.execute(update(disclosures).values(seq=9))
        connection.execute(update(disclosure_results).values(seq=1))
        connection.execute(update(disclosures).values(seq=2))
    assert zjj("ledger", "verify").exit_code == 1


def test_the_lists_can_say_what_was_really_sent(zjj: Zjj, engine: Engine) -> None:
    _disclose(engine)
    assert "1 次,最近" in zjj("recipients", "--with-ledger").output
    assert "实际次数" not in zjj("recipients").output


def test_without_a_database_it_says_so_and_asks_to_come_again(zjj: Zjj) -> None:
    done = zjj("ledger", "verify")
    assert "lacks its tables" in str(done.exception)
