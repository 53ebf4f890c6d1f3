"""One report of all proofs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from integrations.policy import load_policy

__all__ = ["Progress", "Proof", "prove", "run_proof"]


class Progress(Protocol):
    """Hears how far a proof is."""

    def __call__(self, name: str, done: int, total: int) -> None:
        """``done`` of ``total`` cases of the proof ``name`` are done."""


@dataclass(slots=True)
class Proof:
    """What a proof found."""

    name: str
    claim: str
    """What holds if there is no fault."""
    claim_zh: str
    cases: int = 0
    faults: list[str] = field(default_factory=list)
    """Names of operations, fields and places; never a value."""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether it was tried at all and nothing was found against it."""
        return self.cases > 0 and not self.faults


Case = Callable[[], Iterable[str]]
"""Tries one thing; yields faults."""


def run_proof(proof: Proof, cases: Sequence[Case], progress: Progress) -> Proof:
    """Try every case; an error of a case is a fault of the proof."""
    began = time.perf_counter()
    progress(proof.name, 0, len(cases))
    for number, case in enumerate(cases, start=1):
        try:
            proof.faults.extend(case())
        except Exception as error:  # noqa: BLE001  # a proof that breaks does not hold
            proof.faults.append(f"case {number} broke with {type(error).__name__}{_place(error)}")
        proof.cases += 1
        progress(proof.name, number, len(cases))
    proof.seconds += time.perf_counter() - began
    return proof


def prove(
    progress: Progress,
    *,
    policy_file: Path | None = None,
    database_url: str | None = None,
    thorough: bool = False,
) -> list[Proof]:
    """Run every proof.

    Args:
        policy_file: The policy that is to be kept; the packaged one if None.
        database_url: An empty PostgreSQL database to sweep as well as SQLite.
        thorough: Vary more.
    """
    # Imported here: each proof imports this module.
    from workers.proofs.canary import sweep_operations
    from workers.proofs.control import control
    from workers.proofs.interference import non_interference
    from workers.proofs.jobs import sweep_jobs
    from workers.proofs.mutation import mutation
    from workers.proofs.necessity import necessity

    policy = load_policy(policy_file)
    proofs = [
        sweep_operations(policy, progress),
        sweep_jobs(policy, progress, policy_file=policy_file),
        control(policy, progress),
        non_interference(policy, progress, variations=2000 if thorough else 150),
        necessity(policy, progress),
        mutation(),
    ]
    if database_url is not None:
        with_rows = sweep_jobs(policy, progress, policy_file=policy_file, database_url=database_url)
        proofs.insert(2, with_rows)
    return proofs


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else ""
