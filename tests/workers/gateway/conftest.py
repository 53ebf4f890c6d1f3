from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog

from tests.workers.gateway.serving import Gateway, serve_gateway
from workers.gateway import edge, problems


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all tests of a module; those that count jobs make their own."""
    with serve_gateway(f"sqlite:///{tmp_path_factory.mktemp('gateway') / 'zjj.db'}") as gateway:
        yield gateway


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.http() as client:
        yield client


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, gateway: Gateway) -> Iterator[list[Any]]:
    """What the gateway logs from now on."""
    # Loggers that no earlier configuration has cached.
    for module in (edge, problems):
        monkeypatch.setattr(module, "_log", structlog.get_logger())
    with structlog.testing.capture_logs() as captured:
        # The line of an earlier test's last request may be on its way yet.
        with gateway.http() as http:
            http.get("/healthz")
        while "/healthz" not in [line.get("route") for line in captured]:
            time.sleep(0.01)
        captured.clear()
        yield captured
