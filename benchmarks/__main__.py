"""``python -m benchmarks``: the whole comparison, or a part of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.acknowledgement import acknowledgement_table, measure_acknowledgements
from benchmarks.gate_cost import gate_table, measure_gate
from benchmarks.measuring import Bench, Measurement, MeasurementError
from benchmarks.report import as_json, as_markdown, latency_table, machine, throughput_table
from benchmarks.responder import Responder
from benchmarks.servers import open_servers
from benchmarks.systems import SYSTEMS, Setting, System
from benchmarks.urgency import measure_urgency, urgency_table
from tests.servers import ServerUnavailableError

_PICK_UPS = 60
_QUICK_PICK_UPS = 20
_BULK = 100_000
_QUICK_BULK = 10_000
_WIDTH = 160
"""Columns where nobody looks at the screen."""

Chosen = dict[tuple[str, float], Setting]


@dataclass(frozen=True, slots=True)
class _Plan:
    systems: list[type[System]]
    latencies: list[float]
    rounds: int
    jobs: int
    pick_ups: int


def main(
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Everybody once a round. [default: 3]")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=20, help="Jobs in the queue to drain. [default: 2000]")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(help="The provider's, in ms, comma-separated. [default: 0,20,100]")
    ] = None,
    systems: Annotated[str, typer.Option(help="Which of: " + ", ".join(SYSTEMS))] = ",".join(
        SYSTEMS
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="One small round at 20 ms, to see that it works.")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="First try several settings of each, and take the best.")
    ] = False,
    gate: Annotated[
        bool, typer.Option("--gate", help="Measure what the gate costs a request, nothing else.")
    ] = False,
    urgent: Annotated[
        int | None,
        typer.Option(
            min=1000,
            help="Measure how long urgent jobs wait while so many bulk jobs drain, nothing else.",
        ),
    ] = None,
    callbacks: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Measure how long providers wait for acknowledgements of so many payment "
            "callbacks a second, nothing else.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, help="For --urgent and --callbacks: how long.")
    ] = 20.0,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything", help="Urgent jobs, the gate and the comparison, as Markdown for a page."
        ),
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables as Markdown.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
) -> None:
    """Measure this system and what a user would pick instead, side by side."""
    plan = _Plan(
        systems=[_named(name) for name in systems.split(",")],
        latencies=_latencies(latency or ("20" if quick else "0,20,100")),
        rounds=rounds or (1 if quick else 3),
        jobs=jobs or (300 if quick else 2000),
        pick_ups=_QUICK_PICK_UPS if quick else _PICK_UPS,
    )
    if everything:
        urgent = urgent or (_QUICK_BULK if quick else _BULK)
    _forget_settings()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)

    def show(table: Table) -> None:
        if markdown or everything:
            print(as_markdown(table), flush=True)
        else:
            console.print(table, "")

    try:
        with open_servers() as (redis, postgres), Responder() as responder:
            if everything:
                print(machine(), flush=True)
            if urgent:
                waits = measure_urgency(redis, postgres, responder, bulk=urgent, seconds=seconds)
                show(urgency_table(waits))
            if gate or everything:
                show(gate_table(measure_gate(redis, postgres, responder, calls=plan.jobs)))
            if (gate or urgent) and not everything:
                return
            if callbacks:
                acks = measure_acknowledgements(
                    redis, postgres, per_second=callbacks, seconds=seconds
                )
                show(acknowledgement_table(acks))
                return
            bench = Bench(redis, postgres, responder)
            chosen = _tune(bench, plan) if tune else _known_best(plan)
            measurements = _run(bench, plan, chosen)
    except (MeasurementError, ServerUnavailableError) as error:
        Console(stderr=True, highlight=False).print(str(error), markup=False)
        raise typer.Exit(1) from None
    for latency_ms in plan.latencies:
        show(throughput_table(measurements, latency_ms))
    show(latency_table(measurements))
    if json is not None:
        options = {"rounds": plan.rounds, "jobs": plan.jobs, "pick_ups": plan.pick_ups}
        json.write_text(as_json(measurements, options))


def _named(name: str) -> type[System]:
    if name not in SYSTEMS:
        raise typer.BadParameter(f"--systems takes some of: {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def _latencies(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [-1]
    if min(values) < 0:
        raise typer.BadParameter("--latency takes milliseconds, such as 0,20,100")
    return values


def _forget_settings() -> None:
    """Nobody's own settings or credentials take part, so that nothing reaches a real provider."""
    for name in [name for name in os.environ if name.startswith(("ZJJ_", "ALIBABA_CLOUD_"))]:
        del os.environ[name]


def _known_best(plan: _Plan) -> Chosen:
    return {
        (kind.name, latency): kind.at(latency, kind.best)
        for kind in plan.systems
        for latency in plan.latencies
    }


def _tune(bench: Bench, plan: _Plan) -> Chosen:
    """Drain once with each candidate; the fastest wins."""
    small = replace(plan, pick_ups=0)
    tries = [
        (kind, latency, setting)
        for latency in plan.latencies
        for kind in plan.systems
        for setting in kind.at(latency, kind.candidates)
    ]
    fastest: dict[tuple[str, float], Measurement] = {}
    chosen: Chosen = {}
    with _progress(len(tries)) as progress:
        for kind, latency, setting in tries:
            measured = progress(bench, small, kind, setting, latency, 0)
            best = fastest.get((kind.name, latency))
            if best is None or measured.jobs_per_second > best.jobs_per_second:
                fastest[kind.name, latency] = measured
                chosen[kind.name, latency] = setting
    return chosen


def _run(bench: Bench, plan: _Plan, chosen: Chosen) -> list[Measurement]:
    """All rounds, interleaved: the machine's moods fall on everybody."""
    measurements = []
    total = plan.rounds * len(plan.latencies) * len(plan.systems)
    with _progress(total) as progress:
        for number in range(plan.rounds):
            for latency in plan.latencies:
                # Pick-up does not depend on how long the provider takes to answer.
                at_rest = plan if latency == plan.latencies[0] else replace(plan, pick_ups=0)
                for kind in plan.systems:
                    setting = chosen[kind.name, latency]
                    measurements.append(progress(bench, at_rest, kind, setting, latency, number))
    return measurements


class _Watched:
    """Measures, and says so: a bar on a terminal, a line for each result anywhere."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def __call__(
        self,
        bench: Bench,
        plan: _Plan,
        kind: type[System],
        setting: Setting,
        latency: float,
        number: int,
    ) -> Measurement:
        name = f"round {number + 1}, {latency:g} ms, {kind.title}"
        began = time.monotonic()
        measured = bench.measure(
            kind,
            setting,
            latency_ms=latency,
            jobs=plan.jobs,
            pick_ups=plan.pick_ups,
            number=number,
            step=lambda what: self._progress.update(self._task, description=f"{name}: {what}"),
        )
        self._progress.advance(self._task)
        self._progress.console.print(
            f"{name}, {setting}: {measured.jobs_per_second:,.0f} jobs/s, "
            f"{measured.cpu_us.total:,.0f} µs/job ({time.monotonic() - began:.0f} s)"
        )
        return measured


@contextmanager
def _progress(total: int) -> Iterator[_Watched]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        yield _Watched(progress, total)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
