"""Logs: identifiers and codes, never objects.

Key-value lines on a terminal, one JSON object a line otherwise. Event names are static, dotted
and documented in ``docs/events.md``. Libraries speak only when something is wrong, and without
their arguments: httpx would print URLs, dramatiq message arguments, SQLAlchemy parameters.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["configure_logs", "get_logger"]

_TAMED = ("httpx", "httpcore", "sqlalchemy", "alembic", "dramatiq", "redis", "uvicorn", "alipay")


def get_logger() -> Any:
    """A structlog logger; bind ids with :mod:`structlog.contextvars`."""
    return structlog.get_logger()


def configure_logs(
    *, level: str = "info", style: str = "auto", stream: TextIO | None = None
) -> None:
    """Set up structlog and silence the libraries. Call it once, after all imports.

    Args:
        level: Least level that is printed.
        style: ``json``, ``text``, or ``auto``: text on a terminal.
        stream: Default standard error.
    """
    out = stream or sys.stderr
    text = style == "text" or (style == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exception_without_locals,
    ]
    if text:
        structlog.configure(
            processors=[*shared, structlog.dev.ConsoleRenderer(colors=out.isatty())],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.WriteLoggerFactory(file=out),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[*shared, structlog.processors.JSONRenderer(serializer=orjson.dumps)],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.BytesLoggerFactory(file=out.buffer),
            cache_logger_on_first_use=True,
        )
    _tame_libraries()


def _exception_without_locals(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace an exception by its class and the places it passed: no message, no locals."""
    exc_info = event.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(error, BaseException):
        places = []
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
            trace = trace.tb_next
        event["error"] = type(error).__name__
        event["trace"] = places
    return event


class _LibraryHandler(logging.Handler):
    """Lets a library say that something is wrong, and where, but not with what."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        get_logger().log(
            record.levelno,
            "library.warned",
            library=record.name,
            place=f"{record.module}:{record.lineno}",
            error=type(error).__name__ if error else None,
        )


def _tame_libraries() -> None:
    handler = _LibraryHandler(logging.WARNING)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # Importing python-alipay-sdk installs handlers of its own on named loggers.
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if name.partition(".")[0] in _TAMED or logger.handlers:
            logger.handlers = []
            logger.propagate = True
            logger.setLevel(logging.WARNING)
