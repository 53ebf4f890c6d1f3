"""Names that must lead to public addresses, looked up at the moment of connecting.

A name that somebody else controls may point at an internal machine, also from one look-up to the
next (DNS rebinding). So the addresses are judged and one of exactly these is connected to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

from models.errors import DeniedError

__all__ = ["Resolver", "is_public", "look_up", "public_addresses"]

Resolver = Callable[[str, int], list[str]]
"""Addresses of a name.

Raises:
    OSError: It has none.
"""

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""RFC 6052, RFC 8215: an IPv4 address in disguise."""


def look_up(name: str, port: int) -> list[str]:
    """What the machine's resolver says."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether an address is on the public internet, and not an IPv4 address in disguise."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address) and (
        parsed.ipv4_mapped
        or parsed.sixtofour
        or parsed.teredo
        or any(parsed in network for network in _NAT64)
    ):
        return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved)


def public_addresses(name: str, port: int, resolve: Resolver = look_up) -> list[str]:
    """Where ``name`` lives.

    Raises:
        OSError: Nowhere.
        DeniedError: One of its addresses is not public.
    """
    addresses = resolve(name, port)
    if not all(is_public(address) for address in addresses):
        raise DeniedError("the host's name leads to an address that is not public")
    return addresses
