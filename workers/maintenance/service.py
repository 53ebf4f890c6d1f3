"""Services and the thread that makes their rounds."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Sequence
from typing import Protocol

import redis

from models.database import NO_ANSWER
from models.errors import ZjjError
from workers.logs import get_logger

__all__ = ["Rounds", "Service"]

_log = get_logger()

_STAGGER = 0.2
"""Part of an interval by which rounds are spread, so that workers do not march in step."""


class Service(Protocol):
    """A small recurring duty."""

    name: str
    """Static, for logs and metrics."""
    interval: float
    """Seconds between rounds."""

    def round(self) -> int:
        """Do what is due; returns how many rows it moved."""


class Rounds:
    """Runs services in one thread, each at its own interval, until stopped."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._stopping = threading.Event()
        self._troubled: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="maintenance", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, timeout: float | None = None) -> None:
        """End after the round under way, or leave that behind after ``timeout`` seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _work(self) -> None:
        due = {service.name: time.monotonic() for service in self._services}
        while not self._stopping.is_set():
            for service in self._services:
                if time.monotonic() >= due[service.name]:
                    self._round(service)
                    spread = random.uniform(1 - _STAGGER, 1 + _STAGGER)  # noqa: S311
                    due[service.name] = time.monotonic() + service.interval * spread
            self._stopping.wait(max(0.01, min(due.values()) - time.monotonic()))

    def _round(self, service: Service) -> None:
        try:
            moved = service.round()
        except (*NO_ANSWER, sqlite3.Error, redis.RedisError, ZjjError) as error:
            if service.name not in self._troubled:
                _log.warning("maintenance.failed", service=service.name, error=type(error).__name__)
            self._troubled.add(service.name)
        except Exception as error:  # noqa: BLE001 - a fault in one service must not end the others
            _log.error("maintenance.fault", service=service.name, exc_info=error)
        else:
            if service.name in self._troubled:
                _log.info("maintenance.recovered", service=service.name)
            self._troubled.discard(service.name)
            if moved:
                _log.info("maintenance.moved", service=service.name, count=moved)
