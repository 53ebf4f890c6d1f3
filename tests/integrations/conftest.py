"""What the tests of every adapter ask for: the policy, a ledger, and a sandbox to speak with."""

from __future__ import annotations

import pytest

from integrations.policy import Policy, load_policy
from tests.integrations.gate.parts import MemoryLedger
from tests.integrations.sandbox.serving import (
    caller,
    clock,
    server,
    shared_clock,
    shared_server,
)

__all__ = ["caller", "clock", "server", "shared_clock", "shared_server"]


@pytest.fixture(scope="session")
def policy() -> Policy:
    return load_policy()


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()
