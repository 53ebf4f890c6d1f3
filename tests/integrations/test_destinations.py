"""An address is chosen among the hosts that the deployment names; no other can be registered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.destinations import Destination, OwnHosts, is_loopback
from models.errors import ConfigurationError, InvalidValue

LIVE = OwnHosts(["shop.example.com", "hooks.example.com:8443", "usual.example.com:443"])
HERE = OwnHosts(["shop.example.com"], production=False)


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://shop.example.com/zjj/hook", "shop.example.com", "/zjj/hook"),
        ("https://shop.example.com", "shop.example.com", "/"),
        ("https://shop.example.com:443/a.b-c_d", "shop.example.com", "/a.b-c_d"),
        ("https://usual.example.com/", "usual.example.com", "/"),
        ("https://hooks.example.com:8443/x", "hooks.example.com:8443", "/x"),
        ("https://shop.example.com/" + "a" * 199, "shop.example.com", "/" + "a" * 199),
    ],
)
def test_a_listed_host_is_taken(url: str, host: str, path: str) -> None:
    destination = LIVE.read(url)
    assert destination == Destination(host, path)
    assert LIVE.allows(destination)


REFUSED = [
    "http://shop.example.com/hook",
    "https://evil.example.com/hook",
    "https://shop.example.com.evil.com/hook",
    "https://evil.com/shop.example.com",
    "https://shop.example.com:8443/hook",
    "https://hooks.example.com/hook",
    "https://hooks.example.com:84430/hook",
    "https://user@shop.example.com/hook",
    "https://user:pass@shop.example.com/hook",
    "https://shop.example.com@evil.com/hook",
    "https://shop.example.com\\@evil.com/hook",
    "https://shop.example.com/hook?phone=1",
    "https://shop.example.com/hook#a",
    "https://shop.example.com/../hook",
    "https://shop.example.com/a/./b",
    "https://shop.example.com/%2e%2e/",
    "https://shop.example.com/" + "a" * 200,
    "http://127.0.0.1:65536/",
    "https://shop.example.com/16400001234",
    "https://shop.example.com/\n",
    "https://shop.example.com ",
    "https://SHOP.example.com/",
    "https://shop.example.com./",
    "https://127.0.0.1/",
    "https://127.0.0.1:8443/",
    "https://[::1]:8443/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://169.254.169.254/latest/meta-data",
    "https://localhost/",
    "ftp://shop.example.com/",
    "//shop.example.com/",
    "shop.example.com",
    "",
]


@pytest.mark.parametrize("url", [*REFUSED, "http://127.0.0.1:8000/hook", "http://localhost:80/"])
def test_nothing_else_is_and_the_refusal_does_not_repeat_it(url: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        LIVE.read(url)
    assert "evil" not in refused.value.message
    assert "1640" not in refused.value.message


@pytest.mark.parametrize("url", REFUSED)
def test_development_takes_no_more_of_these(url: str) -> None:
    with pytest.raises(InvalidValue):
        HERE.read(url)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:3000", "[::1]:9"])
def test_development_may_send_to_this_machine_in_plain_http(host: str) -> None:
    destination = HERE.read(f"http://{host}/hook")
    assert destination == Destination(host, "/hook")
    assert HERE.allows(destination)
    assert not LIVE.allows(destination)
    with pytest.raises(InvalidValue):
        HERE.read(f"https://{host}/hook")


@pytest.mark.parametrize("host", ["127.0.0.2:80", "127.0.0.1", "127.0.0.1:99999", "0.0.0.0:80"])
def test_it_is_no_other_spelling_of_this_machine(host: str) -> None:
    with pytest.raises(InvalidValue):
        HERE.read(f"http://{host}/hook")


def test_only_production_guards_where_its_hosts_live() -> None:
    assert LIVE.guarded == {"shop.example.com", "hooks.example.com:8443", "usual.example.com"}
    assert HERE.guarded == frozenset()


def test_a_private_host_is_allowed_and_guarded_too() -> None:
    hosts = OwnHosts(["shop.example.com"], private=["hooks.internal.example.com"])
    assert hosts.guarded == {"shop.example.com", "hooks.internal.example.com"}
    assert hosts.private == {"hooks.internal.example.com"}
    assert hosts.read("https://hooks.internal.example.com/zjj").path == "/zjj"
    for url in ("http://hooks.internal.example.com/zjj", "https://10.0.0.1/zjj"):
        with pytest.raises(InvalidValue):
            hosts.read(url)
    with pytest.raises(ConfigurationError, match="ZJJ_WEBHOOK_PRIVATE_HOSTS: entry 1"):
        OwnHosts(private=["10.0.0.1"])


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "127.0.0.1",
        "10.0.0.1:80",
        "*.example.com",
        "https://a.example.com",
        "Shop.example.com",
        "a.example.com:0",
        "a.example.com:99999",
        "a_b.example.com",
        "a..com",
    ],
)
def test_what_is_no_host_cannot_be_listed(host: str) -> None:
    with pytest.raises(ConfigurationError, match="ZJJ_WEBHOOK_HOSTS: entry 2"):
        OwnHosts(["shop.example.com", host])


@given(st.text(max_size=80), st.sampled_from([LIVE, HERE]))
def test_whatever_is_written_it_is_refused_or_leads_to_a_listed_host(
    text: str, hosts: OwnHosts
) -> None:
    for url in (text, f"https://{text}", f"https://shop.example.com{text}"):
        try:
            destination = hosts.read(url)
        except InvalidValue:
            continue
        assert hosts.allows(destination)
        assert destination.host in hosts.hosts or hosts is HERE


@pytest.mark.parametrize(
    ("name", "here"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("10.0.0.1", False), ("a.cn", False)],
)
def test_loopback_is_told_by_name_and_address(name: str, here: bool) -> None:
    assert is_loopback(name) is here


def test_the_highest_port_is_the_last_one() -> None:
    assert HERE.allows(Destination("127.0.0.1:65535", "/"))
    assert not HERE.allows(Destination("127.0.0.1:65536", "/"))
    OwnHosts(["shop.example.com:65535"])
    with pytest.raises(ConfigurationError):
        OwnHosts(["shop.example.com:65536"])
