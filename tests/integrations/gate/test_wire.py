"""What leaves, and what is known when something goes wrong, over real sockets."""

from __future__ import annotations

import datetime as dt
import logging
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from integrations._wire import LARGEST_REPLY, AdmittedOnly, Origins, Timeouts, Unsent, Wire
from integrations.admission import Admitted, FinalRequest, admit
from integrations.gate import Gate, _assemble, _build, _opened, _text
from integrations.minimize import TRANSFORMS
from integrations.policy import Operation, Policy
from models.attempts import Attempt
from models.disclosures import Disclosure, SendResult
from models.errors import DeniedError, RetryError, UnknownOutcomeError
from tests.integrations.gate.parts import (
    CODE,
    CONFIGURED,
    HOST,
    NOW,
    PHONE,
    MemoryLedger,
    make_attempt,
    make_gate,
    sign,
)
from tests.integrations.recording_server import OK, RecordingServer, answer


def _send(gate: Gate, operation: Operation, attempt: Attempt) -> None:
    gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)


def _assert_clean(error: BaseException) -> None:
    """Neither text nor a chained exception repeats what was sent."""
    link: BaseException | None = error
    while link is not None:
        assert not isinstance(link, httpx.HTTPError | httpx.InvalidURL)
        assert not hasattr(link, "request")
        assert PHONE not in repr(link)
        assert CODE not in repr(link)
        link = link.__cause__ or link.__context__


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_a_refused_connection_is_provably_unsent(
    policy: Policy, operation: Operation, attempt: Attempt, ledger: MemoryLedger
) -> None:
    gate = make_gate(policy, ledger, f"http://127.0.0.1:{_closed_port()}")
    with pytest.raises(RetryError) as refused:
        _send(gate, operation, attempt)
    gate.close()

    assert refused.value.code == "provider.unreachable"
    _assert_clean(refused.value)
    assert [result.result for result in attempt.results] == [SendResult.UNSENT]
    assert attempt.results[0].disclosure_id == ledger.rows[0].id


def test_a_connection_is_tried_again_for_a_moment(
    policy: Policy, operation: Operation, attempt: Attempt, ledger: MemoryLedger
) -> None:
    server = RecordingServer()
    port = server.port
    gate = make_gate(
        policy,
        ledger,
        server.url,
        timeouts=Timeouts(connect=0.5, reconnect=5, answer=2),
    )
    server._listener.close()

    def come_back() -> None:
        time.sleep(0.02)
        server._listener = socket.create_server(("127.0.0.1", port))
        server.__enter__()

    returning = threading.Thread(target=come_back)
    returning.start()
    try:
        _send(gate, operation, attempt)
    finally:
        returning.join()
        gate.close()
        server.__exit__(None, None, None)

    assert len(server.requests) == 1
    assert len(ledger.rows) == 1
    assert [result.result for result in attempt.results] == [SendResult.ANSWERED]


