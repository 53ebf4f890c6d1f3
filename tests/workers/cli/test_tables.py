"""On the narrowest terminal that people use nothing is cut off."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from typer.testing import CliRunner

from integrations.policy import PACKAGED, load_policy
from workers.cli.app import app
from workers.cli.tables import make_table


def test_an_id_stays_in_one_line_and_no_text_loses_its_end() -> None:
    table = make_table("Id", "Reason", "Address", "Who")
    identity, reason = "0123456789abcdef0123456789abcdef", "provider.configuration_refused"
    table.add_row(identity, reason, f"https://shop.example.com/{'a' * 60}", "shop")
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert identity in shown
    assert "…" not in shown
    assert shown.count("a") >= 60


def test_the_policy_is_shown_to_its_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("ZJJ_LANG", "en")
    shown = CliRunner().invoke(app, ["privacy", "check"]).output
    policy = load_policy(PACKAGED)
    for recipient in policy.recipients.values():
        assert all(host in shown for host in recipient.hosts)
    squeezed = re.sub(r"\s+", "", shown)
    for operation in policy.operations.values():
        for field in operation.fields.values():
            assert re.sub(r"\s+", "", field.title) in squeezed
    assert "…" not in shown
