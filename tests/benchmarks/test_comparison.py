"""The comparison runs, whoever takes part; how fast it was is nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.systems import SYSTEMS

ROOT = Path(__file__).parent.parent.parent


def _bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.bench
@pytest.mark.timeout(300)
def test_every_system_takes_part_and_is_shown(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = _bench("--quick", "--jobs", "300", "--json", str(figures))
    assert done.returncode == 0, done.stderr
    throughput, _, latency = done.stdout.partition("One job at a time")
    for system in SYSTEMS.values():
        assert system.title in throughput
        assert system.title in latency
    measured = json.loads(figures.read_text())["measurements"]
    assert [m["system"] for m in measured] == list(SYSTEMS)
    for m in measured:
        assert m["jobs_per_second"] > 0
        assert m["cpu_us"]["workers"] > 0
        assert m["memory_mb"]["pss"] > 0
        assert len(m["pick_up_ms"]) > 0
        assert min(m["pick_up_ms"]) > 0


@pytest.mark.slow
@pytest.mark.bench
@pytest.mark.timeout(300)
def test_the_cost_of_the_gate_is_shown_for_both_databases() -> None:
    done = _bench("--gate", "--jobs", "50")
    assert done.returncode == 0, done.stderr
    assert "SQLite" in done.stdout
    assert "PostgreSQL" in done.stdout
    assert "gate in all" in done.stdout
