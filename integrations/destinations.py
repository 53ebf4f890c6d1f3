"""Where requests to our own company's servers may go: the one address that no policy can state.

A policy names the hosts of every other recipient. Its own company's servers are named at
deployment (``ZJJ_WEBHOOK_HOSTS``), and whoever registers an address can only choose among them, so
that no request is sent to where somebody would like to look (server-side request forgery).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from integrations.detectors import detect
from models.errors import ConfigurationError, InvalidValue

__all__ = ["Destination", "OwnHosts", "is_loopback"]

_NAME = r"(?=.{1,253}(?::|$))(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
_HOST = re.compile(rf"{_NAME}(?::[1-9][0-9]{{0,4}})?", re.ASCII)
_LOOPBACK = re.compile(r"(?P<name>127\.0\.0\.1|localhost|\[::1\]):[1-9][0-9]{0,4}", re.ASCII)
_URL = re.compile(r"(?P<scheme>https?)://(?P<host>[^/?#@\\]+)(?P<path>/.*)?", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9/_.-]*", re.ASCII)
_LONGEST_PATH = 200
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Destination:
    """Where one request goes; over HTTPS, but on loopback, where nobody listens in."""

    host: str
    """As in the ``Host`` header: with a port, unless it is the usual one."""
    path: str


def is_loopback(name: str) -> bool:
    """Whether a host name or an address is this machine itself."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


class OwnHosts:
    """The hosts of our own company that this deployment may reach.

    Args:
        allowed: Names, each with a port if it is not 443: ``shop.example.com``,
            ``hooks.example.com:8443``.
        private: More of them, which may also live at private addresses, as in a VPC.
        production: Whether loopback is out of the question.

    Raises:
        ConfigurationError: One of them is no such name.
    """

    def __init__(
        self,
        allowed: Collection[str] = (),
        *,
        private: Collection[str] = (),
        production: bool = True,
    ) -> None:
        self.private = _checked("ZJJ_WEBHOOK_PRIVATE_HOSTS", private)
        self.hosts = _checked("ZJJ_WEBHOOK_HOSTS", allowed) | self.private
        self._production = production

    @property
    def guarded(self) -> frozenset[str]:
        """The hosts that must live at public addresses, whatever the name service says.

        Or at private ones, for those of ``private``; never at any other.
        """
        return self.hosts if self._production else frozenset()

    def allows(self, destination: Destination) -> bool:
        """Whether a request may go there."""
        return _path_is_plain(destination.path) and (
            destination.host in self.hosts
            or (
                not self._production
                and _LOOPBACK.fullmatch(destination.host) is not None
                and _port_is_possible(destination.host)
            )
        )

    def read(self, url: str) -> Destination:
        """An address as somebody writes it, if it is one to send to.

        Raises:
            InvalidValue: It is not; the message says why and repeats nothing of it.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise InvalidValue("the URL must be https://host/path, without a user name")
        path = match["path"] or "/"
        if not _path_is_plain(path):
            raise InvalidValue(
                "the URL's path must be at most 200 letters, digits, '/', '_', '.' and '-', "
                "not go back, and not look like personal data; a query has no place in it"
            )
        local = _LOOPBACK.fullmatch(match["host"]) is not None
        if local is (match["scheme"] == "https"):
            raise InvalidValue("the URL must begin with https://, and on loopback with http://")
        destination = Destination(match["host"].removesuffix(":443"), path)
        if not self.allows(destination):
            raise InvalidValue("the URL's host is not one of ZJJ_WEBHOOK_HOSTS")
        return destination


def _checked(setting: str, hosts: Collection[str]) -> frozenset[str]:
    for number, host in enumerate(hosts, start=1):
        if not _HOST.fullmatch(host) or not _port_is_possible(host):
            raise ConfigurationError(
                f"{setting}: entry {number} must be a host name in lower case, "
                "with :port if that is not 443"
            )
    return frozenset(host.removesuffix(":443") for host in hosts)


def _path_is_plain(path: str) -> bool:
    return (
        _PATH.fullmatch(path) is not None
        and len(path) <= _LONGEST_PATH
        and not {".", ".."} & {*path.split("/")}
        and detect(path) is None
    )


def _port_is_possible(host: str) -> bool:
    port = host.rpartition(":")[2]
    return not port.isdigit() or int(port) <= _HIGHEST_PORT