def test_what_expires_while_it_is_recorded_is_not_sent(
    policy: Policy, operation: Operation, server: RecordingServer
) -> None:
    class Slow(MemoryLedger):
        def record(self, disclosure: Disclosure) -> None:
            time.sleep(0.1)
            super().record(disclosure)

    attempt = make_attempt(policy, expires_at=NOW + dt.timedelta(seconds=0.05))
    gate = make_gate(policy, Slow(), server.url)
    with pytest.raises(RetryError):
        _send(gate, operation, attempt)
    gate.close()

    assert server.connections == 0
    assert [result.result for result in attempt.results] == [SendResult.UNSENT]


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _hang_up_after(part: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(part)
        connection.shutdown(socket.SHUT_RDWR)

    return send


def _drip(connection: socket.socket) -> None:
    whole = answer(b" " * 8 + OK)
    connection.sendall(whole[: -len(OK) - 8])
    for _ in range(8):
        time.sleep(0.1)
        connection.sendall(b" ")
    connection.sendall(OK)


AFTER_BYTES_LEFT: dict[str, bytes | Callable[[socket.socket], None]] = {
    "silence": lambda _: time.sleep(0.8),
    "a reset": _reset,
    "a closed connection": _hang_up_after(b""),
    "half a head": _hang_up_after(b"HTTP/1.1 200 OK\r\nConte"),
    "half a body": _hang_up_after(answer()[:-20]),
    "a drip": _drip,
    "garbage": b"\x00\x01 not HTTP at all\r\n\r\n",
    "no JSON": answer(b"<html>OK</html>"),
    "an empty success": answer(b""),
    "a redirect": answer(b"", "302 Found", "Location: https://collector.example/\r\n"),
    "a flood": answer(OK + b" " * LARGEST_REPLY),
    "a compressed success": answer(b"\x1f\x8b\x08\x00", headers="Content-Encoding: gzip\r\n"),
}


@pytest.mark.parametrize("reply", AFTER_BYTES_LEFT)
def test_once_bytes_have_left_the_outcome_is_unknown(
    gate: Gate, operation: Operation, attempt: Attempt, server: RecordingServer, reply: str
) -> None:
    server.reply = AFTER_BYTES_LEFT[reply]
    with pytest.raises(UnknownOutcomeError) as unknown:
        _send(gate, operation, attempt)

    _assert_clean(unknown.value)
    assert [result.result for result in attempt.results] == [SendResult.UNKNOWN]
    assert len(server.requests) == 1, "it is never sent again"


def test_an_interrupt_in_mid_air_leaves_a_result(
    gate: Gate,
    operation: Operation,
    attempt: Attempt,
    server: RecordingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gate._wire, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _send(gate, operation, attempt)

    assert [result.result for result in attempt.results] == [SendResult.UNKNOWN]


def test_a_fault_of_our_own_in_mid_air_is_unknown_too(
    gate: Gate, operation: Operation, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError(PHONE)

    monkeypatch.setattr(gate._wire, "send", broken)
    with pytest.raises(UnknownOutcomeError, match="ValueError") as unknown:
        _send(gate, operation, attempt)

    _assert_clean(unknown.value)
    assert [result.result for result in attempt.results] == [SendResult.UNKNOWN]


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable"])
def test_an_error_status_is_an_answer(
    gate: Gate, operation: Operation, attempt: Attempt, server: RecordingServer, status: str
) -> None:
    server.reply = answer(b'{"Code":"ServiceUnavailable","RequestId":"R-1"}', status)
    reply = gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)

    assert (reply.status, reply.code) == (int(status[:3]), "ServiceUnavailable")
    assert attempt.results[0].result is SendResult.ANSWERED
    assert attempt.results[0].provider_code == "ServiceUnavailable"


def test_one_thread_keeps_one_connection(
    gate: Gate, operation: Operation, policy: Policy, server: RecordingServer
) -> None:
    for _ in range(5):
        _send(gate, operation, make_attempt(policy))

    assert (server.connections, len(server.requests)) == (1, 5)


def test_each_thread_has_its_own_connection_and_dead_threads_none(
    gate: Gate, operation: Operation, policy: Policy, server: RecordingServer
) -> None:
    for _ in range(3):
        thread = threading.Thread(target=_send, args=(gate, operation, make_attempt(policy)))
        thread.start()
        thread.join()

    assert (server.connections, len(server.requests)) == (3, 3)
    assert len(gate._wire._transports) == 1


def test_a_new_thread_leaves_the_others_their_connections(
    gate: Gate, operation: Operation, policy: Policy, server: RecordingServer
) -> None:
    _send(gate, operation, make_attempt(policy))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_send, gate, operation, make_attempt(policy)).result()
        _send(gate, operation, make_attempt(policy))

    assert (server.connections, len(server.requests)) == (2, 3)


def test_a_connection_that_the_server_dropped_meanwhile_is_not_used(
    gate: Gate, operation: Operation, policy: Policy, server: RecordingServer
) -> None:
    def answer_and_drop(connection: socket.socket) -> None:
        connection.sendall(answer())
        connection.shutdown(socket.SHUT_RDWR)

    server.reply = answer_and_drop
    for _ in range(3):
        _send(gate, operation, make_attempt(policy))
        time.sleep(0.05)

    assert (server.connections, len(server.requests)) == (3, 3)


def test_a_cookie_never_comes_back(
    gate: Gate, operation: Operation, policy: Policy, server: RecordingServer
) -> None:
    server.reply = answer(OK, headers="Set-Cookie: session=1\r\n")
    for _ in range(2):
        _send(gate, operation, make_attempt(policy))

    assert b"cookie" not in server.requests[1].lower()
    assert server.requests[0] == server.requests[1]


def test_a_proxy_in_the_environment_is_ignored(
    policy: Policy,
    operation: Operation,
    attempt: Attempt,
    ledger: MemoryLedger,
    server: RecordingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = f"http://127.0.0.1:{_closed_port()}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    gate = make_gate(policy, ledger, server.url)
    _send(gate, operation, attempt)
    gate.close()

    assert len(server.requests) == 1


def test_no_library_logs_what_is_sent(
    gate: Gate,
    operation: Operation,
    attempt: Attempt,
    server: RecordingServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    _send(gate, operation, attempt)

    text = " ".join(str(vars(record)) for record in caplog.records)
    assert PHONE not in text
    assert CODE not in text


def _admitted(operation: Operation, attempt: Attempt) -> Admitted:
    request = operation.minimize(attempt.held, CONFIGURED)
    texts = {
        name: _text(operation.fields[name], value, TRANSFORMS)
        for name, value in request.values.items()
    }
    unsigned = _build(operation, texts)
    return admit(operation, _assemble(unsigned, sign(unsigned)), list(_opened(attempt.held)), texts)


def _as_httpx(final: FinalRequest, url: str, **extensions: object) -> httpx.Request:
    return httpx.Request(
        final.method,
        url + final.target.decode(),
        headers=list(final.headers),
        content=final.body,
        extensions=extensions,
    )


@pytest.fixture
def transport(server: RecordingServer) -> Iterator[AdmittedOnly]:
    transport = AdmittedOnly(httpx.HTTPTransport(), Origins({HOST: httpx.URL(server.url)}))
    yield transport
    transport.close()


def test_the_transport_sends_what_was_admitted(
    transport: AdmittedOnly, operation: Operation, attempt: Attempt, server: RecordingServer
) -> None:
    admitted = _admitted(operation, attempt)
    response = transport.handle_request(_as_httpx(admitted.request, server.url, admitted=admitted))
    response.read()

    assert response.status_code == 200
    assert len(server.requests) == 1


def test_the_transport_sends_nothing_else(
    transport: AdmittedOnly, operation: Operation, attempt: Attempt, server: RecordingServer
) -> None:
    admitted = _admitted(operation, attempt)
    final = admitted.request
    others = [
        httpx.Request("GET", server.url),
        _as_httpx(final, server.url),
        _as_httpx(final, server.url, admitted=final),
        _as_httpx(final, server.url, admitted="yes"),
        _as_httpx(final, f"{server.url}/x", admitted=admitted),
        _as_httpx(final, f"{server.url}/?a=1", admitted=admitted),
        _as_httpx(final, server.url.replace("http:", "https:"), admitted=admitted),
        _as_httpx(final, f"http://127.0.0.1:{_closed_port()}", admitted=admitted),
        httpx.Request(
            "PUT",
            server.url,
            headers=list(final.headers),
            content=final.body,
            extensions={"admitted": admitted},
        ),
        httpx.Request(
            "POST",
            server.url,
            headers=[*final.headers, (b"cookie", b"a=b")],
            content=final.body,
            extensions={"admitted": admitted},
        ),
        httpx.Request(
            "POST",
            server.url,
            headers=list(final.headers),
            content=final.body.replace(b"5", b"6"),
            extensions={"admitted": admitted},
        ),
    ]
    for request in others:
        with pytest.raises(DeniedError):
            transport.handle_request(request)
    with httpx.Client(transport=transport) as client, pytest.raises(DeniedError):
        client.post(server.url, data={"phone": PHONE})

    assert server.connections == 0


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for the recipient's name that no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[RecordingServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = RecordingServer(tls=context)
    with server:
        yield server


QUICK = Timeouts(connect=0.5, reconnect=0.2, answer=1)


def test_an_unknown_authority_gets_nothing(
    tls_server: RecordingServer, operation: Operation, attempt: Attempt
) -> None:
    wire = Wire(dial={HOST: tls_server.url}, timeouts=QUICK)
    with pytest.raises(Unsent) as unsent:
        wire.send(_admitted(operation, attempt))
    wire.close()

    _assert_clean(unsent.value)
    assert tls_server.connections > 0
    assert tls_server.requests == []


def test_a_trusted_certificate_for_the_recipients_name_is_accepted(
    tls_server: RecordingServer, operation: Operation, attempt: Attempt, certificate: Path
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    wire = Wire(dial={HOST: tls_server.url}, timeouts=QUICK, tls=trusting)
    assert wire.send(_admitted(operation, attempt)).status == 200
    wire.close()

    assert len(tls_server.requests) == 1


def test_a_server_that_does_not_speak_tls_gets_nothing(
    server: RecordingServer, operation: Operation, attempt: Attempt
) -> None:
    wire = Wire(dial={HOST: server.url.replace("http:", "https:")}, timeouts=QUICK)
    with pytest.raises(Unsent):
        wire.send(_admitted(operation, attempt))
    wire.close()

    assert PHONE.encode() not in b"".join(server.requests)


def test_roots_in_the_environment_are_ignored(
    tls_server: RecordingServer,
    operation: Operation,
    attempt: Attempt,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(certificate))
    wire = Wire(dial={HOST: tls_server.url}, timeouts=QUICK)
    with pytest.raises(Unsent):
        wire.send(_admitted(operation, attempt))
    wire.close()
