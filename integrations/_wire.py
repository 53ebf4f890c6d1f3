"""The last metre: the only code that holds an HTTP client.

The client is httpx's transport without httpx's client on top. That client keeps cookies, follows
the environment's proxies, adds headers and logs URLs; none of it may happen here. Each thread has
a connection pool of its own, because one shared by 128 threads costs six times as much per call;
all share one TLS context.

Whether bytes have left decides between two outcomes:

* :class:`Unsent` while the connection is being made: name lookup, TCP, TLS handshake. Those are
  tried again a few times, within seconds.
* :class:`Lost` for everything after: the request may have been read and acted upon.

A kept connection that the server closes at the very moment of writing looks like the second and
cannot be proven to be the first. It is made rare instead: httpcore looks whether the idle socket
has become readable (closed by the other side) before it uses it again, and connections are
dropped after ``KEEPALIVE`` idle seconds, well before servers usually drop them.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from integrations.admission import Admitted
from integrations.destinations import is_loopback
from integrations.egress_guard import passage
from integrations.public_addresses import Resolver, look_up, public_addresses
from models.errors import ConfigurationError, DeniedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["KEEPALIVE", "LARGEST_REPLY", "Answer", "Lost", "Timeouts", "Unsent", "Wire"]

KEEPALIVE = 8.0
"""Seconds that an idle connection is kept."""
LARGEST_REPLY = 256 * 1024
"""Bytes of a body; no operation's reply comes near."""


class Unsent(Exception):
    """No connection stood, so nothing has left."""


