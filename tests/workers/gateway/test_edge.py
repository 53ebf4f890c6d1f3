"""What every request passes: the log line, the headers, and the last resort."""

from __future__ import annotations

import logging
import socket
from typing import Any

import httpx
import pytest

from models.errors import ConfigurationError
from models.identifiers import new_id
from tests.workers.gateway.serving import Gateway, requests_in

CODE = {"phone": "16400001234", "code": "246810", "scene": "register"}


def raw(gateway: Gateway, request: bytes) -> bytes:
    """Send bytes that no HTTP library would, and read the reply to its end."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_line_tells_what_happened_by_ids(lines: list[Any], http: httpx.Client) -> None:
    job_id = http.post("/v1/sms-codes", json=CODE, headers={"Idempotency-Key": new_id()}).json()[
        "id"
    ]
    http.get(f"/v1/jobs/{job_id}", params={"phone": "16400001234"})
    found = requests_in(lines, 2)
    assert all(line.pop("milliseconds") > 0 for line in found)
    common = {"event": "gateway.request", "log_level": "info", "backend": "shop", "job_id": job_id}
    assert found == [
        {**common, "method": "POST", "route": "/v1/sms-codes", "status": 202},
        {**common, "method": "GET", "route": "/v1/jobs/{job_id}", "status": 200},
    ]


def test_a_line_has_nothing_that_the_caller_typed(lines: list[Any], gateway: Gateway) -> None:
    secret = "16400001234"
    with gateway.http() as http:
        http.get(f"/{secret}/{secret}?{secret}", headers={secret: secret, "User-Agent": secret})
        http.get(f"/v1/jobs/{secret}")
        http.post("/v1/sms-codes", json={secret: secret}, headers={"Idempotency-Key": secret})
    raw(
        gateway,
        f"{secret} / HTTP/1.1\r\nHost: {secret}\r\nConnection: close\r\n\r\n".encode(),
    )
    found = requests_in(lines, 4)
    assert [line["route"] for line in found] == [
        "unmatched",
        "/v1/jobs/{job_id}",
        "/v1/sms-codes",
        "unmatched",
    ]
    assert found[-1]["method"] == "other"
    assert secret not in str(lines)


def test_the_server_keeps_no_access_log(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with gateway.http() as http:
        http.get("/16400001234")
    assert not [record for record in caplog.records if record.name == "uvicorn.access"]


def test_health_checks_do_not_fill_the_log(lines: list[Any], http: httpx.Client) -> None:
    http.get("/healthz")
    http.get("/readyz")
    assert [line["log_level"] for line in requests_in(lines, 2)] == ["debug", "debug"]


@pytest.mark.parametrize("error", [LookupError, ConfigurationError])
def test_our_own_fault_is_logged_without_its_words(
    lines: list[Any],
    gateway: Gateway,
    http: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: type[Exception],
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error("16400001234 has no home")

    monkeypatch.setattr(gateway.service, "_prepare", broken)
    reply = http.post("/v1/sms-codes", json=CODE, headers={"Idempotency-Key": new_id()})
    assert reply.status_code == 500
    assert reply.json() == {
        "type": "urn:problem-type:zjj:internal",
        "title": "A fault of the gateway",
        "status": 500,
        "detail": "The gateway failed; the fault is in its log.",
    }
    found = requests_in(lines, 2)
    assert [line["event"] for line in found] == ["gateway.failed", "gateway.request"]
    assert isinstance(found[0]["exc_info"], error)  # workers.logs keeps class and places
    assert "16400001234" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs/1", "/v1/sms-codes", "/x", "/openapi.json"])
def test_every_reply_is_kept_out_of_caches_and_tells_nothing_of_the_server(
    http: httpx.Client, path: str
) -> None:
    headers = http.get(path, headers={"Origin": "https://elsewhere.example"}).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers
    assert not any(name.startswith("access-control") for name in headers)


def test_a_browser_of_another_site_is_not_let_in(http: httpx.Client) -> None:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    reply = http.options("/v1/sms-codes", headers=headers)
    assert reply.status_code == 405
    assert not any(name.startswith("access-control") for name in reply.headers)


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/v1", "/v1/sms-codes/", "//healthz"])
def test_an_unknown_path_is_a_problem_not_a_redirect(http: httpx.Client, path: str) -> None:
    reply = http.get(path)
    assert (reply.status_code, reply.headers["Content-Type"]) == (404, "application/problem+json")
    assert reply.json() == {"type": "about:blank", "title": "Not Found", "status": 404}


def test_a_wrong_method_is_told_the_right_one(http: httpx.Client) -> None:
    reply = http.put("/v1/sms-codes")
    assert (reply.status_code, reply.headers["Allow"]) == (405, "POST")
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_headers_without_end_are_refused(gateway: Gateway) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nX: " + b"x" * 40_000
    assert raw(gateway, request).startswith(b"HTTP/1.1 400 ")


def test_a_caller_who_leaves_midway_is_no_fault(lines: list[Any], gateway: Gateway) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    head = (
        "POST /v1/sms-codes HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {gateway.api_key}\r\n"
        "Idempotency-Key: k\r\n\r\n{"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
    (line,) = requests_in(lines, 1)
    assert (line["event"], line["status"]) == ("gateway.request", 499)
