from __future__ import annotations

from typing import Any

import httpx
import pytest

from integrations.policy import load_policy
from models.states import State
from models.tables import jobs
from tests.models.rows import all_rows
from tests.workers.gateway.serving import Gateway

PHONE = "16400001234"
CONSENT = {
    "ref": "agreed-1",
    "kind": "separate",
    "purpose": "verify_identity",
    "phone": PHONE,
    "user": "u-17",
    "granted_at": "2026-03-01T20:00:00+08:00",
}
KNOWN = {
    "ref": "agreed-1",
    "kind": "separate",
    "purpose": "verify_identity",
    "granted_at": "2026-03-01T12:00:00Z",
    "policy_version": load_policy().version,
    "withdrawn_at": None,
}


def test_a_consent_is_recorded_once_and_the_person_is_not_repeated(http: httpx.Client) -> None:
    replies = [http.post("/v1/consents", json=CONSENT) for _ in range(2)]

    assert [reply.status_code for reply in replies] == [200, 200]
    assert [reply.json() for reply in replies] == [KNOWN, KNOWN]


def test_its_ref_cannot_name_another_one(http: httpx.Client) -> None:
    first = CONSENT | {"ref": "agreed-2"}
    assert http.post("/v1/consents", json=first).status_code == 200
    reply = http.post("/v1/consents", json=first | {"kind": "consent"})

    assert reply.status_code == 409
    assert reply.json()["errors"][0]["field"] == "ref"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"ref": "has spaces"}, "ref"),
        ({"kind": "tacit"}, "kind"),
        ({"granted_at": "2026-03-01T20:00:00"}, "granted_at"),
        ({"policy_version": "today"}, "policy_version"),
        ({"phone": None, "user": None}, "needs phone, user or both"),
        ({"phone": "123"}, "phone"),
        ({"address": "somewhere"}, "address"),
    ],
)
def test_a_consent_that_cannot_be_names_the_field(
    http: httpx.Client, change: dict[str, Any], names: str
) -> None:
    reply = http.post("/v1/consents", json=CONSENT | change)

    assert reply.status_code == 422
    assert names in reply.text
    assert PHONE not in reply.text


def test_a_purpose_that_the_policy_does_not_have_cannot_be_agreed_to(http: httpx.Client) -> None:
    reply = http.post("/v1/consents", json=CONSENT | {"purpose": "marketing"})

    assert reply.status_code == 404
    assert reply.json()["errors"][0]["field"] == "purpose"


def test_a_consent_of_the_calendars_first_day_is_kept(http: httpx.Client) -> None:
    ancient = CONSENT | {"ref": "agreed-0", "granted_at": "0001-01-01T00:00:00+08:00"}

    assert http.post("/v1/consents", json=ancient).json()["granted_at"] == "0001-01-01T00:00:00Z"


def test_a_withdrawn_consent_covers_nothing_any_more(gateway: Gateway, http: httpx.Client) -> None:
    http.post("/v1/consents", json=CONSENT | {"ref": "agreed-3"})
    first, second = (http.post("/v1/consents/agreed-3/withdraw").json() for _ in range(2))

    assert first["withdrawn_at"] is not None
    assert (
        first
        == second
        == KNOWN
        | {
            "ref": "agreed-3",
            "withdrawn_at": first["withdrawn_at"],
            "cancelled": 0,
        }
    )
    with gateway.http(gateway.other_api_key) as other:
        assert other.post("/v1/consents/agreed-3/withdraw").status_code == 404


def test_a_restriction_stops_what_waits_and_is_lifted_by_its_id(
    gateway: Gateway, http: httpx.Client
) -> None:
    code = {"phone": "16400005678", "code": "246810", "scene": "login"}
    http.post("/v1/sms-codes", json=code, headers={"Idempotency-Key": "restricted"})
    person = {"phone": "+86 164 0000 5678", "reason": "objection"}
    first, second = (http.put("/v1/restrictions", json=person).json() for _ in range(2))

    assert (first["cancelled"], second["cancelled"]) == (1, 0)
    assert first["id"] == second["id"]
    (job,) = [row for row in all_rows(gateway.engine, jobs) if row.reason == "subject_restricted"]
    assert job.state == State.CANCELLED

    url = f"/v1/restrictions/{first['id']}"
    with gateway.http(gateway.other_api_key) as other:
        assert other.delete(url).status_code == 404
    lifted = http.delete(url)
    assert lifted.status_code == 200
    assert lifted.json()["lifted_at"] is not None
    assert http.put("/v1/restrictions", json=person).json()["id"] != first["id"]


@pytest.mark.parametrize(
    "person",
    [
        {"reason": "objection"},
        {"reason": "objection", "phone": PHONE, "user": "u-17"},
        {"reason": "because", "phone": PHONE},
        {"phone": PHONE},
    ],
)
def test_a_restriction_is_of_one_person_and_for_a_reason(
    http: httpx.Client, person: dict[str, str]
) -> None:
    reply = http.put("/v1/restrictions", json=person)

    assert reply.status_code == 422
    assert PHONE not in reply.text


def test_without_a_key_nothing_is_recorded(gateway: Gateway) -> None:
    with httpx.Client(base_url=gateway.url, trust_env=False) as stranger:
        assert stranger.post("/v1/consents", json=CONSENT).status_code == 401
        assert stranger.put("/v1/restrictions", json={}).status_code == 401
        assert stranger.delete(f"/v1/restrictions/{'0' * 32}").status_code == 401
