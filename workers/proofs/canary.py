"""Canary, first half: every operation of the policy, through every mishap, byte for byte.

The job holds far more about a person than any operation may send. What arrives at the provider
must be the policy's cells, no more and no fewer; errors, tracebacks, replies and disclosures must
hold nothing at all.
"""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Iterator
from functools import partial

from integrations.policy import Policy
from integrations.sandbox.faults import Fault
from models.errors import ZjjError
from workers.proofs.drives import DRIVES
from workers.proofs.lab import Lab, cell_faults, make_attempt, operation_of
from workers.proofs.people import Person
from workers.proofs.report import Progress, Proof, run_proof
from workers.proofs.traces import find

__all__ = ["MISHAPS", "sweep_operations"]

_PATIENCE_SECONDS = 0.4
"""Less than the provider hangs."""

MISHAPS: dict[str, Fault | None] = {
    "success": None,
    "4xx": Fault(kind="status", status=403, times=1),
    "5xx": Fault(kind="status", status=502, times=1),
    "timeout": Fault(kind="hang", seconds=1, times=1),
    "garbage": Fault(kind="garbage", times=1),
    "reset": Fault(kind="reset", times=1),
    "dropped": Fault(kind="drop", times=1),
}


def sweep_operations(policy: Policy, progress: Progress) -> Proof:
    """Drive every operation through every mishap."""
    proof = Proof(
        "canary",
        "each operation sends the policy's cells, no more and no fewer, whatever goes wrong",
        "每个操作只发送政策列明的字段，不多不少，无论发生何种故障",
    )
    with Lab() as lab:
        cases = [
            partial(_case, lab, policy, name, mishap)
            for name in policy.operations
            for mishap in MISHAPS
        ]
        return run_proof(proof, cases, progress)


def _case(lab: Lab, policy: Policy, name: str, mishap: str) -> Iterator[str]:
    drive = DRIVES.get(name)
    if drive is None:
        yield f"{name}: no proof drives this operation; add it to workers/proofs/drives.py"
        return
    lab.reset()
    if fault := MISHAPS[mishap]:
        lab.server.sandbox.faults.add(fault.model_copy())
    person = Person(code=f"{secrets.randbelow(10**6):06d}")
    attempt = make_attempt(policy, person.held())
    said: list[str] = []
    try:
        said.append(repr(drive.call(lab.gate(policy, patience=_PATIENCE_SECONDS), attempt)))
    except ZjjError as error:
        said += traceback.format_exception(error)
    requests = lab.tap.requests()
    if name not in {each.name for r in requests if (each := operation_of(policy, r))}:
        yield f"{name}: nothing arrived ({mishap})"
    for request in requests:
        for what in cell_faults(policy, request, [person]):
            yield f"{what} ({mishap})"
    said += (repr(attempt), repr(attempt.results), repr(lab.records.rows))
    for trace in find(person.values, "\n".join(said).encode()):
        yield f"{name}: an error or a record holds {trace.value.name} ({trace.form}, {mishap})"
