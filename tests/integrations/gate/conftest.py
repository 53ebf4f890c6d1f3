from __future__ import annotations

from collections.abc import Iterator

import pytest

from integrations.gate import Gate
from integrations.policy import Operation, Policy
from models.attempts import Attempt
from tests.integrations.gate.parts import MemoryLedger, loose_policy, make_attempt, make_gate
from tests.integrations.recording_server import RecordingServer


@pytest.fixture(scope="session")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The packaged policy with an operation per body format that takes any text."""
    return loose_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture
def operation(policy: Policy) -> Operation:
    return policy.operation("aliyun.sms.send")


@pytest.fixture
def attempt(policy: Policy) -> Attempt:
    return make_attempt(policy)


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        yield server


@pytest.fixture
def gate(policy: Policy, ledger: MemoryLedger, server: RecordingServer) -> Iterator[Gate]:
    gate = make_gate(policy, ledger, server.url)
    yield gate
    gate.close()
