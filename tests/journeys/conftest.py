"""Houses that leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.houses import House


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--orders", type=int, default=200, help="so many at the till in one day")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A product that is not started yet."""
    house = House(tmp_path)
    yield house
    house.close()


@pytest.fixture(scope="module")
def running_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running product, shared by the tests of a module."""
    house = House(tmp_path_factory.mktemp("house"))
    try:
        house.start()
        house.sandbox("settings", {"limits": False}, method="PATCH")
        yield house
    finally:
        house.close()
