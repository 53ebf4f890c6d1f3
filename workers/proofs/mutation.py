"""Mutation as a proof that was run before: what ``make mutate`` found is kept beside this file.

A run takes hours, so the report shows the last one, and which modules have changed since.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from workers.proofs.report import Proof

__all__ = [
    "MODULES",
    "RECORD",
    "ModuleRun",
    "Survivor",
    "digest_of",
    "last_run",
    "mutation",
    "record",
]

MODULES = (
    *("integrations._wire", "integrations.admission", "integrations.consents"),
    *("integrations.destinations", "integrations.detectors", "integrations.disguises"),
    *("integrations.egress_guard", "integrations.flat_xml", "integrations.gate"),
    *("integrations.leaves", "integrations.minimize", "integrations.policy._contradictions"),
    *("integrations.policy._entries", "integrations.policy._lines"),
    *("integrations.policy._loading", "integrations.policy._widening"),
    *("integrations.public_addresses", "integrations.reply", "models.consents"),
)
"""All that decides what leaves."""

RECORD = Path(__file__).with_name("mutation.json")
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """A change that no test notices."""

    line: int
    at: str
    """What stands there, so that the reason is found again when the line has moved."""
    change: str
    why: str
    """Why it lets nothing more out; empty as long as nobody has said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRun:
    """What the last run over one module came to."""

    module: str
    measured: str
    """Day, as ISO 8601."""
    digest: str
    """Of the source that was weakened."""
    mutants: int
    survivors: tuple[Survivor, ...]


def last_run() -> list[ModuleRun]:
    """The last run over each module, by name."""
    return [
        ModuleRun(**{**run, "survivors": tuple(Survivor(**each) for each in run["survivors"])})
        for run in json.loads(RECORD.read_text("utf-8"))
    ]


def record(run: ModuleRun) -> list[Survivor]:
    """Keep a run in place of the module's last one; returns the survivors nobody has explained."""
    runs = {known.module: known for known in last_run()}
    known = runs[run.module].survivors if run.module in runs else ()
    reasons = {(each.at, each.change): each.why for each in known}
    survivors = tuple(
        replace(each, why=reasons.get((each.at, each.change), "")) for each in run.survivors
    )
    runs[run.module] = replace(run, survivors=survivors)
    text = json.dumps([asdict(runs[name]) for name in sorted(runs)], ensure_ascii=False, indent=1)
    RECORD.write_text(text + "\n", "utf-8")
    return [each for each in survivors if not each.why]


def digest_of(module: str) -> str:
    """Tells whether a module is still the one that was weakened."""
    source = (_ROOT / (module.replace(".", "/") + ".py")).read_bytes()
    return hashlib.sha256(source).hexdigest()[:16]


def mutation() -> Proof:
    """The last run, as a proof; a survivor without a reason is a fault."""
    proof = Proof(
        "mutation",
        "the gate cannot be weakened by one small change without a test that notices "
        "(the last run of make mutate)",
        "对放行检查的任何一处削弱都会被测试发现（取自最近一次 make mutate）",
    )
    runs = last_run()
    proof.cases = sum(run.mutants for run in runs)
    survivors = sum(len(run.survivors) for run in runs)
    proof.faults += [
        f"{run.module}:{each.line}: {each.change}"
        for run in runs
        for each in run.survivors
        if not each.why
    ]
    changed = [run.module for run in runs if digest_of(run.module) != run.digest]
    days = sorted({run.measured for run in runs})
    proof.notes += [
        f"{proof.cases - survivors} killed",
        f"{survivors} let nothing more out, each with its reason in mutation.json",
        f"{len(runs)} modules",
        " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "never",
    ]
    if changed:
        proof.notes.append(f"changed since: {', '.join(changed)}")
    if missing := sorted({*MODULES} - {run.module for run in runs}):
        proof.notes.append(f"not run yet: {', '.join(missing)}")
    return proof
