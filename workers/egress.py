"""Locking a process: database, broker and gate, and no other way to the network.

Gateway, workers and the short commands are locked. Not locked are who starts them (``zjj run``,
``zjj privacy prove``) and the sandbox, which plays the providers.
"""

from __future__ import annotations

from collections.abc import Iterator

from redis.connection import parse_url
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from integrations import egress_guard
from models.errors import ConfigurationError
from workers.settings import Settings, load_settings

__all__ = ["allowed_addresses", "lock_command", "lock_network"]

_POSTGRES_PORT = "5432"


def lock_network(settings: Settings) -> None:
    """Lock this process for as long as it lives; see :mod:`integrations.egress_guard`."""
    listening = (settings.gateway_host, settings.gateway_port)  # so that its name may be looked up
    egress_guard.install([*allowed_addresses(settings), listening])


def lock_command() -> None:
    """Lock this process for one command; without settings that stand, it reaches nothing at all."""
    try:
        lock_network(load_settings())
    except ConfigurationError:
        egress_guard.install([])


def allowed_addresses(settings: Settings) -> list[tuple[str, int]]:
    """Host and port of database and broker; a file or a Unix socket needs none."""
    # What is not set is a file and a socket in the data folder.
    database, broker = settings.database_url, settings.redis_url
    return [*(_database(database) if database else ()), *(_broker(broker) if broker else ())]


def _database(text: str) -> Iterator[tuple[str, int]]:
    """Libpq's rules: several hosts, by name or address, and one port for each or for all."""
    try:
        url = make_url(text)
    except ArgumentError:
        return  # whoever opens it says what is wrong with it
    if url.get_backend_name() != "postgresql":
        return
    query = {name: _listed(value) for name, value in url.query.items()}
    ports = query.get("port") or [str(url.port or _POSTGRES_PORT)]
    named = query.get("host") or ([url.host] if url.host else [])
    for hosts in (named, query.get("hostaddr", [])):
        for number, host in enumerate(hosts):
            # SQLAlchemy also knows host=name:port.
            name, _, port = host.rpartition(":") if host.count(":") == 1 else (host, "", "")
            if not name.startswith("/"):
                yield name, int(port or ports[min(number, len(ports) - 1)] or _POSTGRES_PORT)


def _listed(value: str | tuple[str, ...]) -> list[str]:
    return value.split(",") if isinstance(value, str) else list(value)


def _broker(url: str) -> Iterator[tuple[str, int]]:
    try:
        options = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        return
    if "path" not in options:
        yield options.get("host", "localhost"), options.get("port", 6379)
