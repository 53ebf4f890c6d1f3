"""`make` says what it can do and, where it cannot, why."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(*arguments: str, cwd: Path = ROOT, path: str | None = None) -> tuple[int, str]:
    program = shutil.which("make")
    assert program, "make is not on PATH"
    run = subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env={"PATH": path or os.environ["PATH"]},  # not the variables of a make above us
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


def test_make_alone_lists_every_target() -> None:
    status, text = make()
    assert status == 0
    targets = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"run", "demo", "test", "bench", "docs", "clean"} <= set(targets)
    for target in targets:
        assert re.search(rf"^  {target} +\S", text, re.MULTILINE), target


def test_an_unknown_target_is_told_about_help() -> None:
    status, text = make("no-such-thing")
    assert status == 2
    assert "There is no target 'no-such-thing'; 'make help' lists them." in text


def test_a_machine_without_python_is_told_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    status, text = make("run", cwd=tmp_path, path=str(tools))
    assert status == 2
    assert "No Python 3.11 or newer is on PATH." in text
    assert not (tmp_path / ".venv").exists()


def test_the_variables_of_a_demo_reach_the_command(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements").mkdir()
    for name in ("requirements/build.txt", "requirements/run.txt", "requirements/dev.txt"):
        (tmp_path / name).touch()
    (tmp_path / "pyproject.toml").touch()
    command = tmp_path / ".venv" / "bin" / "zjj"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\necho "$@ $PHONE $ZJJ_DATA"\n')
    command.chmod(0o755)
    for stamp in (".base", ".run"):
        (tmp_path / ".venv" / stamp).touch()
    assert make("demo", "PHONE=16400001234", "ZJJ_DATA=elsewhere", cwd=tmp_path) == (
        0,
        "run --demo 16400001234 elsewhere\n",
    )
