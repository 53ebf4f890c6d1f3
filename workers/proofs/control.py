"""Positive control: adapters that leak, each in another way, and each must be caught.

A proof that cannot fail proves nothing. Requests are spoilt on their way from the real adapter
to the real gate and must not arrive; what an adapter could leave elsewhere is planted in bytes
like those that a run leaves behind, and the search must find it there.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import secrets
import socket
import subprocess
import sys
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Self
from urllib.parse import quote

from integrations.minimize import MinimizedRequest
from integrations.policy import Operation, OutboundField, Place, Policy
from models.errors import DeniedError, InvalidValue, ZjjError
from models.pii import Phone
from workers.proofs.drives import DRIVES, TappedGate
from workers.proofs.lab import Lab, make_attempt
from workers.proofs.people import Person
from workers.proofs.report import Progress, Proof, run_proof
from workers.proofs.traces import Value, find

__all__ = ["LEAKS", "PLANTS", "control"]

_Given = dict[str, Any]
_Leak = Callable[[_Given, str], _Given]
"""Spoils the arguments of ``Gate.send`` so that a phone number would leave."""


def _signed(name: str, value: Callable[[str], str] = str) -> _Leak:
    def leak(given: _Given, phone: str) -> _Given:
        sign = given["sign"]
        return {**given, "sign": lambda unsigned: {**sign(unsigned), name: value(phone)}}

    return leak


def _in_signature(value: Callable[[str], str]) -> _Leak:
    """Into a header that the policy lists, whichever the signer makes."""

    def leak(given: _Given, phone: str) -> _Given:
        sign = given["sign"]

        def spoilt(unsigned: Any) -> Mapping[str, str]:
            headers = dict(sign(unsigned))
            name = max(headers, key=lambda key: len(headers[key]))
            headers[name] = f"{headers[name]} {value(phone)}"
            return headers

        return {**given, "sign": spoilt}

    return leak


def _configured(value: Callable[[str], str]) -> _Leak:
    """Into every field that the adapter configures."""

    def leak(given: _Given, phone: str) -> _Given:
        request: MinimizedRequest = given["request"]
        fields = request.operation.fields
        spoilt = {name: value(phone) for name in request.values if fields[name].configured}
        values = {**request.values, **spoilt}
        return {**given, "request": dataclasses.replace(request, values=values)}

    return leak


def _forged(change: Callable[[Operation, str], dict[str, Any]]) -> _Leak:
    """Through an entry that looks like the policy's."""

    def leak(given: _Given, phone: str) -> _Given:
        request: MinimizedRequest = given["request"]
        forged = request.operation.model_copy(update=change(request.operation, phone))
        return {**given, "request": dataclasses.replace(request, operation=forged)}

    return leak


def _extra(operation: Operation, _phone: str) -> dict[str, Any]:
    field = {"title": "-", "from": "name", "category": "user.name", "transform": "raw"}
    entry = OutboundField.model_validate({**field, "pattern": ".*", "max": 99})
    return {"fields": {**operation.fields, "Name": entry}}


def _traceback_with(text: str) -> bytes:
    return "".join(traceback.format_exception(ValueError(f"cannot send to {text}"))).encode()


def _hex(phone: str) -> str:
    return phone.encode().hex()


def _base64(phone: str) -> str:
    return base64.b64encode(phone.encode()).decode()


def _md5(phone: str) -> str:
    return hashlib.md5(phone.encode(), usedforsecurity=False).hexdigest()


_IN_SIGNATURE: Mapping[str, _Leak] = {
    "inside a listed header": _in_signature(str),
    "base64 in a listed header": _in_signature(_base64),
}
"""Tried where anything is signed."""

_IN_CONFIGURED: Mapping[str, _Leak] = {
    "a configured field": _configured(str),
    "hex in a configured field": _configured(lambda phone: _hex(phone) + "0" * 10),
    "base64 in a configured field": _configured(_base64),
    "MD5 as a reference": _configured(_md5),
    "nested JSON": _configured(lambda phone: json.dumps({"user": {"phone": phone}})),
    "padded digits as a reference": _configured(lambda phone: phone + "0" * 21),
}
"""Tried where there is such a field."""

LEAKS: Mapping[str, _Leak] = {
    "a header of its own": _signed("x-user-phone"),
    "a cookie": _signed("cookie", lambda phone: f"u={phone}"),
    "a forwarded address": _signed("x-forwarded-for", lambda _: "192.0.2.7"),
    "tracing baggage": _signed("baggage", lambda phone: f"user={phone}"),
    **_IN_SIGNATURE,
    **_IN_CONFIGURED,
    "the URL's path": _forged(lambda _, phone: {"path": f"/{phone}"}),
    "the URL's query": _forged(lambda _, __: {"place": Place.QUERY}),
    "an extra key": _forged(_extra),
    "another host": _forged(lambda _, phone: {"host": f"{phone}.example.com"}),
}
"""Ways of an adapter to send what it may not."""

