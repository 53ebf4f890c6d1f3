"""Starts the parts of the embedded default, restarts what falls over, and stops all of it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from models.errors import ConfigurationError
from workers.embedded.lifeline import LIFELINE

__all__ = ["Child", "FolderLock", "Supervisor", "open_log"]

_RESTART_PAUSES = (0.2, 1.0, 3.0, 10.0)
"""Seconds before a restart, longer each time; a child that ran a minute begins anew."""
_STEADY_SECONDS = 60.0
_LARGEST_LOG = 5_000_000


def open_log(folder: Path, name: str) -> IO[bytes]:
    """A log file for one part; a large one of an earlier run is set aside once."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.log"
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


class FolderLock:
    """One supervisor a data folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = (folder / "run.lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            raise ConfigurationError(
                f"Another `zjj run` (process {self._file.read().strip() or '?'}) uses {folder}. "
                "Stop it, or choose another folder with ZJJ_DATA."
            ) from None
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()


@dataclass
class Child:
    """A part that runs as a process of its own.

    Attributes:
        name: For logs.
        arguments: After ``python -m``.
        log: Where its output goes.
        on_end: Called with the process id when it ended on its own.
    """

    name: str
    arguments: Sequence[str]
    log: IO[bytes]
    environment: Mapping[str, str] = field(default_factory=dict)
    on_end: Callable[[int], None] = lambda _pid: None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    restart_at: float | None = None

    def start(self) -> None:
        """Start it, on a lifeline, and out of reach of the terminal's Ctrl-C.

        In the supervisor's session: niceness counts within one only (man sched, "autogroup").
        """
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self.arguments],
            env={**os.environ, **self.environment, LIFELINE: "1"},
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            process_group=0,
        )
        self.started = time.monotonic()
        self.restart_at = None

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Keeps children running until told to stop."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self.children: list[Child] = []

    def add(self, child: Child) -> None:
        """Start a child and keep it running."""
        self.children.append(child)
        child.start()

    def check(self) -> None:
        """Restart what has ended; call it several times a second."""
        now = time.monotonic()
        for child in self.children:
            if child.is_running:
                continue
            if child.restart_at is None:
                self._ended(child, now)
            elif now >= child.restart_at:
                child.start()

    def _ended(self, child: Child, now: float) -> None:
        assert child.process is not None  # noqa: S101 - only started children are checked
        if now - child.started > _STEADY_SECONDS:
            child.restarts = 0
        pause = _RESTART_PAUSES[min(child.restarts, len(_RESTART_PAUSES) - 1)]
        child.restarts += 1
        child.restart_at = now + pause
        code = child.process.returncode
        self._say(
            f"{child.name} ended (exit code {code}); restarting it. Its log: {child.log.name}",
            f"{child.name} 已退出（退出码 {code}），正在重启。日志：{child.log.name}",
        )
        child.on_end(child.process.pid)

    def stop(self, *, grace: float) -> None:
        """Ask every child to stop, in the order of their start, and wait for all of them."""
        running = [child.process for child in self.children if child.is_running and child.process]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + grace
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
