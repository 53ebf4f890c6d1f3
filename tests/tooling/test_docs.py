"""Generated pages say what the code says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_commands_is_current(tmp_path: Path) -> None:
    made = tmp_path / "cli.md"
    subprocess.run(
        ["make", "--old-file=.venv/.dev", "docs", f"CLI_PAGE={made}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
    )
    assert (ROOT / "docs" / "cli.md").read_text() == made.read_text(), "run `make docs`"
