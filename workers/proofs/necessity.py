"""Necessity: a personal field that the recipient can do without loses its place in the policy."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from integrations.policy import Operation, Policy
from models.errors import ZjjError
from workers.proofs.drives import DRIVES, personal_fields
from workers.proofs.lab import Lab, make_attempt
from workers.proofs.people import Person
from workers.proofs.report import Progress, Proof, run_proof

__all__ = ["necessity"]


def necessity(policy: Policy, progress: Progress) -> Proof:
    """Send each operation whole, then without each of its personal fields in turn."""
    proof = Proof(
        "necessity",
        "without any one of its personal fields the recipient refuses the request",
        "缺少任何一项个人信息字段，接收方即拒绝该请求",
    )
    with Lab() as lab:
        cases = [
            partial(_case, lab, policy, operation, field)
            for operation in policy.operations.values()
            for field in (None, *personal_fields(operation))
        ]
        return run_proof(proof, cases, progress)


def _case(lab: Lab, policy: Policy, operation: Operation, dropped: str | None) -> Iterator[str]:
    fields = {name: field for name, field in operation.fields.items() if name != dropped}
    operations = {
        **policy.operations,
        operation.name: operation.model_copy(update={"fields": fields}),
    }
    lesser = policy.model_copy(update={"operations": operations})
    lab.reset()
    person = Person(code=f"{secrets.randbelow(10**6):06d}")
    with suppress(ZjjError):
        DRIVES[operation.name].call(lab.gate(lesser), make_attempt(policy, person.held()))
    seen = lab.server.sandbox.journal.entries()
    if not seen:
        yield f"{operation.name}: nothing arrived"
    elif dropped is None and not seen[-1]["accepted"]:
        yield f"{operation.name}: is refused even when whole"
    elif dropped is not None and any(entry["accepted"] for entry in seen):
        yield f"{operation.name}: works without {dropped}, which must leave the policy"
