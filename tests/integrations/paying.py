"""Fixtures of the sandbox's tills, for the tests of the payment providers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integrations.sandbox.tills import Tills
from workers.proofs.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(autouse=True)
def tills(lab: Lab) -> Tills:
    """Tills that have seen nothing."""
    lab.reset()
    tills = lab.server.sandbox.tills
    tills.reset()
    return tills
