from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.workers.gateway.serving import Gateway, serve_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all tests of a module; those that count jobs make their own."""
    with serve_gateway(f"sqlite:///{tmp_path_factory.mktemp('gateway') / 'zjj.db'}") as gateway:
        yield gateway


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.http() as client:
        yield client
