"""``zjj`` itself: help in the user's language, and errors that say what to do next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from workers.cli.app import app


def _zjj(
    folder: Path, *arguments: str, database: str | None = None
) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a command locks its process to what it may reach."""
    environment = {"PATH": os.environ["PATH"], "ZJJ_DATA": str(folder), "ZJJ_LANG": "en"}
    return subprocess.run(
        [sys.executable, "-m", "workers.cli", *arguments],
        env=environment | ({"ZJJ_DATABASE_URL": database} if database else {}),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_database_without_tables_ends_with_the_command_that_makes_them(tmp_path: Path) -> None:
    done = _zjj(tmp_path, "keys", "list")
    assert done.returncode == 4
    assert "zjj db migrate" in done.stderr
    assert str(tmp_path / "zjj.db") in done.stderr
    assert "SELECT" not in done.stderr


def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://zjj:hunter2@127.0.0.1:1/shop"
    done = _zjj(tmp_path, "jobs", "list", database=url)
    assert done.returncode == 4
    assert "zjj:***@127.0.0.1:1/shop" in done.stderr
    assert "hunter2" not in done.stderr


def test_an_unknown_kind_of_job_lists_the_known_ones(tmp_path: Path) -> None:
    done = _zjj(tmp_path, "jobs", "enqueue", "sms", "phone=16400001234")
    assert done.returncode == 2
    assert "identity_check" in done.stderr


def test_with_json_an_error_is_one_object_with_its_exit_code(tmp_path: Path) -> None:
    done = _zjj(tmp_path, "jobs", "list", "--json")
    assert done.stdout == ""
    error = json.loads(done.stderr)
    assert (error["error"], error["exit_code"]) == ("database.unavailable", 4)
    assert done.returncode == 4


_SPEAKS_NO_JSON = {
    *("run", "gateway", "worker", "sandbox"),  # they serve
    "privacy recipients",  # it writes documents
}


def test_every_command_that_answers_speaks_json() -> None:
    def silent(command: Any, path: str) -> Iterator[str]:
        for name, each in getattr(command, "commands", {}).items():
            yield from silent(each, f"{path} {name}".strip())
        options = {option for parameter in command.params for option in parameter.opts}
        if not hasattr(command, "commands") and "--json" not in options:
            yield path

    assert set(silent(get_command(app), "")) == _SPEAKS_NO_JSON


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
