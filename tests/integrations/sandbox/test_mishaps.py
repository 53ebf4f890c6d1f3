from __future__ import annotations

import socket
import time
from typing import Any

import httpx
import pytest

from integrations.sandbox.server import SandboxServer
from tests.integrations.sandbox.calling import Caller, a_text

JOB = "a" * 32


def send(caller: Caller, *, timeout: float = 5, number: int = 0) -> httpx.Response:
    fields = a_text(OutId=JOB, PhoneNumbers=f"1640000{number:04}")
    return caller.call("SendSms", fields, timeout=timeout)


def test_a_hanging_reply_comes_too_late_and_the_text_is_sent(caller: Caller) -> None:
    caller.fault(kind="hang", seconds=30, times=1)
    with pytest.raises(httpx.ReadTimeout):
        send(caller, timeout=0.2)
    assert caller.seen(JOB) == (1, 1)


def test_a_hanging_reply_comes_to_those_who_wait(caller: Caller) -> None:
    caller.fault(kind="hang", seconds=0.1, times=1)
    assert send(caller).json()["Code"] == "OK"


def test_a_trickling_reply_outlasts_every_single_read(caller: Caller) -> None:
    caller.fault(kind="slow", seconds=0.6, times=1)
    before = time.monotonic()
    assert send(caller, timeout=0.3).json()["Code"] == "OK"
    assert time.monotonic() - before > 0.5


@pytest.mark.parametrize("kind", ["reset", "drop"])
def test_a_reset_breaks_the_connection_and_the_text_is_sent(caller: Caller, kind: str) -> None:
    caller.fault(kind=kind, times=1)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        send(caller)
    assert caller.seen(JOB) == (1, 1)
    assert send(caller, number=1).json()["Code"] == "OK"


@pytest.mark.parametrize("kind", ["reset", "drop"])
def test_a_reset_is_one_of_tcp_and_no_orderly_end(
    caller: Caller, server: SandboxServer, kind: str
) -> None:
    caller.fault(kind=kind, times=1)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: dysmsapi.aliyuncs.com\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            read_to_the_end(connection)


def read_to_the_end(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def test_a_broken_proxy_answers_for_the_provider(caller: Caller) -> None:
    caller.fault(kind="status", status=502, times=1)
    reply = send(caller)
    assert reply.status_code == 502
    assert reply.headers["content-type"] == "text/html"


def test_garbage_is_no_json(caller: Caller) -> None:
    caller.fault(kind="garbage", times=1)
    reply = send(caller)
    assert reply.status_code == 200
    with pytest.raises(ValueError, match="decode"):
        reply.json()


@pytest.mark.parametrize("kind", ["hang", "reset", "drop", "status", "garbage"])
def test_a_mishap_can_come_before_the_text_is_sent(caller: Caller, kind: str) -> None:
    caller.fault(kind=kind, seconds=0.05, times=1, processed=False)
    try:
        reply = send(caller)
    except httpx.TransportError:
        pass
    else:
        assert reply.status_code in {200, 503}
        assert b'"Code":"OK","Message"' not in reply.content
    assert caller.seen(JOB) == (1, 0)


@pytest.mark.parametrize(
    ("fault", "status", "header"),
    [
        ({"code": "isv.AMOUNT_NOT_ENOUGH"}, 200, None),
        ({"code": "isp.SYSTEM_ERROR"}, 200, None),
        ({"code": "Throttling.User", "retry_after": 2000}, 400, "2000"),
        ({"code": "InternalError", "status": 500}, 500, None),
    ],
)
def test_any_code_of_the_provider_can_be_played(
    caller: Caller, fault: dict[str, Any], status: int, header: str | None
) -> None:
    caller.fault(kind="code", times=1, **fault)
    reply = send(caller)
    assert (reply.status_code, reply.json()["Code"]) == (status, fault["code"])
    assert reply.headers.get("x-acs-retry-after") == header
    assert caller.seen(JOB) == (1, 0)


def test_a_mishap_ends_after_its_times(caller: Caller) -> None:
    caller.fault(kind="code", code="isp.SYSTEM_ERROR", times=2)
    codes = [send(caller, number=n).json()["Code"] for n in range(4)]
    assert codes == ["isp.SYSTEM_ERROR", "isp.SYSTEM_ERROR", "OK", "OK"]
    assert caller.http.get("/_sandbox/faults").json() == []


def test_a_mishap_without_times_lasts_until_it_is_called_off(caller: Caller) -> None:
    caller.fault(kind="code", code="isp.SYSTEM_ERROR")
    assert {send(caller, number=n).json()["Code"] for n in range(5)} == {"isp.SYSTEM_ERROR"}
    assert len(caller.http.get("/_sandbox/faults").json()) == 1
    assert caller.http.delete("/_sandbox/faults").status_code == 204
    assert send(caller).json()["Code"] == "OK"


def test_a_share_of_requests_is_hit_and_the_seed_says_which(
    caller: Caller, server: SandboxServer
) -> None:
    def hits() -> list[bool]:
        server.sandbox.reset()
        caller.fault(kind="code", code="isp.SYSTEM_ERROR", percent=30, seed=7)
        return [send(caller, number=n).json()["Code"] != "OK" for n in range(100)]

    first = hits()
    assert first == hits()
    assert 15 <= sum(first) <= 45


def test_a_mishap_can_be_for_one_operation_alone(caller: Caller) -> None:
    caller.fault(kind="code", code="isp.SYSTEM_ERROR", action="QuerySendDetails")
    assert send(caller).json()["Code"] == "OK"


def test_a_text_can_be_accepted_and_never_arrive(caller: Caller, server: SandboxServer) -> None:
    caller.fault(kind="undelivered", code="MOBILE_NOT_ON_SERVICE", times=1)
    assert send(caller).json()["Code"] == "OK"
    (message,) = server.sandbox.aliyun_sms._messages["16400000000"]
    detail = server.sandbox.aliyun_sms._detail(message)
    assert (detail["SendStatus"], detail["ErrCode"]) == (2, "MOBILE_NOT_ON_SERVICE")


def test_every_reply_waits_for_the_latency(caller: Caller) -> None:
    caller.http.patch("/_sandbox/settings", json={"latency_ms": 50})
    before = time.monotonic()
    send(caller)
    assert time.monotonic() - before >= 0.05