class Lost(Exception):
    """Bytes may have left and no whole answer came.

    Args:
        status: The HTTP status, if that much came.
    """

    def __init__(self, status: int | None = None) -> None:
        super().__init__()
        self.status = status


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; all of them well below what a worker may be silent."""

    connect: float = 3.0
    """One attempt at a connection, TLS handshake included in each of its steps."""
    reconnect: float = 6.0
    """Within this, and at most three times more, a connection is attempted again."""
    answer: float = 10.0
    """Each wait for a part of the answer, and all of its body."""


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A whole answer, unread."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Origins(dict[str, httpx.URL]):
    """Where to reach a host: at its dialled address, else under its own name over HTTPS.

    Loopback, which only development may name, speaks plain HTTP.
    """

    def __missing__(self, host: str) -> httpx.URL:
        origin = httpx.URL(f"https://{host}")
        if is_loopback(origin.host):
            origin = origin.copy_with(scheme="http")
        self[host] = origin
        return origin


class PublicOnly(httpx.BaseTransport):
    """Connects to guarded hosts at public addresses only; TLS still proves the host's name.

    Args:
        inner: The transport that sends.
        guarded: Names of hosts.
        resolve: Looks a name up.
        private: Names of those of them that may live at private addresses as well.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport,
        guarded: Collection[str],
        resolve: Resolver,
        private: Collection[str] = (),
    ) -> None:
        self._inner = inner
        self._guarded = guarded
        self._private = private
        self._resolve = resolve

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, to an address of now.

        Raises:
            httpx.ConnectError: The name leads nowhere, or nobody answers there.
            DeniedError: It leads to an address that is not public.
        """
        url = request.url
        if url.host not in self._guarded:
            return self._inner.handle_request(request)
        port = url.port or 443
        try:
            addresses = public_addresses(
                url.host, port, self._resolve, private=url.host in self._private
            )
        except OSError:
            addresses = []
        failure: httpx.TransportError = httpx.ConnectError("the name leads nowhere")
        for address in addresses:
            request.url = url.copy_with(host=address)
            try:
                with passage(address, port):
                    return self._inner.handle_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    def close(self) -> None:
        """Drop all connections."""
        self._inner.close()


class AdmittedOnly(httpx.BaseTransport):
    """Refuses every request but an admitted one, compared byte for byte.

    Args:
        inner: The transport that sends.
        origins: Where requests to each host must go.
    """

    def __init__(self, inner: httpx.BaseTransport, origins: Origins) -> None:
        self._inner = inner
        self._origins = origins

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it.

        Raises:
            DeniedError: The request is not the admitted one that it claims to be.
        """
        admitted = request.extensions.get("admitted")
        if type(admitted) is not Admitted or not self._is(request, admitted):
            raise DeniedError("the transport was handed a request that was not admitted")
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Drop all connections."""
        self._inner.close()

    def _is(self, request: httpx.Request, admitted: Admitted) -> bool:
        final = admitted.request
        origin = self._origins[final.host]
        return (
            request.method == final.method
            and (request.url.scheme, request.url.host, request.url.port)
            == (origin.scheme, origin.host, origin.port)
            and request.url.raw_path == final.target
            and tuple(request.headers.raw) == final.headers
            and request.read() == final.body
        )


class Wire:
    """Sends admitted requests.

    Args:
        dial: Host to loopback address, such as ``http://127.0.0.1:8123``, for the sandbox. URL,
            ``Host`` and signature stay those of the real host.
        timeouts: See there.
        tls: For tests; the default verifies against the roots that httpx brings.
        guarded: Hosts, with their ports, that must live at public addresses.
        private: Those of them that may live at private addresses as well.
        resolve: Looks up the names of these.

    Raises:
        ConfigurationError: A dialled address is not on loopback.
    """

    def __init__(
        self,
        *,
        dial: Mapping[str, str],
        timeouts: Timeouts,
        tls: ssl.SSLContext | None = None,
        guarded: Collection[str] = (),
        private: Collection[str] = (),
        resolve: Resolver = look_up,
    ) -> None:
        self._origins = Origins((host, _loopback(address)) for host, address in dial.items())
        self._timeouts = timeouts
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._guarded = frozenset(_name(host) for host in guarded if host not in dial)
        self._private = frozenset(_name(host) for host in private)
        self._resolve = resolve
        self._thread = threading.local()
        self._transports: list[tuple[threading.Thread, AdmittedOnly]] = []
        self._lock = threading.Lock()
        self._patiently = Retrying(
            retry=retry_if_exception_type(Unsent),
            stop=stop_after_attempt(3) | stop_after_delay(timeouts.reconnect),
            wait=wait_random_exponential(multiplier=0.1, max=1),
            reraise=True,
        )

    def send(
        self, admitted: Admitted, deadline: float = math.inf, largest: int = LARGEST_REPLY
    ) -> Answer:
        """Send a request and read the whole answer.

        Args:
            admitted: The request.
            deadline: On the monotonic clock; no attempt is begun after it.
            largest: Bytes of a body; a larger one is lost.

        Raises:
            Unsent: No connection stood, after a few attempts or until the deadline.
            Lost: Bytes may have left and no whole answer came.
            DeniedError: The request is not what was admitted.
        """
        try:
            return self._attempt(admitted, deadline, largest)
        except Unsent:
            pass
        return self._patiently(self._attempt, admitted, deadline, largest)

    def close(self) -> None:
        """Drop the connections of all threads."""
        with self._lock:
            transports, self._transports = self._transports, []
        for _, transport in transports:
            transport.close()
        self._thread = threading.local()

    def _attempt(self, admitted: Admitted, deadline: float, largest: int) -> Answer:
        if time.monotonic() >= deadline:
            raise Unsent
        # Raised outside of the handler, so that httpx's exception, which holds the request, is
        # not even this one's context.
        failure: Unsent | Lost
        try:
            return self._exchange(admitted, largest)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            failure = Unsent()
        except httpx.HTTPError:
            failure = Lost()
        raise failure

    def _exchange(self, admitted: Admitted, largest: int) -> Answer:
        final = admitted.request
        origin = self._origins[final.host]
        patience = self._timeouts
        request = httpx.Request(
            final.method,
            origin.copy_with(raw_path=final.target),
            headers=list(final.headers),
            content=final.body,
            extensions={
                "admitted": admitted,
                "sni_hostname": _name(final.host),
                "timeout": {
                    "connect": patience.connect,
                    "pool": patience.connect,
                    "write": patience.answer,
                    "read": patience.answer,
                },
            },
        )
        port = origin.port or (443 if origin.scheme == "https" else 80)
        with passage(origin.host, port):
            response = self._transport().handle_request(request)
        try:
            return self._read(response, time.monotonic() + patience.answer, largest)
        finally:
            response.close()

    def _read(self, response: httpx.Response, deadline: float, largest: int) -> Answer:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > largest or time.monotonic() > deadline:
                raise Lost(response.status_code)
        return Answer(response.status_code, response.headers, bytes(body))

    def _transport(self) -> AdmittedOnly:
        transport: AdmittedOnly | None = getattr(self._thread, "transport", None)
        if transport is None:
            inner = httpx.HTTPTransport(
                verify=self._tls,
                trust_env=False,
                limits=httpx.Limits(
                    max_connections=8, max_keepalive_connections=4, keepalive_expiry=KEEPALIVE
                ),
            )
            public = PublicOnly(inner, self._guarded, self._resolve, self._private)
            transport = self._thread.transport = AdmittedOnly(public, self._origins)
            with self._lock:
                dead = [pair for pair in self._transports if not pair[0].is_alive()]
                self._transports = [pair for pair in self._transports if pair not in dead]
                self._transports.append((threading.current_thread(), transport))
            for _, abandoned in dead:
                abandoned.close()
        return transport


def _name(host: str) -> str:
    """A host without its port."""
    return httpx.URL(f"https://{host}").host


def _loopback(address: str) -> httpx.URL:
    parts = urlsplit(address)
    try:
        on_loopback = ip_address(parts.hostname or "").is_loopback
    except ValueError:
        on_loopback = False
    if not on_loopback or parts.scheme not in {"http", "https"} or parts.path not in {"", "/"}:
        raise ConfigurationError("a dialled address must be http(s)://127.0.0.1:PORT or [::1]")
    return httpx.URL(address)
