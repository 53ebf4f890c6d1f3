"""Fixtures of a running sandbox, for the tests of whoever talks to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from integrations.sandbox import AccessKey, SandboxConfig
from integrations.sandbox.app import create_sandbox
from integrations.sandbox.server import SandboxServer
from tests.integrations.sandbox.calling import Caller


class Clock:
    """The present, and how far it was moved on."""

    def __init__(self) -> None:
        self.moved = 0.0

    def __call__(self) -> float:
        return time.time() + self.moved


@pytest.fixture(scope="session")
def shared_clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def shared_server(shared_clock: Clock) -> Iterator[SandboxServer]:
    """One server for all tests; stopping one takes a fifth of a second."""
    config = SandboxConfig(
        access_keys={
            "sandbox": AccessKey(secret="sandbox-secret"),
            "STS.sandbox": AccessKey(secret="sts-secret", security_token="sts-token"),
        },
        sign_names=frozenset({"钟久久", "另一个", "第三个", "第四个", "第五个"}),
    )
    with SandboxServer(create_sandbox(config, clock=shared_clock)) as running:
        yield running


@pytest.fixture
def server(shared_server: SandboxServer, clock: Clock) -> SandboxServer:
    """A sandbox that has seen nothing."""
    shared_server.sandbox.reset()
    return shared_server


@pytest.fixture
def clock(shared_clock: Clock) -> Clock:
    """The sandbox's clock, set to the present."""
    shared_clock.moved = 0.0
    return shared_clock


@pytest.fixture
def caller(server: SandboxServer) -> Iterator[Caller]:
    caller = Caller(server.url)
    with caller.http:
        yield caller
