"""What a worker asks of the database again and again reads no table from end to end.

Its services look every few hundred milliseconds. A question that reads all jobs is quick while
there are few, and holds up everybody on the day when there are a hundred thousand.
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, inspect

from integrations.sandbox.app import create_sandbox
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.database import migrate, open_database
from models.keys import generate_key
from models.states import State
from tests.workers.rows import a_code
from workers.entrance import open_entrance
from workers.process import WorkerProcess
from workers.settings import load_settings

_SMALL = {"alarms", "circuits", "data_keys", "pauses", "replays", "webhook_endpoints", "workers"}
"""Tables that never have more than some hundred rows."""
_ENOUGH_SECONDS = 2.0
"""In this time each service has made its first round, and the frequent ones several."""


@pytest.fixture
def asked() -> Any:
    """Every statement, with one example of its parameters."""
    statements: dict[str, Any] = {}

    def note(_c: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.setdefault(statement, parameters)

    event.listen(Engine, "before_cursor_execute", note)
    yield statements
    event.remove(Engine, "before_cursor_execute", note)


def test_a_working_worker_reads_no_large_table_from_end_to_end(
    tmp_path: Path, redis_url: str, asked: dict[str, Any]
) -> None:
    with SandboxServer(create_sandbox(SandboxConfig())) as sandbox:
        settings = load_settings(
            data=tmp_path,
            redis_url=redis_url,
            sandbox_url=sandbox.url,
            master_keys=f"test:{generate_key()}",
            pseudonym_key=generate_key(),
        )
        engine = open_database(settings.database)
        migrate(engine)
        entrance = open_entrance(settings)
        worker = WorkerProcess(settings, ["urgent", "normal", "bulk"])
        asked.clear()
        worker.start()
        soon = utc_now() + dt.timedelta(seconds=0.5)
        job = entrance.service.enqueue(a_code(), backend="shop", run_at=soon)
        time.sleep(_ENOUGH_SECONDS)
        view = entrance.service.find(job.id)
        worker.stop(grace=5)
        entrance.close()
    assert view is not None
    assert view.state == State.SUCCEEDED
    with engine.connect() as connection:
        scans = {
            statement: plan
            for statement, parameters in list(asked.items())
            if (plan := _scans(connection, statement, parameters))
        }
    engine.dispose()
    assert len(asked) > 30
    assert scans == {}


def _scans(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """The steps of SQLite's plan that read a large table without an index."""
    if not statement.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")):
        return []
    if isinstance(parameters, list):
        parameters = parameters[0]
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    large = set(inspect(connection).get_table_names()) - _SMALL
    return [
        row.detail
        for row in plan
        if row.detail.startswith("SCAN ")
        and " INDEX " not in row.detail
        and row.detail.split()[1] in large
    ]
