"""A contestant's processes: started, weighed, stopped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]

__all__ = ["Crew", "Memory", "cpu_seconds"]

ROOT = Path(__file__).parent.parent
_STOP_SECONDS = 10
_LOG_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes of all worker processes together.

    ``pss`` shares pages among those who map them; ``peak`` is the sum of what each one ever had
    resident. Where the system does not tell (macOS), both are what is resident now.
    """

    pss: float
    peak: float


class Crew:
    """The worker processes of one contestant; leaving the ``with`` block stops them.

    Args:
        commands: One for each process.
        environment: What they get beside ours.
        log: File for what they print.
    """

    def __init__(
        self, commands: Sequence[Sequence[str]], environment: Mapping[str, str], log: Path
    ) -> None:
        self._commands = commands
        self._environment = {**os.environ, **environment}
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            for command in self._commands:
                self._running.append(
                    subprocess.Popen(
                        command,
                        cwd=ROOT,
                        env=self._environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        process_group=0,
                    )
                )
        groups = [f"-{process.pid}" for process in self._running]
        # Its standard input closes when this process ends, however it ends.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r line; kill -KILL -- "$@"', "guard", *groups],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        return self

    def __exit__(self, *_: object) -> None:
        family = self.processes()
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
        for left in family:  # children of one that had to be killed
            if left.is_running():
                left.kill()

    def processes(self) -> list[psutil.Process]:
        """The processes and their descendants."""
        return [one for started in self._running for one in _family(started.pid)]

    def ended(self) -> list[int]:
        """Exit codes of those that ended on their own."""
        return [code for process in self._running if (code := process.poll()) is not None]

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        return cpu_seconds(process.pid for process in self._running)

    def memory(self) -> Memory:
        """What they hold now, and held at most."""
        members = self.processes()
        return Memory(
            pss=sum(_pss(member) for member in members) / 1e6,
            peak=sum(_peak(member) for member in members) / 1e6,
        )

    def log_tail(self) -> str:
        """The end of what they printed, for a failed run."""
        return self._log.read_text(errors="replace")[-_LOG_TAIL:]


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of processes and all their descendants, those that ended included."""
    total = 0.0
    for root in roots:
        for member in _family(root):
            try:
                times = member.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _family(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _pss(process: psutil.Process) -> int:
    full = process.memory_full_info()
    return int(getattr(full, "pss", full.rss))


def _peak(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return int(process.memory_info().rss)
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
