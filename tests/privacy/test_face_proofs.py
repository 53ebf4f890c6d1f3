"""The proofs take up face verification by themselves, where a policy has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from integrations.policy import Policy, load_policy
from tests.faces import write_policy_with_faces
from workers.proofs.canary import sweep_operations
from workers.proofs.interference import non_interference
from workers.proofs.necessity import necessity
from workers.proofs.report import Progress, Proof


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Of all operations those about faces alone; the others are proved elsewhere."""
    policy = load_policy(write_policy_with_faces(tmp_path_factory.mktemp("policy")))
    operations = {
        name: operation
        for name, operation in policy.operations.items()
        if name.startswith("aliyun.face.")
    }
    return policy.model_copy(update={"operations": operations})


def _interference(policy: Policy, progress: Progress) -> Proof:
    return non_interference(policy, progress, variations=5)


@pytest.mark.parametrize("prove", [sweep_operations, necessity, _interference])
def test_the_proofs_hold_for_faces(
    faces: Policy, prove: Callable[[Policy, Progress], Proof]
) -> None:
    proof = prove(faces, lambda *_: None)
    assert proof.cases >= 2
    assert proof.faults == []
