"""Searching, replaying, cancelling and pausing over HTTP: a backend reaches its own jobs only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from models.api_keys import Scope, create_api_key
from models.audits import audits_of
from models.clock import utc_now
from models.database import writing
from models.identifiers import new_id
from models.job_search import JobFilter
from models.states import State
from models.tables import audits, jobs
from tasks import SmsCode
from tests.workers.gateway.serving import Gateway, serve_gateway
from tests.workers.rows import a_code, read_job
from workers.maintenance import Replayer

PHONE = "16400001234"
"""That of tests.workers.rows."""
REASON = {"reason": "the template was wrong"}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Gateway]:
    """For tests that count all there is."""
    with serve_gateway(f"sqlite:///{tmp_path / 'zjj.db'}") as gateway:
        yield gateway


def stored(gateway: Gateway, backend: str = "shop", **columns: Any) -> str:
    """A job of a backend, some of its columns changed; returns its id."""
    payload: SmsCode = a_code()
    job = gateway.service.enqueue(payload, backend=backend)
    if columns:
        with writing(gateway.engine) as connection:
            connection.execute(jobs.update().where(jobs.c.id == job.id).values(**columns))
    return job.id


def failed(gateway: Gateway, backend: str = "shop", **columns: Any) -> str:
    """A job that failed."""
    fields: dict[str, Any] = {"state": State.FAILED, "settled_at": utc_now(), "fence": 1}
    return stored(gateway, backend, **{**fields, **columns})


def key() -> dict[str, str]:
    return {"Idempotency-Key": new_id()}


def ids(reply: httpx.Response) -> list[str]:
    assert reply.status_code == 200, reply.text
    assert PHONE not in reply.text
    return [job["id"] for job in reply.json()["jobs"]]


def everything_audited(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(connection.execute(audits.select()).all())


# Finding.


def test_a_backend_finds_its_own_jobs_by_what_they_are(fresh: Gateway) -> None:
    waiting = stored(fresh)
    gone = failed(fresh, reason="provider.sign_refused", provider_code="isv.SIGN_ILLEGAL")
    stored(fresh, "forum")
    hour_ago = (utc_now() - dt.timedelta(hours=1)).isoformat()
    with fresh.http() as http:

        def find(**query: Any) -> list[str]:
            return ids(http.get("/v1/jobs", params=query))

        assert find() == [gone, waiting]
        assert find(kind="sms_code") == [gone, waiting]
        assert find(kind="refund") == []
        assert find(state=["failed", "unknown"]) == [gone]
        assert find(code="provider.sign_refused") == [gone]
        assert find(code="isv.SIGN_ILLEGAL") == [gone]
        assert find(recipient="aliyun_sms") == [], "nothing was disclosed yet"
        assert find(since=hour_ago) == [gone, waiting]
        assert find(until=hour_ago) == []
        assert ids(http.post("/v1/jobs/search", json={"since": hour_ago})) == [gone, waiting]


def test_pages_follow_one_another(fresh: Gateway) -> None:
    stored_ids = [stored(fresh) for _ in range(5)]
    with fresh.http() as http:
        first = http.get("/v1/jobs", params={"limit": 3})
        second = http.get("/v1/jobs", params={"limit": 3, "before": first.json()["next"]})
    assert ids(first) + ids(second) == stored_ids[::-1]
    assert second.json()["next"] is None


def test_a_phone_is_searched_for_in_a_body(fresh: Gateway) -> None:
    mine = stored(fresh)
    stored(fresh, "forum")
    with fresh.http() as http:
        assert ids(http.post("/v1/jobs/search", json={"phone": f"+86 {PHONE}"})) == [mine]
        assert ids(http.post("/v1/jobs/search", json={"phone": "16400009999"})) == []


@pytest.mark.parametrize("query", [{"phone": PHONE}, {"code": PHONE}, {PHONE: "1"}])
def test_a_phone_in_a_url_is_refused_and_not_repeated(
    gateway: Gateway, query: dict[str, str]
) -> None:
    with gateway.http() as http:
        reply = http.get("/v1/jobs", params=query)
    assert reply.status_code == 422
    assert PHONE not in reply.text


@pytest.mark.parametrize("moment", ["0", "1700000000", "yesterday", "2026-01-01T00:00:00"])
def test_a_time_is_written_out_with_its_zone(gateway: Gateway, moment: str) -> None:
    with gateway.http() as http:
        for sent in (moment, 0):
            reply = http.post("/v1/jobs/search", json={"since": sent})
            assert reply.status_code == 422
        assert http.get("/v1/jobs", params={"since": moment}).status_code == 422


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_the_edges_of_the_calendar_are_times_too(gateway: Gateway, moment: str) -> None:
    with gateway.http() as http:
        assert http.get("/v1/jobs", params={"since": moment}).status_code == 200


@pytest.mark.parametrize(("limit", "status"), [(1.0, 200), (1.5, 422), ("1", 422), (True, 422)])
def test_a_limit_is_a_whole_number_however_json_writes_it(
    gateway: Gateway, limit: object, status: int
) -> None:
    with gateway.http() as http:
        assert http.post("/v1/jobs/search", json={"limit": limit}).status_code == status


# The timeline.


def test_the_timeline_tells_who_intervened_but_not_by_name(gateway: Gateway) -> None:
    job_id = failed(gateway)
    with gateway.http() as http:
        http.post(f"/v1/jobs/{job_id}/replay", json=REASON, headers=key())
        gateway.desk.cancel(JobFilter(ids=(job_id,)), actor="cli:alice", reason="mistake")
        reply = http.get(f"/v1/jobs/{job_id}/timeline")
    told = [(m["event"], m["by"], m["reason"]) for m in reply.json()["timeline"]]
    assert told == [
        ("enqueued", None, None),
        ("job.replay", "backend", REASON["reason"]),
        ("job.cancel", "operator", "mistake"),
    ]
    assert "alice" not in reply.text
    assert reply.json()["state"] == "cancelled"


# Replaying one.


def test_a_job_is_replayed_once_for_each_key(fresh: Gateway) -> None:
    job_id, header = failed(fresh), key()
    with fresh.http() as http:
        first = http.post(f"/v1/jobs/{job_id}/replay", json=REASON, headers=header)
        assert (first.status_code, first.json()["replayed"]) == (200, 1)
        assert read_job(fresh.engine, job_id).state == State.QUEUED
        with writing(fresh.engine) as connection:
            connection.execute(jobs.update().values(state=State.FAILED, fence=2))
        again = http.post(f"/v1/jobs/{job_id}/replay", json=REASON, headers=header)
        assert again.json() == first.json()
        assert read_job(fresh.engine, job_id).state == State.FAILED
        other = http.post(f"/v1/jobs/{job_id}/replay", json={"reason": "else"}, headers=header)
        assert (other.status_code, other.json()["type"][-20:]) == (409, "idempotency-conflict")
    with fresh.engine.connect() as connection:
        (audit,) = audits_of(connection, job_id)
    assert (audit.actor, audit.reason) == ("api:shop", REASON["reason"])


@pytest.mark.parametrize(
    ("columns", "refusal"),
    [
        ({"state": State.CANCELLED, "sealed": None}, "state.cancelled"),
        ({"state": State.EXPIRED, "sealed": None}, "expired"),
        ({"expires_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, "expired"),
        ({"sealed": None}, "payload.erased"),
        ({"state": State.UNKNOWN}, "outcome.unknown"),
        ({"state": State.SUCCEEDED}, "state.succeeded"),
        ({"state": State.RUNNING}, "state.running"),
        ({"sealed": b"\x01" + b"x" * 60}, "seal.broken"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_replayed_is_refused_by_name(
    gateway: Gateway, columns: dict[str, Any], refusal: str
) -> None:
    job_id = failed(gateway, **columns)
    with gateway.http() as http:
        plan = http.post("/v1/replays", json={**REASON, "ids": [job_id]}, headers=key())
        reply = http.post(f"/v1/jobs/{job_id}/replay", json=REASON, headers=key())
    assert plan.json()["refused"] == {refusal: 1}
    assert (reply.json()["replayed"], reply.json()["refused"]) == (0, {refusal: 1})
    for answer in (plan, reply):
        assert answer.json()["refusals"] == [{"job_id": job_id, "reason": refusal}]


def test_an_unknown_outcome_is_repeated_if_the_backend_accepts_a_second_message(
    gateway: Gateway,
) -> None:
    job_id = failed(gateway, state=State.UNKNOWN)
    wanted = {**REASON, "even_if_sent": True}
    with gateway.http() as http:
        reply = http.post(f"/v1/jobs/{job_id}/replay", json=wanted, headers=key())
    assert reply.json()["replayed"] == 1


# Replaying many.


def test_a_replay_is_a_dry_run_unless_said_otherwise(fresh: Gateway) -> None:
    job_id = failed(fresh)
    failed(fresh, "forum")
    with fresh.http() as http:
        reply = http.post("/v1/replays", json=REASON, headers=key())
    assert reply.status_code == 200
    plan = reply.json()
    assert (plan["replayable"], plan["refused"]) == (1, {})
    (leaving,) = plan["leaving"]
    assert (leaving["recipient"], leaving["jobs"]) == ("aliyun_sms", 1)
    assert "user.contact.phone_number" in leaving["categories"]
    assert read_job(fresh.engine, job_id).state == State.FAILED
    assert everything_audited(fresh.engine) == 0


def test_workers_carry_a_batch_out_and_its_second_run_replays_nothing(fresh: Gateway) -> None:
    mine = [failed(fresh) for _ in range(12)]
    theirs = failed(fresh, "forum")
    wanted, header = {**REASON, "dry_run": False, "state": ["failed"]}, key()
    replayer = Replayer(fresh.engine, fresh.desk.replays)
    with fresh.http() as http:
        accepted = http.post("/v1/replays", json=wanted, headers=header)
        assert (accepted.status_code, accepted.json()["pending"]) == (202, 12)
        replayer.round()
        halfway = http.get(accepted.headers["Location"]).json()
        assert (halfway["replayed"], halfway["pending"]) == (10, 2)
        assert [replayer.round(), replayer.round()] == [2, 0]
        with writing(fresh.engine) as connection:
            connection.execute(jobs.update().values(state=State.FAILED, fence=2))
        repeated = http.post("/v1/replays", json=wanted, headers=header).json()
        assert (repeated["id"], repeated["replayed"]) == (accepted.json()["id"], 12)
        assert replayer.round() == 0
    assert {read_job(fresh.engine, job_id).attempts for job_id in mine} == {0}
    with fresh.engine.connect() as connection:
        assert [len(audits_of(connection, job_id)) for job_id in mine] == [1] * 12
        assert audits_of(connection, theirs) == ()


# Cancelling.


def test_a_waiting_job_is_cancelled_and_cancelled_again(fresh: Gateway) -> None:
    job_id = stored(fresh)
    with fresh.http() as http:
        for _ in range(2):
            reply = http.post(f"/v1/jobs/{job_id}/cancel", json=REASON)
            assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")
    assert read_job(fresh.engine, job_id).sealed is None
    assert everything_audited(fresh.engine) == 1


def test_what_is_done_or_under_way_is_not_cancelled(gateway: Gateway) -> None:
    with gateway.http() as http:
        for state in (State.RUNNING, State.SUCCEEDED, State.FAILED):
            job_id = stored(gateway, state=state)
            reply = http.post(f"/v1/jobs/{job_id}/cancel", json=REASON)
            assert (reply.status_code, reply.json()["type"][-9:]) == (409, "job-state")
            assert state in reply.json()["detail"]


# Another's jobs, and keys that lack a scope.


def test_anothers_jobs_and_replays_do_not_exist(gateway: Gateway) -> None:
    job_id, waiting = failed(gateway), stored(gateway)
    with gateway.http() as http:
        batch = http.post(f"/v1/jobs/{job_id}/replay", json=REASON, headers=key()).json()["id"]
    with gateway.http(gateway.other_api_key) as other:
        replies = [
            other.get(f"/v1/jobs/{job_id}/timeline"),
            other.post(f"/v1/jobs/{job_id}/replay", json=REASON, headers=key()),
            other.post(f"/v1/jobs/{waiting}/cancel", json=REASON),
            other.get(f"/v1/replays/{batch}"),
        ]
        plan = other.post("/v1/replays", json={**REASON, "ids": [job_id]}, headers=key())
    assert {reply.status_code for reply in replies} == {404}
    assert len({reply.text for reply in replies}) == 1
    assert (plan.json()["replayable"], plan.json()["refused"]) == (0, {})
    assert read_job(gateway.engine, waiting).state == State.QUEUED


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/jobs", "read"),
        ("POST", "/v1/jobs/search", "read"),
        ("GET", f"/v1/jobs/{'0' * 32}/timeline", "read"),
        ("POST", f"/v1/jobs/{'0' * 32}/replay", "replay"),
        ("POST", "/v1/replays", "replay"),
        ("GET", f"/v1/replays/{'0' * 32}", "replay"),
        ("POST", f"/v1/jobs/{'0' * 32}/cancel", "cancel"),
        ("GET", "/v1/queues", "operate"),
        ("POST", "/v1/queues/urgent/pause", "operate"),
        ("POST", "/v1/queues/urgent/resume", "operate"),
    ],
)
def test_each_route_asks_for_its_scope_and_for_no_other(
    gateway: Gateway, method: str, path: str, scope: str
) -> None:
    with writing(gateway.engine) as connection:
        others = create_api_key(connection, "shop", scopes=set(Scope) - {Scope(scope)})
        alone = create_api_key(connection, "shop", scopes={Scope(scope)})
    with gateway.http(others) as http:
        reply = http.request(method, path)
        assert (reply.status_code, reply.json()["type"][-13:]) == (403, "missing-scope")
        assert f'scope="{scope}"' in reply.headers["WWW-Authenticate"]
    with gateway.http(alone) as http:
        assert http.request(method, path).status_code != 403


# Queues.


def test_an_operator_pauses_and_resumes_what_all_share(fresh: Gateway) -> None:
    stored(fresh, "forum")
    with fresh.http() as http:
        for name in ("urgent", "aliyun_sms"):
            for changed in (True, False):
                reply = http.post(f"/v1/queues/{name}/pause", json={"reason": "campaign"})
                assert reply.json() == {"name": name, "paused": True, "changed": changed}
        listed = http.get("/v1/queues").json()
        assert listed["queues"][0]["jobs"] == {"queued": 1}
        assert listed["queues"][0]["oldest"] is not None
        assert (listed["queues"][0]["unknown"], listed["queues"][0]["workers"]) == (0, 0)
        assert listed["queues"][0]["paused"]["actor"] == "api:shop"
        assert listed["recipients"][0]["recipient"] == "aliyun_sms"
        for changed in (True, False):
            reply = http.post("/v1/queues/urgent/resume", json={"reason": "over"})
            assert reply.json() == {"name": "urgent", "paused": False, "changed": changed}
        assert http.post("/v1/queues/express/pause", json=REASON).status_code == 404


@pytest.mark.parametrize(
    "reason", ["", "  ", "x" * 201, "because of 16400001234", "two\nlines", "\u0000"]
)
def test_a_reason_is_needed_everywhere_and_holds_nothing_personal(
    gateway: Gateway, reason: str
) -> None:
    job_id = failed(gateway)
    with gateway.http() as http:
        for path in (
            f"/v1/jobs/{job_id}/replay",
            f"/v1/jobs/{job_id}/cancel",
            "/v1/queues/urgent/pause",
            "/v1/queues/urgent/resume",
        ):
            reply = http.post(path, json={"reason": reason}, headers=key())
            assert reply.status_code == 422, path
            assert "16400001234" not in reply.text
    with gateway.engine.connect() as connection:
        assert audits_of(connection, job_id) == audits_of(connection, "urgent") == ()
