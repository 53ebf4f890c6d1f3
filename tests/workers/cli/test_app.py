"""``zjj`` itself: help in the user's language, and errors that say what to do next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.cli.app import main


def test_a_database_without_tables_ends_with_the_command_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZJJ_DATA", str(tmp_path))
    monkeypatch.setenv("ZJJ_LANG", "en")
    monkeypatch.setattr(sys, "argv", ["zjj", "keys", "list"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 4
    assert "zjj db migrate" in said
    assert "SELECT" not in said


def test_an_unknown_kind_of_job_lists_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZJJ_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["zjj", "jobs", "enqueue", "sms", "phone=16400001234"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "identity_check" in capsys.readouterr().err


def test_every_command_is_described_in_chinese() -> None:
    listing = (
        "from typer.main import get_command; from workers.cli.app import app\n"
        "def walk(command):\n"
        "    print(command.name, (command.help or '').splitlines()[:1])\n"
        "    [walk(each) for each in getattr(command, 'commands', {}).values()]\n"
        "walk(get_command(app))"
    )
    done = subprocess.run(
        [sys.executable, "-c", listing],
        env={"PATH": os.environ["PATH"], "ZJJ_LANG": "zh", "PYTHONUTF8": "1"},
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        check=True,
    )
    lines = done.stdout.decode().splitlines()
    assert len(lines) > 30
    assert [line for line in lines if line.isascii()] == []
