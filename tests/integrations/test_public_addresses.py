"""A name that leads inside leads nowhere, whatever it led to a moment ago."""

from __future__ import annotations

import httpx
import pytest

from integrations._wire import PublicOnly, Timeouts, Unsent, Wire
from integrations.policy import Policy
from integrations.public_addresses import is_public, look_up, public_addresses
from models.errors import DeniedError
from tests.integrations.gate.parts import admitted_callback
from tests.integrations.recording_server import RecordingServer

PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]


@pytest.mark.parametrize("address", PUBLIC)
def test_what_everybody_can_reach_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:93.184.216.34",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2002:0a00:0001::",
        "2001:0:0a00::1",
        "2001:db8::1",
        "4000::1",
    ],
)
def test_what_lies_inside_or_hides_another_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1", "192.168.1.1", "fd00::1"])
def test_a_host_that_is_said_to_be_private_may_live_inside(address: str) -> None:
    inner = _Inner()
    names = {"shop.example.com"}
    PublicOnly(inner, names, lambda *_: [address], names).handle_request(_request())
    assert inner.seen == [(address, "shop.example.com")]
    with pytest.raises(DeniedError):
        PublicOnly(inner, names, lambda *_: [address]).handle_request(_request())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "224.0.0.1",
    ],
)
def test_even_a_private_host_is_no_cloud_service_and_not_this_machine(address: str) -> None:
    with pytest.raises(DeniedError):
        public_addresses("shop.example.com", 443, lambda *_: [address], private=True)


def test_one_address_inside_spoils_the_name() -> None:
    with pytest.raises(DeniedError):
        public_addresses("shop.example.com", 443, lambda *_: [*PUBLIC, "10.0.0.1"])
    assert public_addresses("shop.example.com", 443, lambda *_: PUBLIC) == PUBLIC


def test_the_machines_own_resolver_is_asked() -> None:
    assert "127.0.0.1" in look_up("localhost", 443)
    with pytest.raises(DeniedError):
        public_addresses("localhost", 443)


class _Inner(httpx.BaseTransport):
    """Notes where it would connect; the first ``refuse`` connections fail."""

    def __init__(
        self, refuse: int = 0, failure: type[httpx.TransportError] = httpx.ConnectError
    ) -> None:
        self.seen: list[tuple[str, str]] = []
        self._refuse = refuse
        self._failure = failure

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.url.host, request.headers["host"]))
        if len(self.seen) <= self._refuse:
            raise self._failure("nobody there")
        return httpx.Response(204)


def _request() -> httpx.Request:
    return httpx.Request("POST", "https://shop.example.com/hook", content=b"{}")


def test_the_address_that_was_judged_is_the_one_that_is_connected_to() -> None:
    inner = _Inner()
    transport = PublicOnly(inner, {"shop.example.com"}, lambda *_: PUBLIC)
    transport.handle_request(_request())
    assert inner.seen == [(PUBLIC[0], "shop.example.com")]


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ConnectTimeout])
def test_the_next_address_is_tried_where_the_first_does_not_answer(
    failure: type[httpx.TransportError],
) -> None:
    inner = _Inner(1, failure)
    PublicOnly(inner, {"shop.example.com"}, lambda *_: PUBLIC).handle_request(_request())
    assert [address.strip("[]") for address, _ in inner.seen] == PUBLIC


def test_once_bytes_may_have_left_no_other_address_is_tried() -> None:
    inner = _Inner(1, httpx.ReadTimeout)
    with pytest.raises(httpx.ReadTimeout):
        PublicOnly(inner, {"shop.example.com"}, lambda *_: PUBLIC).handle_request(_request())
    assert [address for address, _ in inner.seen] == PUBLIC[:1]


def test_a_name_that_turns_inward_between_two_requests_is_refused() -> None:
    inner, answers = _Inner(), iter([PUBLIC, ["127.0.0.1"]])
    transport = PublicOnly(inner, {"shop.example.com"}, lambda *_: next(answers))
    transport.handle_request(_request())
    with pytest.raises(DeniedError):
        transport.handle_request(_request())
    assert len(inner.seen) == 1


def test_a_name_that_leads_nowhere_is_as_if_nobody_answered() -> None:
    def nowhere(_name: str, _port: int) -> list[str]:
        raise OSError

    def nothing(_name: str, _port: int) -> list[str]:
        return []

    for resolve in (nowhere, nothing):
        with pytest.raises(httpx.ConnectError):
            PublicOnly(_Inner(), {"shop.example.com"}, resolve).handle_request(_request())


def test_other_hosts_are_nothing_of_its_business() -> None:
    inner = _Inner()
    PublicOnly(inner, {"another.example.com"}, lambda *_: ["127.0.0.1"]).handle_request(_request())
    assert inner.seen == [("shop.example.com", "shop.example.com")]


@pytest.mark.parametrize(("address", "failure"), [("127.0.0.1", DeniedError), ("nowhere", Unsent)])
def test_over_a_real_socket_nothing_arrives(
    policy: Policy, address: str, failure: type[Exception]
) -> None:
    def resolve(_name: str, _port: int) -> list[str]:
        if address == "nowhere":
            raise OSError
        return [address]

    with RecordingServer() as server:
        host = f"backend.example.com:{server.port}"
        wire = Wire(
            dial={},
            timeouts=Timeouts(connect=0.3, reconnect=0.1, answer=0.3),
            guarded={host},
            resolve=resolve,
        )
        with pytest.raises(failure):
            wire.send(admitted_callback(policy, host))
        wire.close()
        assert server.connections == 0
