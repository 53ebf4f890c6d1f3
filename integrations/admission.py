"""Judging the final bytes: nothing leaves that the policy's entry does not describe.

Adapters build, the gate judges. The method, URL, headers and body that are about to leave are
parsed back into leaves and each leaf is compared with its entry and with what the job holds, so
it does not matter who built them or how. Leaves that are constants of the policy, or exactly the
one value they may hold, say nothing else about anybody; every other byte is searched for every
value the job holds, in many forms (:mod:`integrations.disguises`), and leaves that should hold no
personal data at all, our own facts among them, pass the detectors (:mod:`integrations.detectors`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from integrations.detectors import detect
from integrations.disguises import Disguises, Unfolded
from integrations.leaves import CONTENT_TYPES, Leaf, Leaves, Unreadable, read, read_path
from integrations.minimize import TRANSFORMS
from integrations.policy import Place
from models.errors import DeniedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from integrations.minimize import Transforms
    from integrations.policy import Operation, OutboundField

__all__ = ["Admitted", "FinalRequest", "Held", "Reason", "Refused", "admit"]


class Reason(StrEnum):
    """Why the gate refuses; static, so that a ledger row can carry it."""

    UNKNOWN_OPERATION = "unknown_operation"
    POLICY_VERSION = "policy_version"
    EXPIRED = "expired"
    CONSENT_MISSING = "consent_missing"
    GUARDIAN_MISSING = "guardian_missing"
    METHOD = "method"
    HOST = "host"
    PATH = "path"
    HEADER_UNKNOWN = "header_unknown"
    HEADER_VALUE = "header_value"
    HEADER_MISSING = "header_missing"
    UNREADABLE = "unreadable"
    FIELD_UNKNOWN = "field_unknown"
    FIELD_MISSING = "field_missing"
    FIELD_VALUE = "field_value"
    FIELD_SHAPE = "field_shape"
    FIELD_CATEGORY = "field_category"
    HELD_VALUE = "held_value"
    DETECTED = "detected"


class Refused(Exception):
    """A request that does not leave.

    Args:
        reason: Why.
        field: The policy's or the job's name of what is wrong; never text of the request.
    """

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(f"{reason}:{field}" if field else reason)


@dataclass(frozen=True, slots=True)
class FinalRequest:
    """A request as it would leave, byte for byte, over HTTPS to ``host``."""

    method: str
    host: str
    target: bytes
    """Path and query."""
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.host}>"


class Admitted:
    """A request that :func:`admit` has let through; the transport sends nothing else.

    Only this module can make one.
    """

    __slots__ = ("request",)

    def __init__(self, request: FinalRequest, seal: object) -> None:
        if seal is not _SEAL:
            raise DeniedError("only the gate admits requests")
        self.request = request


_SEAL = object()


@dataclass(frozen=True, slots=True, repr=False)
class Held:
    """One value that the job holds, opened."""

    name: str
    text: str
    category: str | None
    """None: not personal by its type."""


def admit(
    operation: Operation,
    request: FinalRequest,
    held: Sequence[Held],
    configured: Mapping[str, Leaf],
    transforms: Transforms = TRANSFORMS,
) -> Admitted:
    """Judge a request.

    Args:
        operation: The policy's entry.
        request: The bytes.
        held: Everything the job holds.
        configured: What the adapter configured, by field name.
        transforms: How held values change on their way out.

    Raises:
        Refused: With the first reason found.
    """
    path, query = _judge_target(operation, request)
    technical = _technical(operation, request.body)
    signed = _judge_headers(operation, request.headers, technical)
    leaves = _leaves(operation, path, query, request.body)
    by_name = {value.name: value for value in held}
    adapted: list[str] = []
    exact: list[str] = []
    for name, entry in operation.fields.items():
        place = entry.place or operation.place
        leaf = leaves[place].pop(operation.paths[name], None)
        if leaf is None:
            if entry.required:
                raise Refused(Reason.FIELD_MISSING, name)
        elif entry.held:
            exact.append(_judge_held(name, entry, leaf, by_name.get(entry.held), transforms))
        elif entry.configured:
            adapted.append(_judge_configured(name, entry, leaf, configured.get(name)))
        elif entry.signed:
            signed.append(_shaped(name, entry, leaf))
        elif type(leaf) is not type(entry.const) or leaf != entry.const:
            raise Refused(Reason.FIELD_VALUE, name)
    if any(leaves.values()):
        raise Refused(Reason.FIELD_UNKNOWN)
    _search(operation, request, held, adapted, exact)
    if kind := detect("\n".join((*adapted, *signed))):
        raise Refused(Reason.DETECTED, kind.replace(" ", "_"))
    return Admitted(request, _SEAL)


def _judge_target(operation: Operation, request: FinalRequest) -> tuple[bytes, bytes]:
    if request.method != operation.method:
        raise Refused(Reason.METHOD)
    if request.host != operation.host:
        raise Refused(Reason.HOST)
    path, question, query = request.target.partition(b"?")
    if question and not query:
        raise Refused(Reason.PATH)
    return path, query


def _technical(operation: Operation, body: bytes) -> dict[str, str]:
    """The headers that the gate itself writes."""
    headers = {"host": operation.host, "accept-encoding": "identity"}
    if operation.body:
        headers["content-type"] = CONTENT_TYPES[operation.body]
    if operation.method != "GET":
        headers["content-length"] = str(len(body))
    return headers


def _judge_headers(
    operation: Operation, headers: Sequence[tuple[bytes, bytes]], technical: Mapping[str, str]
) -> list[str]:
    """Every header is known, occurs once, and has its value; what the signer made is returned."""
    signed = []
    seen = set()
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        entry = operation.headers.get(name)
        expected = technical.get(name) if entry is None else entry.const
        if name in seen or (entry is None and expected is None):
            raise Refused(Reason.HEADER_UNKNOWN)
        seen.add(name)
        if entry is not None and entry.signed is not None and entry.max is not None:
            if len(value) > entry.max or not entry.signed.fullmatch(value):
                raise Refused(Reason.HEADER_VALUE, name)
            signed.append(value)
        elif value != expected:
            raise Refused(Reason.HEADER_VALUE, name)
    for name in technical.keys() - seen:
        raise Refused(Reason.HEADER_MISSING, name)
    for name, entry in operation.headers.items():
        if entry.required and name not in seen:
            raise Refused(Reason.HEADER_MISSING, name)
    return signed


def _leaves(operation: Operation, path: bytes, query: bytes, body: bytes) -> dict[Place, Leaves]:
    if body and operation.body is None:
        raise Refused(Reason.UNREADABLE, "body")
    try:
        leaves = {Place.PATH: read_path(operation.path, path)}
    except Unreadable:
        raise Refused(Reason.PATH) from None
    for place, data in ((Place.QUERY, query), (operation.body, body)):
        if place is not None:
            try:
                leaves[place] = read(place, data, operation.nested)
            except Unreadable:
                raise Refused(Reason.UNREADABLE, place) from None
    return leaves


def _judge_held(
    name: str, entry: OutboundField, leaf: Leaf, held: Held | None, transforms: Transforms
) -> str:
    """The leaf is exactly what the job holds under that name, and of the stated category."""
    if held is None or not _is_transformed(leaf, held.text, entry, transforms):
        raise Refused(Reason.FIELD_VALUE, name)
    if held.category != entry.category and not (held.category is None and entry.impersonal):
        raise Refused(Reason.FIELD_CATEGORY, name)
    if entry.transform == "sm2":
        # A ciphertext has no shape of its own; its text has.
        _shaped(name, entry, held.text)
        return str(leaf)
    text = _shaped(name, entry, leaf)
    # A sum is a number and nobody's; a backend may have made an order's number of a person's.
    if entry.impersonal and entry.transform == "raw" and detect(text, cards=False):
        raise Refused(Reason.DETECTED, name)
    return text


def _is_transformed(leaf: Leaf, text: str, entry: OutboundField, transforms: Transforms) -> bool:
    try:
        expected = transforms[entry.transform or ""](text)
    except ValueError:
        return False
    # True is no 1.
    return type(leaf) is type(expected) and leaf == expected


def _judge_configured(name: str, entry: OutboundField, leaf: Leaf, configured: Leaf | None) -> str:
    """The leaf is exactly what the adapter said it configured."""
    if leaf != configured:
        raise Refused(Reason.FIELD_VALUE, name)
    return _shaped(name, entry, leaf)


def _shaped(name: str, entry: OutboundField, leaf: Leaf) -> str:
    pattern = entry.pattern or entry.signed
    text = str(leaf) if entry.transform == "number" else leaf
    if (
        not isinstance(text, str)
        or pattern is None
        or entry.max is None
        or len(text) > entry.max
        or not pattern.fullmatch(text)
    ):
        raise Refused(Reason.FIELD_SHAPE, name)
    return text


def _search(
    operation: Operation,
    request: FinalRequest,
    held: Sequence[Held],
    adapted: Sequence[str],
    exact: Sequence[str],
) -> None:
    """No held value occurs more often than the exact leaves and the policy's constants hold it."""
    everything = Unfolded(
        b"\n".join((request.target, *map(b"\n".join, request.headers), request.body))
    )
    accounted = Unfolded("\n".join((*operation.constants, *exact)).encode())
    words = Unfolded("\n".join(adapted).encode())
    for value in held:
        if value.category is None:
            if value.name not in operation.held_names and words.has_line(value.text):
                raise Refused(Reason.HELD_VALUE, value.name)
            continue
        disguises = Disguises(value.text)
        found = disguises.count(everything)
        if found and found > disguises.count(accounted):
            raise Refused(Reason.HELD_VALUE, value.name)
        if disguises.short and words.has_word(value.text):
            raise Refused(Reason.HELD_VALUE, value.name)
