"""``zjj webhooks``: an address among those allowed, a secret that is shown once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from models.audits import audits_of
from models.errors import InvalidValue, NotFound
from models.states import State
from tests.workers.rows import read_job
from workers.cli.app import app

Zjj = Callable[..., Any]

URL = "https://shop.example.com/zjj-webhooks"
WHY = ("--reason", "the shop wants to know")


@pytest.fixture
def zjj(
    database_url: str,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    redis_url: str,
) -> Zjj:
    for name, value in {
        "ZJJ_DATABASE_URL": database_url,
        "ZJJ_REDIS_URL": redis_url,
        "ZJJ_DATA": str(tmp_path / "zjj"),
        "ZJJ_WEBHOOK_HOSTS": "shop.example.com, hooks.example.com:8443",
        "ZJJ_LANG": "en",
        "COLUMNS": "250",
    }.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, ["webhooks", *arguments])


def _add(zjj: Zjj, *more: str) -> dict[str, str]:
    done = zjj("add", "--backend", "shop", "--url", URL, "--json", *WHY, *more)
    shown: dict[str, str] = json.loads(done.stdout)
    return shown


def _listed(zjj: Zjj) -> list[dict[str, Any]]:
    endpoints: list[dict[str, Any]] = json.loads(zjj("list", "--json").stdout)
    return endpoints


def test_the_secret_is_shown_once(zjj: Zjj) -> None:
    made = _add(zjj, "--event", "payment.*", "--event", "job.settled")
    assert made["secret"].startswith("whsec_")
    (endpoint,) = _listed(zjj)
    assert (endpoint["id"], endpoint["key_id"]) == (made["id"], made["key_id"])
    assert (endpoint["backend"], endpoint["url"]) == ("shop", URL)
    assert endpoint["events"] == ["payment.*", "job.settled"]
    assert made["secret"][6:] not in zjj("list").stdout + zjj("list", "--json").stdout


@pytest.mark.parametrize(
    "url",
    ["https://evil.example.com/", "http://shop.example.com/", f"{URL}?a=1", "https://10.0.0.1/"],
)
def test_an_address_beyond_the_allowed_hosts_is_refused(zjj: Zjj, url: str) -> None:
    refused = zjj("add", "--backend", "shop", "--url", url, *WHY)
    assert isinstance(refused.exception, InvalidValue)
    assert _listed(zjj) == []


@pytest.mark.parametrize(
    "more",
    [("--event", "payment"), ("--event", "payment.*x"), ("--backend", "a b"), ("--reason", "")],
)
def test_what_makes_no_sense_is_refused(zjj: Zjj, more: tuple[str, str]) -> None:
    refused = zjj("add", "--backend", "shop", "--url", URL, *WHY, *more)
    assert isinstance(refused.exception, InvalidValue)
    assert _listed(zjj) == []


def test_rotating_shows_a_new_secret_and_keeps_the_old_one_signing(zjj: Zjj) -> None:
    made = _add(zjj)
    rotated = json.loads(zjj("rotate", made["id"], "--hours", "48", "--json", *WHY).stdout)
    assert rotated["secret"] != made["secret"]
    (endpoint,) = _listed(zjj)
    assert endpoint["key_id"] == rotated["key_id"]
    assert endpoint["previous_key_id"] == made["key_id"]
    assert "rotating until" in zjj("list").stdout
    assert isinstance(zjj("rotate", "0" * 32, *WHY).exception, NotFound)


def test_disabling_and_enabling_leave_their_reasons(zjj: Zjj, engine: Engine) -> None:
    made = _add(zjj)
    assert zjj("disable", made["id"], *WHY).exit_code == 0
    assert "disabled: operator" in zjj("list").stdout
    assert isinstance(zjj("disable", made["id"], *WHY).exception, NotFound)
    assert isinstance(zjj("test", made["id"]).exception, NotFound)
    assert zjj("enable", made["id"], *WHY).exit_code == 0
    assert isinstance(zjj("enable", made["id"], *WHY).exception, NotFound)
    with engine.connect() as connection:
        actions = [audit.action for audit in audits_of(connection, made["id"])]
    assert actions == ["webhook.add", "webhook.disable", "webhook.enable"]


def test_what_may_no_longer_be_sent_to_stays_disabled(
    zjj: Zjj, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _add(zjj)
    zjj("disable", made["id"], *WHY)
    monkeypatch.setenv("ZJJ_WEBHOOK_HOSTS", "another.example.com")
    assert isinstance(zjj("enable", made["id"], *WHY).exception, InvalidValue)
    assert _listed(zjj)[0]["disabled_at"] is not None


def test_a_test_is_a_webhook_like_any_other(zjj: Zjj, engine: Engine) -> None:
    made = _add(zjj, "--event", "payment.*")
    job = read_job(engine, zjj("test", made["id"]).stdout.strip())
    assert (job.kind, job.backend, job.state) == ("webhook", "shop", State.QUEUED)


def test_a_person_reads_what_was_made(zjj: Zjj) -> None:
    said = zjj("add", "--backend", "shop", "--url", URL, *WHY).stdout
    assert all(word in said for word in ("endpoint", "key id", "whsec_"))
