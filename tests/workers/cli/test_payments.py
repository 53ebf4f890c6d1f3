"""``zjj payments``: what does not fit is shown, and resolved by a person on record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from typer.testing import CliRunner

from models.audits import audits_of
from models.clock import utc_now
from models.database import writing
from models.errors import InvalidValue, NotFound
from models.payments.mismatches import Mismatch, MismatchReason, raise_mismatch
from models.tables import jobs
from workers.cli.app import app

Zjj = Callable[..., Any]

WHY = ("--reason", "the till was short; corrected by hand")


@pytest.fixture
def zjj(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Zjj:
    for name, value in {
        "ZJJ_DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "ZJJ_REDIS_URL": "redis://127.0.0.1:1/0",
        "ZJJ_DATA": str(tmp_path / "zjj"),
        "ZJJ_LANG": "en",
        "COLUMNS": "250",
    }.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, ["payments", *arguments])


@pytest.fixture
def _short(engine: Engine) -> None:
    mismatch = Mismatch(
        backend="shop",
        channel="alipay",
        merchant="2088000000000001",
        order_no="order-000001",
        reason=MismatchReason.WRONG_AMOUNT,
        expected=12900,
        received=100,
    )
    with writing(engine) as connection:
        assert raise_mismatch(connection, mismatch, at=utc_now())
        assert not raise_mismatch(connection, mismatch, at=utc_now())


def listed(zjj: Zjj, *more: str) -> list[dict[str, Any]]:
    done = zjj("mismatches", "--json", *more)
    assert done.exit_code == 0
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_nothing_waits_where_everything_fits(zjj: Zjj) -> None:
    assert listed(zjj) == []


@pytest.mark.usefixtures("_short")
def test_what_does_not_fit_is_shown_in_yuan_and_as_json_in_fen(zjj: Zjj) -> None:
    shown = zjj("mismatches").stdout
    for part in ("wrong_amount", "alipay", "order-000001", "129.00", "1.00"):
        assert part in shown
    (found,) = listed(zjj)
    assert (found["expected"], found["received"], found["resolved_at"]) == (12900, 100, None)


@pytest.mark.usefixtures("_short")
def test_what_a_person_resolved_waits_no_more_and_is_on_record(zjj: Zjj, engine: Engine) -> None:
    (found,) = listed(zjj)
    done = zjj("resolve", found["id"], "--json", *WHY)
    assert json.loads(done.stdout) == {"id": found["id"], "resolved": True}
    assert listed(zjj) == []
    (resolved,) = listed(zjj, "--resolved")
    assert (resolved["id"], resolved["resolution"]) == (found["id"], WHY[1])
    with engine.connect() as connection:
        (audit,) = audits_of(connection, found["id"])
        # Nobody is told "paid" by it, or anything else.
        assert connection.scalar(select(func.count()).select_from(jobs)) == 0
    assert (audit.action, audit.reason) == ("mismatch.resolve", WHY[1])
    assert audit.actor == resolved["resolved_by"]
    # It happened once, and again only if it does happen again.
    again = zjj("resolve", found["id"], *WHY)
    assert isinstance(again.exception, NotFound)


@pytest.mark.usefixtures("_short")
def test_a_reason_is_needed(zjj: Zjj) -> None:
    (found,) = listed(zjj)
    for reason in ((), ("--reason", "  ")):
        assert isinstance(zjj("resolve", found["id"], *reason).exception, InvalidValue)
    assert len(listed(zjj)) == 1


def test_one_that_nobody_knows_is_not_found(zjj: Zjj) -> None:
    assert isinstance(zjj("resolve", "0" * 32, *WHY).exception, NotFound)
