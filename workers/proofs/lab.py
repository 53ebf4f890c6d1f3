"""A gate, the provider sandbox on a real socket, and every byte that passes between them."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

from integrations.destinations import OwnHosts
from integrations.gate import Gate, Timeouts
from integrations.leaves import Unreadable, read_path
from integrations.policy import Operation, Place, Policy
from integrations.sandbox import sm2_key
from integrations.sandbox.app import create_sandbox
from integrations.sandbox.backend import BACKEND_HOST
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.server import SandboxServer
from integrations.sandbox.sm2_key import open_sm2
from models.attempts import Attempt
from models.clock import Clock, utc_now
from models.disclosures import Disclosure
from workers.proofs.drives import personal_fields
from workers.proofs.people import Person
from workers.proofs.traces import Search

__all__ = ["JOB_ID", "Lab", "Records", "Wiretap", "cell_faults", "make_attempt", "operation_of"]

JOB_ID = "0" * 16 + "a1b2c3d4e5f60718"
_OWN_HOSTS = (BACKEND_HOST,)
_LEAVES_AS = {"plain", "digits", "percent"}
"""The forms in which a raw value may stand in a request."""


class Wiretap:
    """Keeps what arrives at the sandbox, byte for byte."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, int], bytearray] = {}
        self._lock = threading.Lock()

    def __call__(self, peer: tuple[str, int], data: bytes) -> None:
        """Hear some bytes of one connection."""
        with self._lock:
            self._streams.setdefault(peer, bytearray()).extend(data)

    def clear(self) -> None:
        """Forget everything; only between requests."""
        with self._lock:
            self._streams.clear()

    def requests(self) -> list[bytes]:
        """Each request as it arrived; what is no request at all counts as one."""
        with self._lock:
            streams = [bytes(stream) for stream in self._streams.values()]
        return [request for stream in streams for request in _split(stream)]


class Records:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.rows: list[Disclosure] = []

    def record(self, disclosure: Disclosure) -> None:
        """Keep it."""
        self.rows.append(disclosure)


class Lab:
    """Use as a context manager."""

    def __init__(self) -> None:
        self.tap = Wiretap()
        self.records = Records()
        self.server = SandboxServer(create_sandbox(SandboxConfig(limits=False)), hear=self.tap)
        self._gates: list[Gate] = []

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for gate in self._gates:
            gate.close()
        self.server.__exit__(kind, error, trace)

    def gate(
        self,
        policy: Policy,
        *,
        url: str | None = None,
        clock: Clock = utc_now,
        patience: float = 10.0,
    ) -> Gate:
        """A gate that reaches the sandbox, or ``url``, instead of every recipient.

        Args:
            patience: Seconds for each wait for an answer.
        """
        gate = Gate(
            policy,
            self.records,
            clock=clock,
            dial={
                host: url or self.server.url
                for hosts in (*(each.hosts for each in policy.recipients.values()), _OWN_HOSTS)
                for host in hosts
            },
            own_hosts=OwnHosts(_OWN_HOSTS),
            transforms=sm2_key.TRANSFORMS,
            timeouts=Timeouts(connect=1.0, reconnect=0.2, answer=patience),
        )
        self._gates.append(gate)
        return gate

    def reset(self) -> None:
        """Forget what was sent, recorded and planned."""
        self.server.sandbox.reset()
        self.server.sandbox.tills.lay_out_samples()
        self.tap.clear()
        self.records.rows.clear()


def make_attempt(policy: Policy, held: Mapping[str, object], **changes: Any) -> Attempt:
    """An attempt that holds ``held``."""
    values: dict[str, Any] = {
        "job_id": JOB_ID,
        "kind": "proof",
        "number": 1,
        "fence": 1,
        "worker_id": "proof",
        "backend": "proof",
        "policy_version": policy.version,
        "expires_at": utc_now() + dt.timedelta(minutes=5),
        "consent_ref": "proof",
        "held": held,
    }
    return Attempt(**{**values, **changes})


def operation_of(policy: Policy, request: bytes) -> Operation | None:
    """Which operation a request is, told by method, host, path and what the policy fixes beside."""
    head = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, url = [*head[0].split(" "), "", ""][:2]
    target, _, query = url.partition("?")
    parameters = dict(parse_qsl(query))
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
    }
    for operation in policy.operations.values():
        constants = {name: h.const for name, h in operation.headers.items() if h.const is not None}
        fixed = {
            name: str(field.const)
            for name, field in operation.fields.items()
            if field.const is not None and (field.place or operation.place) is Place.QUERY
        }
        if (
            method == operation.method
            and operation.host in {"", headers.get("host")}
            and _is_path(operation.path, target)
            and constants.items() <= headers.items()
            and fixed.items() <= parameters.items()
        ):
            return operation
    return None


def _is_path(template: str, target: str) -> bool:
    try:
        read_path(template, target.encode("latin-1"))
    except Unreadable:
        return template == ""
    return True


def cell_faults(
    policy: Policy, request: bytes, people: Collection[Person], search: Search | None = None
) -> list[str]:
    """What a request says about people beyond, or short of, the policy's cells.

    Args:
        search: For all values of the people, where it has been prepared for many requests.
    """
    operation = operation_of(policy, request)
    if operation is None:
        return ["a request that is no operation of the policy"]
    expected = set(personal_fields(operation).values())
    request = _opened(operation, request)
    search = search or Search(value for person in people for value in person.values)
    faults = []
    traces = search.find(request)
    for trace in traces:
        if trace.value.name not in expected:
            faults.append(f"{operation.name} carries {trace.value.name} ({trace.form})")
        elif trace.form not in _LEAVES_AS or trace.count > 1:
            faults.append(
                f"{operation.name} carries {trace.value.name} {trace.count} times ({trace.form})"
            )
    found = {trace.value for trace in traces}
    complete = any(
        expected <= {value.name for value in found.intersection(person.values)} for person in people
    )
    if not complete:
        faults.append(f"{operation.name} lacks one of its cells: {', '.join(sorted(expected))}")
    return faults


def _opened(operation: Operation, request: bytes) -> bytes:
    """The request with its encrypted cells opened; one whose cells do not open loses its body."""
    sealed = {name for name, field in operation.fields.items() if field.transform == "sm2"}
    if not sealed:
        return request
    head, end, body = request.partition(b"\r\n\r\n")
    try:
        cells = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
        opened = [(name, open_sm2(text) if name in sealed else text) for name, text in cells]
    except ValueError:
        return head + end
    return head + end + urlencode(opened).encode()


def _split(stream: bytes) -> Iterator[bytes]:
    while stream:
        head, end, rest = stream.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit():
                length = int(value)
        yield head + end + rest[:length]
        stream = rest[length:]
