"""``zjj jobs`` and ``zjj queues``: what operators do about many jobs."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from models.audits import audits_of
from models.claims import ClaimRequest, Worker, beat, write_claims
from models.clock import utc_now
from models.database import writing
from models.errors import InvalidValue, NotFound
from models.group_commit import Transaction
from models.identifiers import new_id
from models.replays import put_back
from models.states import State
from models.tables import alarms, audits, jobs
from tests.workers.rows import KEYS, PSEUDONYM_KEY, read_job, store_job
from workers.cli.app import app

Zjj = Callable[..., Any]

PHONE = "16400001234"
"""That of tests.workers.rows."""


def _text(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


@pytest.fixture
def zjj(database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Zjj:
    for name, value in {
        "ZJJ_DATABASE_URL": database_url,
        "ZJJ_DATA": str(tmp_path / "zjj"),
        "ZJJ_MASTER_KEYS": f"{KEYS.first}:{_text(KEYS.keys[KEYS.first])}",
        "ZJJ_PSEUDONYM_KEY": _text(PSEUDONYM_KEY),
        "ZJJ_LANG": "en",
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, typed: str | None = None) -> Any:
        done = CliRunner().invoke(app, arguments, input=typed)
        assert PHONE not in done.output
        return done

    return run


def _failed(engine: Engine, **columns: Any) -> str:
    fields = {"state": State.FAILED, "settled_at": utc_now(), "reason": "provider.sign_refused"}
    return store_job(engine, **{**fields, **columns})


def _ids(zjj: Zjj, *options: str, typed: str | None = None) -> list[str]:
    done = zjj("jobs", "list", "--json", *options, typed=typed)
    assert done.exit_code == 0, done.output
    return [job["id"] for job in json.loads(done.stdout)]


def test_jobs_are_listed_by_what_they_are_and_in_pages(zjj: Zjj, engine: Engine) -> None:
    failed = [_failed(engine) for _ in range(3)]
    waiting = store_job(engine)
    newest_first = [waiting, *reversed(failed)]
    assert _ids(zjj) == newest_first
    assert _ids(zjj, "--state", "failed") == newest_first[1:]
    assert _ids(zjj, "--code", "provider.sign_refused", "--kind", "sms_code") == newest_first[1:]
    assert _ids(zjj, "--backend", "nobody") == []
    assert _ids(zjj, "--recipient", "aliyun_sms") == [], "nothing was disclosed yet"
    assert _ids(zjj, "--since", "1h", "--queue", "urgent") == newest_first
    assert _ids(zjj, "--until", "1h") == []
    assert _ids(zjj, "--limit", "2") == newest_first[:2]
    assert _ids(zjj, "--limit", "2", "--before", newest_first[1]) == newest_first[2:]


def test_a_typed_phone_finds_its_jobs_and_shows_nowhere(zjj: Zjj, engine: Engine) -> None:
    job_id = store_job(engine)
    assert _ids(zjj, "--phone", "-", typed=f"{PHONE}\n") == [job_id]
    assert _ids(zjj, "--phone", "-", typed="16400009999\n") == []

    shown = zjj("jobs", "list", "--phone", PHONE)
    assert isinstance(shown.exception, InvalidValue)
    assert PHONE not in str(shown.exception) + shown.output


def test_a_table_names_the_next_page(zjj: Zjj, engine: Engine) -> None:
    job_id = _failed(engine)
    done = zjj("jobs", "list", "--limit", "1")
    assert job_id in done.stdout
    assert f"--before {job_id}" in done.stdout


def test_a_bad_time_is_named_and_not_repeated(zjj: Zjj) -> None:
    done = zjj("jobs", "list", "--since", "yesterday-ish")
    assert isinstance(done.exception, InvalidValue)
    assert "yesterday-ish" not in str(done.exception)


def test_a_dry_run_then_a_replay_then_its_timeline(zjj: Zjj, engine: Engine) -> None:
    job_id = _failed(engine)
    _failed(engine, state=State.UNKNOWN)
    done = zjj("jobs", "replay", "--all", "--dry-run", "--json")
    assert done.exit_code == 0
    plan = json.loads(done.stdout)
    assert (plan["replayable"], plan["refused"]) == (1, {"outcome.unknown": 1})
    assert read_job(engine, job_id).state == State.FAILED
    assert "user.contact.phone_number" in zjj("jobs", "replay", "--all", "--dry-run").stdout

    done = zjj("jobs", "replay", "--state", "failed", "--reason", "sign approved", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["replayed"], said["refused"]) == (1, {})
    again = zjj("jobs", "replay", "--resume", said["replay"], "--json")
    assert json.loads(again.stdout) == said
    shown = zjj("jobs", "show", job_id).stdout
    assert "job.replay" in shown
    assert "sign approved" in shown


def test_a_refused_replay_exits_with_1_and_says_why(zjj: Zjj, engine: Engine) -> None:
    job_id = _failed(engine, sealed=None)
    done = zjj("jobs", "replay", job_id, "--reason", "try")
    assert done.exit_code == 1
    assert f"1 refused: payload.erased\n  {job_id}\n" in done.stdout
    said = json.loads(zjj("jobs", "replay", job_id, "--reason", "again", "--json").stdout)
    assert said["refusals"] == [{"job_id": job_id, "reason": "payload.erased"}]


def test_of_many_refused_jobs_a_dry_run_names_the_first_and_counts_the_rest(
    zjj: Zjj, engine: Engine
) -> None:
    ids = [_failed(engine, sealed=None) for _ in range(12)]
    shown = zjj("jobs", "replay", "--all", "--dry-run").stdout
    assert [job_id for job_id in ids if job_id in shown] == ids[:10]
    assert "and 2 more" in shown
    plan = json.loads(zjj("jobs", "replay", "--all", "--dry-run", "--json").stdout)
    assert [each["job_id"] for each in plan["refusals"]] == ids


@pytest.mark.parametrize("beside", ["--dry-run", "--all", "--even-if-sent", "--kind=sms_code"])
def test_going_on_with_a_replay_chooses_nothing_anew(zjj: Zjj, engine: Engine, beside: str) -> None:
    job_id = _failed(engine)
    batch = json.loads(zjj("jobs", "replay", job_id, "--reason", "r", "--json").stdout)["replay"]
    done = zjj("jobs", "replay", "--resume", batch, beside)
    assert isinstance(done.exception, InvalidValue)


def test_a_replay_that_nobody_began_is_not_gone_on_with(zjj: Zjj) -> None:
    done = zjj("jobs", "replay", "--resume", new_id())
    assert isinstance(done.exception, NotFound)
    assert "Interrupted" not in done.output


def test_an_interrupted_replay_says_how_to_go_on_and_does(
    zjj: Zjj, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        _failed(engine)
    calls = iter((True, False))

    def interrupted(*arguments: Any, **named: Any) -> bool:
        if next(calls):
            return put_back(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.replays.put_back", interrupted)
    stopped = zjj("jobs", "replay", "--all", "--reason", "outage")
    assert stopped.exit_code == 130
    (go_on,) = re.findall(r"zjj (jobs replay --resume [0-9a-f]{32})", stopped.output)
    monkeypatch.setattr("workers.replays.put_back", put_back)
    done = json.loads(zjj(*go_on.split(), "--json").stdout)
    assert (done["replayed"], done["refused"]) == (3, {})


@pytest.mark.parametrize(
    "arguments", [("replay", "--reason", "r"), ("replay", "--all"), ("cancel", "--all")]
)
def test_without_a_choice_or_a_reason_nothing_is_done(
    zjj: Zjj, engine: Engine, arguments: tuple[str, ...]
) -> None:
    _failed(engine)
    store_job(engine)
    assert isinstance(zjj("jobs", *arguments).exception, InvalidValue)
    with engine.connect() as connection:
        assert connection.execute(audits.select()).first() is None


def test_cancelling_tells_whom_it_cancelled(zjj: Zjj, engine: Engine) -> None:
    waiting, failed = store_job(engine), _failed(engine)
    done = zjj("jobs", "cancel", waiting, failed, "--reason", "mistake", "--json")
    assert done.exit_code == 1, "one of those named was no longer waiting"
    assert json.loads(done.stdout) == {"cancelled": [waiting], "left": {failed: "failed"}}
    assert read_job(engine, waiting).state == State.CANCELLED
    shown = zjj("jobs", "cancel", waiting, new_id(), "--reason", "mistake").stdout
    assert f"{waiting} is left: cancelled" in shown
    assert "is left: there is no such job" in shown


def test_a_job_is_one_line_on_the_narrowest_terminal(
    zjj: Zjj, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    job_id = store_job(engine)
    (line,) = [line for line in zjj("jobs", "list").stdout.splitlines() if job_id in line]
    assert line.split()[2:] == ["queued", "sms_code", "test"]
    assert "No job matches." in zjj("jobs", "list", "--state", "failed").stdout


def test_a_job_shows_what_it_still_holds_masked_and_never_its_values(
    zjj: Zjj, engine: Engine
) -> None:
    job_id = store_job(engine)
    shown = zjj("jobs", "show", job_id).stdout
    assert "phone 164****1234, code ******" in shown
    assert json.loads(zjj("jobs", "show", job_id, "--json").stdout)["masks"] == {
        "phone": "164****1234",
        "code": "******",
    }
    zjj("jobs", "cancel", job_id, "--reason", "mistake")
    assert "164****1234" not in zjj("jobs", "show", job_id).stdout


def test_queues_and_recipients_are_paused_and_resumed_with_a_reason(
    zjj: Zjj, engine: Engine
) -> None:
    store_job(engine)
    assert zjj("queues", "pause", "urgent", "--reason", "campaign").exit_code == 0
    assert zjj("queues", "pause", "aliyun_sms", "--reason", "account").exit_code == 0
    listed = json.loads(zjj("queues", "list", "--json").stdout)
    urgent = listed["queues"][0]
    assert (urgent["queue"], urgent["jobs"]) == ("urgent", {"queued": 1})
    assert urgent["paused"]["reason"] == "campaign"
    assert listed["recipients"][0]["recipient"] == "aliyun_sms"
    shown = zjj("queues", "list").stdout
    assert "paused: campaign (by cli:" in shown
    assert "aliyun_sms: paused: account (by cli:" in shown
    assert "stays as it was" in zjj("queues", "pause", "urgent", "--reason", "again").stdout
    assert zjj("queues", "resume", "urgent", "--reason", "over").exit_code == 0
    with engine.connect() as connection:
        actions = [audit.action for audit in audits_of(connection, "urgent")]
    assert actions == ["queue.pause", "queue.resume"]
    assert isinstance(zjj("queues", "resume", "urgent", "--reason", "over").exception, NotFound)


def test_queues_tell_who_serves_them_since_when_the_oldest_job_waits_and_what_is_unknown(
    zjj: Zjj, engine: Engine
) -> None:
    now = utc_now()
    since = now - dt.timedelta(seconds=90)
    oldest = store_job(engine)
    store_job(engine)
    store_job(engine, state=State.UNKNOWN, settled_at=now)
    with writing(engine) as connection:
        connection.execute(jobs.update().where(jobs.c.id == oldest).values(run_at=since))
        for number, seen in enumerate([now, now - dt.timedelta(minutes=5)]):
            worker = Worker(
                id=new_id(), host="h", pid=number, queues=("urgent", "bulk"), started_at=seen
            )
            beat(connection, worker, now=seen)
    urgent, standard, bulk = json.loads(zjj("queues", "list", "--json").stdout)["queues"]
    assert (urgent["workers"], standard["workers"], bulk["workers"]) == (1, 0, 1)
    assert (urgent["unknown"], standard["unknown"]) == (1, 0)
    assert dt.datetime.fromisoformat(urgent["oldest"]) == since
    assert "1 unknown" in zjj("queues", "list").stdout


def test_an_alarm_stands_beside_the_queues(zjj: Zjj, engine: Engine) -> None:
    now = utc_now()
    with writing(engine) as connection:
        connection.execute(
            alarms.insert().values(
                scope="backend:shop",
                since=now,
                until=now + dt.timedelta(minutes=15),
                refused=220,
                announced=True,
            )
        )
    (alarm,) = json.loads(zjj("queues", "list", "--json").stdout)["alarms"]
    assert (alarm["scope"], alarm["refused"]) == ("backend:shop", 220)
    assert "alarm: backend:shop" in zjj("queues", "list").stdout


def test_an_unknown_queue_is_refused(zjj: Zjj) -> None:
    done = zjj("queues", "pause", "express", "--reason", "r")
    assert isinstance(done.exception, NotFound)


def test_a_paused_queue_keeps_its_jobs(zjj: Zjj, engine: Engine) -> None:
    job_id = store_job(engine)
    zjj("queues", "pause", "urgent", "--reason", "campaign")
    with writing(engine) as connection:
        request = ClaimRequest(job_id=job_id, worker_id="a" * 32, at=utc_now())
        assert write_claims(Transaction(connection), [request]) == [None]
    assert read_job(engine, job_id).state == State.QUEUED
    zjj("queues", "resume", "urgent", "--reason", "over")
    assert read_job(engine, job_id).dispatched_at is None, "its message was spent"
    with writing(engine) as connection:
        assert write_claims(Transaction(connection), [request]) != [None]
