"""A lock on the process: no Python socket reaches the network around the gate.

The import rules say that only ``integrations/_wire.py`` may use an HTTP client. This is the same
rule at run time, for every library in the process: an audit hook (PEP 578) sees each connection,
datagram and name lookup before it happens and refuses those that are neither on the list given at
start (database, broker) nor made by the gate for an admitted request. The machine's own names may
be looked up, as servers do when they bind. Other programs, which nobody would watch, are not
started. An audit hook cannot be removed again.

Libraries that connect in C, such as libpq, raise no audit event; they connect to the database
only. Connections within the machine over unix sockets are none of its business.
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from models.errors import DeniedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["NotStarted", "install", "passage"]

_ADDRESSED = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_PROGRAMS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"}
)

_allowed: dict[tuple[str, int], set[str]] = {}
"""Addresses by host and port."""
_thread = threading.local()
_installed = threading.Lock()


class NotStarted(DeniedError, PermissionError):
    """A program was not started; libraries that would ask one do without, as where it is missing."""


def install(allowed: Iterable[tuple[str, int]]) -> None:
    """Lock the process; calling it again adds to the list.

    Args:
        allowed: Host and port of the database and the broker.
    """
    for host, port in allowed:
        _allowed.setdefault((host, port), {host})
    if _installed.acquire(blocking=False):
        sys.addaudithook(_judge)


@contextmanager
def passage(host: str, port: int) -> Iterator[None]:
    """Let this thread, and no other, look up ``host`` and connect to ``port`` meanwhile.

    Only the gate's transport calls this, for a request that has been admitted.
    """
    before = getattr(_thread, "passage", None)
    _thread.passage = (host, port, _address(host) is not None)
    try:
        yield
    finally:
        _thread.passage = before


def _judge(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _ADDRESSED:
        endpoint, address = arguments
        if endpoint.family != socket.AF_UNIX and address is not None:
            _judge_address(address)
    elif event in _LOOKUPS:
        _judge_name(arguments[0])
    elif event == "socket.getnameinfo":
        _judge_name(arguments[0][0])
    elif event in _PROGRAMS:
        raise NotStarted("a program that nobody watches was not started")


def _judge_address(address: object) -> None:
    host, port = address[:2] if isinstance(address, tuple) else (None, None)
    passage = getattr(_thread, "passage", None)
    if passage is not None:
        name, number, is_address = passage
        if port == number and (host == name or not is_address):
            return
    for (name, number), addresses in _allowed.items():
        if port == number:
            if host not in addresses:
                addresses.update(_resolve(name, number))
            if host in addresses:
                return
    raise DeniedError("a connection around the gate was refused")


def _judge_name(host: object) -> None:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    passage = getattr(_thread, "passage", None)
    if (
        (passage is not None and name == passage[0])
        or any(name == allowed for allowed, _ in _allowed)
        or _is_here(name)
    ):
        return
    raise DeniedError("a name lookup around the gate was refused")


def _is_here(name: object) -> bool:
    """Whether ``name`` is this machine's own, or an address that needs no lookup to be used."""
    if name in {None, "", "localhost", socket.gethostname()}:
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _address(name: object) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(str(name))
    except ValueError:
        return None


def _resolve(host: str, port: int) -> set[str]:
    """Where ``host`` lives now; it may have moved since the start."""
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        return set()
