"""What the pages show as runnable runs, in their order, against a running product."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.docs.pages import ROOT, Page
from tests.journeys.houses import House
from tests.servers import PostgresServer

ENQUEUEING = Page("docs/enqueueing.md")
OPERATIONS = Page("docs/operations.md")


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[House]:
    """A product on PostgreSQL, and a shell whose ``zjj`` is the one under test."""
    folder = tmp_path_factory.mktemp("shop")
    commands = folder / "bin"
    commands.mkdir()
    command = commands / "zjj"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workers.cli "$@"\n')
    command.chmod(0o755)
    name = postgres_server.create_database()
    house = House(folder, ZJJ_DATABASE_URL=postgres_server.url(name))
    house.environment["PATH"] = f"{commands}:{house.environment['PATH']}"
    house.environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'clients' / 'python' / 'src'}"
    house.environment["ZJJ_URL"] = house.url
    try:
        house.start()
        # What the embedded default gives to its parts and a backend gets by its own settings.
        house.environment["ZJJ_REDIS_URL"] = f"unix://{house.data / 'redis.sock'}"
        yield house
    finally:
        house.close()
        postgres_server.drop_database(name)


def _run(house: House, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=house.data.parent,
        env=house.environment,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(
    shutil.which("curl") is None, reason="curl, which docs/enqueueing.md shows, is not installed"
)
def test_enqueueing_goes_as_its_page_says(shop: House) -> None:
    said = []
    for block in ENQUEUEING.blocks:
        if block.language == "python":
            said.append(_run(shop, sys.executable, "-W", "error", "-c", block.text))
        elif block.text.startswith("export ZJJ_API_KEY="):
            command = block.text.partition("$(")[2].rstrip(")\n")
            shop.environment["ZJJ_API_KEY"] = _run(shop, "sh", "-c", command).strip()
        else:
            assert block.language == "bash", "show what runs"
            said.append(_run(shop, "sh", "-euc", block.text))
    alone, in_transaction, in_loop, over_http, by_client, by_command = said
    assert re.match(r"[0-9a-f]{32} queued True\n", alone)
    assert in_transaction == in_loop == ""
    assert '"state":"queued"' in over_http
    assert by_client.startswith(
        "succeeded [('aliyun_sms', "
        "('user.contact.phone_number', 'user.authorization.credentials'), ('scene',))]"
    )
    assert "succeeded" in by_command
    numbers = set(re.findall(r"164\d{8}", ENQUEUEING.text))
    shop.await_(
        lambda: shop.sandbox("counters")["accepted"] == len(numbers) + 1, "each code is sent once"
    )
    engine = create_engine(shop.environment["ZJJ_DATABASE_URL"])
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM shop_users")) == 2
    engine.dispose()


def test_questions_about_privacy_are_answered_as_their_page_says(shop: House) -> None:
    (block,) = [block for block in OPERATIONS.blocks if block.language == "bash"]
    said = _run(shop, "sh", "-euc", block.text)
    for fact in ("The policy file is valid", "The ledger is whole", "第三方共享清单", "People"):
        assert fact in said


def test_the_queries_of_the_runbook_are_understood_by_both_databases(
    shop: House, tmp_path: Path
) -> None:
    statements = [
        statement
        for block in OPERATIONS.blocks
        if block.language == "sql"
        for statement in block.text.split(";")
        if statement.strip()
    ]
    assert len(statements) == 3
    shop.environment["ZJJ_DATA"], kept = str(tmp_path), shop.environment["ZJJ_DATA"]
    postgres = shop.environment.pop("ZJJ_DATABASE_URL")
    _run(shop, "zjj", "db", "migrate")
    shop.environment |= {"ZJJ_DATA": kept, "ZJJ_DATABASE_URL": postgres}
    engine = create_engine(postgres)
    with engine.connect() as connection, sqlite3.connect(tmp_path / "zjj.db") as sqlite:
        for statement in statements:
            connection.execute(text(statement))
            sqlite.execute(statement)
    engine.dispose()
