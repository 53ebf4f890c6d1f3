"""Logs carry identifiers and codes; a value that an error or a library holds does not get in."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from models.pii import Phone
from workers.logs import configure_logs, get_logger


class _Stream(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "utf-8")

    def lines(self) -> list[dict[str, Any]]:
        self.flush()
        content = self.buffer.getvalue()  # type: ignore[attr-defined]
        return [json.loads(line) for line in content.splitlines()]


@pytest.fixture
def stream() -> Iterator[_Stream]:
    stream = _Stream()
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    configure_logs(level="info", style="json", stream=stream)
    yield stream
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.getLogger().handlers = handlers
    logging.getLogger().setLevel(level)


def test_a_line_is_one_json_object_with_its_bound_ids(stream: _Stream) -> None:
    with structlog.contextvars.bound_contextvars(job_id="j1"):
        get_logger().info("job.settled", outcome="succeed")
    (line,) = stream.lines()
    assert line["event"] == "job.settled"
    assert line["job_id"] == "j1"
    assert line["level"] == "info"


def test_an_exception_is_logged_by_class_and_place_without_message_or_locals(
    stream: _Stream,
) -> None:
    def fails(secret: str) -> None:
        raise ValueError(f"cannot use {secret}")

    try:
        fails("16400001234")
    except ValueError as error:
        get_logger().error("task.fault", exc_info=error)
    (line,) = stream.lines()
    assert line["error"] == "ValueError"
    assert any("fails" in place for place in line["trace"])
    assert "16400001234" not in json.dumps(line)


def test_a_personal_value_logged_by_mistake_shows_its_type_only(stream: _Stream) -> None:
    get_logger().info("oops", phone=str(Phone("16400001234")))
    assert stream.lines()[0]["phone"] == "<Phone>"


@pytest.mark.parametrize("library", ["httpx", "dramatiq.worker", "sqlalchemy.engine", "alipay"])
def test_a_library_says_where_but_not_with_what(stream: _Stream, library: str) -> None:
    logger = logging.getLogger(library)
    logger.info("GET https://example.test/?phone=%s", "16400001234")
    logger.error("failed with %s", "16400001234", exc_info=ValueError("16400001234"))
    (line,) = stream.lines()
    assert (line["event"], line["library"]) == ("library.warned", library)
    assert line["error"] == "ValueError"
    assert "16400001234" not in json.dumps(line)


def test_importing_the_alipay_sdk_does_not_bring_its_console_handler_back() -> None:
    code = """
import logging
import alipay
from workers.logs import configure_logs
configure_logs(style="json")
logging.getLogger("python-alipay-sdk").debug("16400001234")
logging.getLogger("alipay").debug("16400001234")
logging.getLogger("alipay.sub").info("16400001234")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