PLANTS: Mapping[str, Callable[[str], bytes]] = {
    "a log call": lambda text: f'{{"event":"sms.sent","phone":"{text}"}}\n'.encode(),
    "exception text": _traceback_with,
    "a spaced number": lambda text: f"tel {text}, ok".encode(),
    "percent-encoded": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    "URL-quoted": lambda text: quote(text, safe="").encode(),
    "JSON-escaped": lambda text: "".join(f"\\u{ord(sign):04X}" for sign in text).encode(),
    "hexadecimal": lambda text: text.encode().hex().upper().encode(),
    "base64": lambda text: base64.b64encode(b"x" + text.encode() + b"yz"),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"\xff\xfe" + text.encode()),
    "gzip": lambda text: b"AOF" + gzip.compress(b"held " + text.encode()),
    "zlib": lambda text: zlib.compress(text.encode()),
    "UTF-16": lambda text: text.encode("utf-16-le"),
    "MD5": lambda text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().encode(),
    "SHA-1": lambda text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().encode(),
    "SHA-256 in base64": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()),
    "SHA-512": lambda text: hashlib.sha512(text.encode()).hexdigest().encode(),
}
"""Ways of leaving a value behind."""


def control(policy: Policy, progress: Progress) -> Proof:
    """Let every leaky adapter try, for every operation; plant every form."""
    proof = Proof(
        "positive control",
        "every deliberate leak is caught",
        "每一种故意的泄露都会被发现",
    )
    with Lab() as lab:
        cases: list[Callable[[], Iterator[str]]] = [
            partial(_leak, lab, policy, name, leak)
            for name, operation in policy.operations.items()
            for leak in LEAKS
            if operation.configured_names or leak not in _IN_CONFIGURED
            if _is_signed(operation) or leak not in _IN_SIGNATURE
        ]
        tried = len(cases)
        cases += [partial(_plant, plant) for plant in PLANTS]
        cases += [partial(_digits), partial(_redirect, lab, policy), partial(_socket, lab)]
        run_proof(proof, cases, progress)
    proof.notes.append(f"{tried} leaks of {len(policy.operations)} operations")
    return proof


def _is_signed(operation: Operation) -> bool:
    return any(header.signed for header in operation.headers.values()) or any(
        field.signed for field in operation.fields.values()
    )


def _leak(lab: Lab, policy: Policy, name: str, leak: str) -> Iterator[str]:
    lab.reset()
    person = Person(code=f"{secrets.randbelow(10**6):06d}")
    spoil = partial(LEAKS[leak], phone=person.text(Phone))  # type: ignore[call-arg]
    gate: Any = TappedGate(lab.gate(policy), spoil)
    try:
        DRIVES[name].call(gate, make_attempt(policy, person.held()))
    except DeniedError as denied:
        if find(person.values, "".join(traceback.format_exception(denied)).encode()):
            yield f"{name}: the refusal of {leak} shows the value"
    except InvalidValue:
        pass
    else:
        yield f"{name}: {leak} was let through"
    if lab.tap.requests():
        yield f"{name}: {leak} arrived"
    if lab.records.rows and all(row.verdict == "admitted" for row in lab.records.rows):
        yield f"{name}: {leak} was recorded as admitted"


def _plant(plant: str) -> Iterator[str]:
    for value in Person(code="246810").values:
        noise = secrets.token_bytes(64).hex().encode()
        if value.short and plant not in {"a log call", "exception text", "a spaced number"}:
            continue
        if not find([value], noise + b"\n" + PLANTS[plant](value.text) + b"\n" + noise):
            yield f"the search misses {value.name} as {plant}"


def _digits() -> Iterator[str]:
    phone = Person(code="246810").text(Phone)
    for at in range(len(phone) - 6):
        part = f"tail={phone[at : at + 7]};".encode()
        if not find([Value("phone", phone)], part):
            yield "the search misses seven digits of a phone number"


def _redirect(lab: Lab, policy: Policy) -> Iterator[str]:
    """The provider answers with a redirect to somebody else."""
    for name, drive in DRIVES.items():
        with _Listener() as elsewhere, _Listener() as provider:
            provider.answer = (
                b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n"
                b"Location: http://127.0.0.1:%d/\r\n\r\n" % elsewhere.port
            )
            gate = lab.gate(policy, url=f"http://127.0.0.1:{provider.port}")
            try:
                answer = drive.call(gate, make_attempt(policy, Person(code="246810").held()))
                if answer is not None:
                    yield f"{name}: took a redirect for an answer"
            except ZjjError:
                pass
            if elsewhere.connections:
                yield f"{name}: followed a redirect"


_OWN_SOCKET = """
import socket, sys
from integrations import egress_guard
from models.errors import DeniedError
egress_guard.install([])
for action in (
    lambda: socket.socket().connect(("127.0.0.1", int(sys.argv[1]))),
    lambda: socket.getaddrinfo("16400001234.example.com", 443),
):
    try:
        action()
    except DeniedError:
        continue
    sys.exit(1)
"""


def _socket(_lab: Lab) -> Iterator[str]:
    """An adapter opens a socket of its own, or asks the DNS about a telling name."""
    with _Listener() as elsewhere:
        done = subprocess.run(
            [sys.executable, "-c", _OWN_SOCKET, str(elsewhere.port)],
            capture_output=True,
            timeout=30,
            check=False,
        )
        if done.returncode or elsewhere.connections:
            yield "a socket of its own was not refused"


class _Listener:
    """Answers every request with the same bytes and counts connections."""

    def __init__(self) -> None:
        self.answer = b""
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(2)
                if connection.recv(65536):
                    connection.sendall(self.answer)
