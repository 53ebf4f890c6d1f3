"""What came out, as tables for people and JSON for machines."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import math
import os
import platform
import sqlite3
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks.measuring import Measurement
from benchmarks.systems import SYSTEMS, BareDramatiq

__all__ = [
    "Spread",
    "as_json",
    "as_markdown",
    "latency_table",
    "machine",
    "percentile",
    "throughput_table",
]

_PEERS = ("dramatiq", "celery", "procrastinate", "httpx", "urllib3", "aiohttp", "psycopg")

Figure = Callable[[Measurement], float | None]


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """The spread of some values; None without any."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known)) if known else None

    def show(self, digits: int) -> str:
        """``median (low-high)``."""
        text = f"{self.median:,.{digits}f}"
        if self.low == self.high:
            return text
        return f"{text} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    figure: Figure
    digits: int = 0


def _of(values: Callable[[Measurement], list[float]], share: float) -> Figure:
    return lambda m: percentile(values(m), share) if values(m) else None


_THROUGHPUT = (
    _Column("jobs/s", lambda m: m.jobs_per_second),
    _Column("CPU µs/job", lambda m: m.cpu_us.total),
    _Column("… workers", lambda m: m.cpu_us.workers),
    _Column("… broker", lambda m: m.cpu_us.broker),
    _Column("… database", lambda m: m.cpu_us.database),
    _Column("MB, PSS", lambda m: m.memory_mb.pss),
    _Column("MB, peak RSS", lambda m: m.memory_mb.peak),
)
_LATENCY = (
    _Column("enqueue p50 ms", _of(lambda m: m.enqueue_ms, 0.50), 2),
    _Column("p99", _of(lambda m: m.enqueue_ms, 0.99), 2),
    _Column("pick-up p50 ms", _of(lambda m: m.pick_up_ms, 0.50), 1),
    _Column("p95", _of(lambda m: m.pick_up_ms, 0.95), 1),
    _Column("p99", _of(lambda m: m.pick_up_ms, 0.99), 1),
    _Column("idle CPU %", lambda m: m.idle_cpu_percent, 1),
)


def throughput_table(measurements: Sequence[Measurement], latency_ms: float) -> Table:
    """Speed, CPU and memory at one latency of the provider."""
    chosen = [m for m in measurements if m.latency_ms == latency_ms]
    return _table(
        f"Draining a full queue, provider answers after {latency_ms:g} ms", _THROUGHPUT, chosen
    )


def latency_table(measurements: Sequence[Measurement]) -> Table:
    """Latencies, from the measurements that have a rest."""
    chosen = [m for m in measurements if m.pick_up_ms]
    return _table("One job at a time, workers at rest", _LATENCY, chosen)


def as_json(measurements: Sequence[Measurement], options: dict[str, Any]) -> str:
    """Everything that was measured, with what it was measured on."""
    versions = {name: importlib.metadata.version(name) for name in _PEERS}
    document = {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions,
        "options": options,
        "measurements": [asdict(m) for m in measurements],
    }
    return json.dumps(document, indent=1)


def as_markdown(table: Table) -> str:
    """A table for a page: its title, its rows, its caption."""
    headings = [_plain(column.header) for column in table.columns]
    rules = ["---:" if column.justify == "right" else "---" for column in table.columns]
    rows = zip(*([_plain(cell) for cell in column.cells] for column in table.columns), strict=True)
    lines = [f"| {' | '.join(cells)} |" for cells in (headings, rules, *rows)]
    parts = (_plain(table.title), "\n".join(lines), _plain(table.caption))
    return "\n\n".join(part for part in parts if part) + "\n"


def machine() -> str:
    """What is measured on, and when."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PEERS)
    return (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores "
        f"({platform.machine()}), load {os.getloadavg()[0]:.1f} before it began, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; {versions}.\n"
    )


def _plain(cell: Any) -> str:
    return Text.from_markup(str(cell or "")).plain.replace("\n", " ")


def _table(title: str, columns: Sequence[_Column], measurements: Sequence[Measurement]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", show_lines=True)
    table.caption = f"median (lowest–highest) of the rounds; × is the ratio to {BareDramatiq.title}"
    table.add_column("")
    for column in columns:
        table.add_column(column.title, justify="right")
    for name, system in SYSTEMS.items():
        own = [m for m in measurements if m.system == name]
        if own:
            settings = dict.fromkeys(m.setting for m in own)
            label = f"[bold]{system.title}[/]\n[dim]{'; '.join(settings)}[/]"
            table.add_row(label, *(_cell(column, own, measurements) for column in columns))
    return table


def _cell(column: _Column, own: list[Measurement], everybody: Sequence[Measurement]) -> str:
    unit = {m.round: column.figure(m) for m in everybody if m.system == BareDramatiq.name}
    values, ratios = [], []
    for measurement in own:
        value = column.figure(measurement)
        if value is None:
            continue
        values.append(value)
        # Within a round, so that a slow minute of the machine falls on both.
        if base := unit.get(measurement.round):
            ratios.append(value / base)
    spread, ratio = Spread.of(values), Spread.of(ratios)
    if spread is None:
        return ""
    lines = [spread.show(column.digits)]
    if ratio is not None:
        lines.append(f"[dim]× {ratio.show(2)}[/]")
    return "\n".join(lines)
