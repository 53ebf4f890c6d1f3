from __future__ import annotations

from collections.abc import Iterator

import pytest

from integrations.policy import Policy, load_policy
from integrations.sandbox.tills import Tills
from workers.proofs.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(autouse=True)
def tills(lab: Lab) -> Tills:
    lab.reset()
    tills = lab.server.sandbox.tills
    tills.reset()
    return tills


@pytest.fixture(scope="session")
def policy() -> Policy:
    return load_policy()
