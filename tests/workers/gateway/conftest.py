from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.workers.gateway.serving import Gateway, serve_gateway


@pytest.fixture
def gateway(sqlite_url: str) -> Iterator[Gateway]:
    with serve_gateway(sqlite_url) as gateway:
        yield gateway


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.http() as client:
        yield client
