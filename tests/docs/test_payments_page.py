"""What docs/payments.md lets a new user try works with the embedded default."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.docs.pages import ROOT, Block, Page
from tests.journeys.houses import House
from workers.merchants import load_merchants

PAGE = Page("docs/payments.md")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    try:
        house.start()
        yield house
    finally:
        house.close()


def blocks(language: str) -> list[Block]:
    shown = PAGE.section("Try it")
    return [block for block in PAGE.blocks if block.language == language and block.text in shown]


def run(house: House, *command: str) -> str:
    """Run what the page shows, where this house lives and not a user's."""
    *words, text = command
    text = text.replace("http://127.0.0.1:8000", house.url).replace(".zjj/", f"{house.data}/")
    done = subprocess.run(
        [*words, text],
        env=os.environ | {"PYTHONPATH": str(ROOT / "clients" / "python" / "src")},
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(
    shutil.which("curl") is None, reason="curl, which the page shows, is not installed"
)
def test_a_new_user_can_be_paid_at_once(house: House) -> None:
    pay, look = blocks("bash")
    assert '"state":"open"' in run(house, "sh", "-euc", pay.text)

    def is_paid() -> bool:
        (payment,) = json.loads(run(house, "sh", "-euc", look.text))["payments"]
        return (payment["state"], payment["amount"]) == ("paid", 129900)

    house.await_(is_paid, "the callback is worked through", 20)


def test_the_client_does_the_same(house: House) -> None:
    (block,) = blocks("python")
    assert run(house, sys.executable, "-W", "error", "-c", block.text) == "open ()\n"


def test_the_merchants_are_the_sandboxs_and_nobody_else_can_read_their_keys(house: House) -> None:
    folder = house.data / "merchants"
    assert {merchant.backend for merchant in load_merchants(folder / "merchants.toml")} == {"demo"}
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    shown = house.sandbox("merchants")
    assert (folder / "app.pem").read_text() == shown["alipay_private_key"]
    assert (folder / "api_v3.key").read_text() == shown["api_v3_key"]
