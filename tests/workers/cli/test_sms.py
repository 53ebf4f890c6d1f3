"""``zjj sms``: figures of texts, and what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from models.clock import utc_now
from models.database import writing
from models.deliveries import NewDelivery, Report, write_deliveries, write_reports
from models.group_commit import Transaction
from workers.cli.app import app

Zjj = Callable[..., Any]


@pytest.fixture
def zjj(database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Zjj:
    monkeypatch.setenv("ZJJ_DATABASE_URL", database_url)
    monkeypatch.setenv("ZJJ_DATA", str(tmp_path / "zjj"))
    monkeypatch.setenv("COLUMNS", "200")
    now = utc_now()
    text = NewDelivery(
        reference="a" * 32,
        job_id="a" * 32,
        backend="shop",
        road="aliyun_sms",
        scene="login",
        subject="s" * 64,
        biz_id="7^0",
        accepted_at=now,
        sealed=None,
        bucket=None,
        ask_at=None,
    )
    report = Report(
        reference=text.reference,
        subject=text.subject,
        biz_id=text.biz_id,
        delivered=False,
        reason="phone.off",
        provider_code="IS_CLOSE",
        seconds=None,
        source="receipt",
        at=now,
    )
    with writing(engine) as connection:
        write_deliveries(Transaction(connection), [text])
        write_reports(Transaction(connection), [report])

    def run(*arguments: str, language: str = "en") -> Any:
        monkeypatch.setenv("ZJJ_LANG", language)
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_deliveries_show_rates_and_reasons(zjj: Zjj) -> None:
    assert json.loads(zjj("sms", "deliveries", "--json")) == [
        {
            "road": "aliyun_sms",
            "scene": "login",
            "accepted": 1,
            "delivered": 0,
            "undelivered": 1,
            "unreported": 0,
            "rate": 0.0,
            "median_seconds": None,
            "p95_seconds": None,
            "reasons": {"phone.off": 1},
        }
    ]
    shown = zjj("sms", "deliveries")
    assert "Undelivered" in shown
    assert "phone.off 1" in shown
    assert "未送达" in zjj("sms", "deliveries", language="zh")


def test_wordings_show_what_people_read(zjj: Zjj) -> None:
    found = json.loads(zjj("sms", "wordings", "--json"))
    assert found["aliyun_sms"]["login"]["variables"] == ["code"]
    assert "用于登录" in zjj("sms", "wordings")
