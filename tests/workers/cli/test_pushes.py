"""``zjj pushes``: what notices say."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from workers.cli.app import app


def test_notices_show_what_stands_on_a_locked_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["pushes", "notices"])
    assert shown.exit_code == 0
    assert "您的退款有新的进展,请打开应用查看。" in shown.output
    found = json.loads(CliRunner().invoke(app, ["pushes", "notices", "--json"]).output)
    assert found["service_reply"] == "客服回复了您,请打开应用查看。"
