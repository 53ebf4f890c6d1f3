"""Figures: what is put beside what."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.measuring import CpuPerJob, Measurement
from benchmarks.processes import Memory
from benchmarks.report import as_markdown, percentile, throughput_table


def _measurement(system: str, number: int, jobs_per_second: float) -> Measurement:
    return Measurement(
        system=system,
        latency_ms=20,
        round=number,
        setting="2 × 8 threads",
        jobs_per_second=jobs_per_second,
        cpu_us=CpuPerJob(workers=900, broker=100, database=0),
        memory_mb=Memory(pss=80, peak=120),
        enqueue_ms=[1.0],
        pick_up_ms=[],
        idle_cpu_percent=None,
    )


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 5), (0.95, 10), (0.99, 10), (1.0, 10)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    assert percentile([10, 1, 9, 2, 8, 3, 7, 4, 6, 5], share) == expected


def test_ratios_compare_within_a_round() -> None:
    # The second round was slow for everybody; that says nothing about the ratio.
    measurements = [
        _measurement("dramatiq", 0, 2000),
        _measurement("zjj-sqlite", 0, 1000),
        _measurement("dramatiq", 1, 400),
        _measurement("zjj-sqlite", 1, 200),
    ]
    shown = io.StringIO()
    Console(file=shown, width=200).print(throughput_table(measurements, 20))
    assert "600 (200–1,000)" in shown.getvalue()
    assert "× 0.50 " in shown.getvalue()


def test_a_table_for_a_page_has_one_line_for_each_row() -> None:
    measurements = [_measurement("dramatiq", 0, 2000), _measurement("zjj-sqlite", 0, 1000)]
    title, _, rest = as_markdown(throughput_table(measurements, 20)).partition("\n\n")
    assert title == "Draining a full queue, provider answers after 20 ms"
    headings, rules, *rows, empty, caption, _ = rest.split("\n")
    assert headings.startswith("|  | jobs/s | CPU µs/job |")
    assert rules.startswith("| --- | ---: |")
    assert [row.split(" | ")[1] for row in rows] == ["1,000 × 0.50", "2,000 × 1.00"]
    assert (empty, caption[:6]) == ("", "median")
