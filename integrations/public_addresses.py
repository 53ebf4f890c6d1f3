"""Names that must lead to public addresses, looked up at the moment of connecting.

A name that somebody else controls may point at an internal machine, also from one look-up to the
next (DNS rebinding). So the addresses are judged and one of exactly these is connected to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from models.errors import DeniedError

__all__ = ["Resolver", "is_private", "is_public", "look_up", "public_addresses"]

Resolver = Callable[[str, int], list[str]]
"""Addresses of a name.

Raises:
    OSError: It has none.
"""

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""RFC 6052, RFC 8215: an IPv4 address in disguise."""

_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_PRIVATE_6 = IPv6Network("fc00::/7")
"""RFC 1918, RFC 4193. A cloud's own services (169.254/16, 100.64/10) are not among them."""


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


def is_private(address: str) -> bool:
    """Whether an address is one that a company gives to its own machines."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        return parsed in _PRIVATE_6
    return any(parsed in network for network in _PRIVATE)


def public_addresses(
    name: str, port: int, resolve: Resolver = look_up, *, private: bool = False
) -> list[str]:
    """Where ``name`` lives.

    Args:
        private: Whether it may live at private addresses as well.

    Raises:
        OSError: Nowhere.
        DeniedError: One of its addresses is not public.
    """
    addresses = resolve(name, port)
    if not all(is_public(each) or (private and is_private(each)) for each in addresses):
        raise DeniedError("the host's name leads to an address that is not public")
    return addresses
