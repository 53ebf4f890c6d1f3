"""What no single entry can see: a policy that contradicts itself, or allows what must not be."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from integrations.detectors import detect
from integrations.policy._entries import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from integrations.policy._entries import Operation, Policy

__all__ = ["contradictions"]

_PHONE = "user.contact.phone_number"
_Finding = tuple[tuple[str | int, ...], str]

# Headers that tell a third party about a person or a visit, whoever signs them.
_NEVER_HEADERS = frozenset(
    {
        *("baggage", "sentry-trace", "traceparent", "tracestate", "x-correlation-id"),
        *("cookie", "from", "origin", "referer", "x-request-id"),
        *("forwarded", "via", "x-client-ip", "x-real-ip"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
    }
)
# Sensitive by PIPL 28, whatever a file says, with all that is below them in the taxonomy.
_SENSITIVE = (
    *("user.biometric", "user.childrens", "user.demographic.religious_belief", "user.financial"),
    *("user.government_id", "user.health_and_medical", "user.location"),
)
_LEGAL_DUTY = "essential.legal_obligation"
# Headers that the gate writes itself.
_TECHNICAL_HEADERS = frozenset({"host", "content-type", "content-length", "transfer-encoding"})


def contradictions(policy: Policy) -> Iterator[_Finding]:
    """Every finding as the path of a key and a reason."""
    yield from _clauses(policy)
    yield from _recipients(policy)
    yield from _denials(policy)
    yield from _promises(policy)
    for operation in policy.operations.values():
        where = ("operations", operation.name)
        yield from ((where + key, reason) for key, reason in _references(policy, operation))
        yield from ((where + key, reason) for key, reason in _fields(policy, operation))
        yield from ((where + key, reason) for key, reason in _headers(operation))
        yield from ((where + key, reason) for key, reason in _reply(policy, operation))


def _clauses(policy: Policy) -> Iterator[_Finding]:
    known = {clause.id for clause in policy.clauses}
    for number, clause in enumerate(policy.clauses):
        if clause.id in {earlier.id for earlier in policy.clauses[:number]}:
            yield ("clauses", number, "id"), f"{clause.id} is listed twice"
    cited: list[tuple[tuple[str | int, ...], Iterable[str]]] = [
        *((("categories", key), entry.clauses) for key, entry in policy.categories.items()),
        *((("purposes", key), entry.clauses) for key, entry in policy.purposes.items()),
        *((("recipients", key), entry.clauses) for key, entry in policy.recipients.items()),
        *((("gaps", key), gap.clauses) for key, gap in policy.gaps.items()),
        *(
            (("denied", kind, key), denied.clauses)
            for kind in ("recipients", "purposes", "categories", "reply_fields")
            for key, denied in getattr(policy.denied, kind).items()
        ),
    ]
    for where, clauses in cited:
        for clause_id in clauses:
            if clause_id not in known:
                yield (*where, "clauses"), f"the policy has no clause {clause_id}"


def _recipients(policy: Policy) -> Iterator[_Finding]:
    owners = Counter(host for entry in policy.recipients.values() for host in entry.hosts)
    for key, entry in policy.recipients.items():
        for host in entry.hosts:
            if owners[host] > 1:
                yield ("recipients", key, "hosts"), f"{host} belongs to more than one recipient"
        if entry.hosts and entry.role in {"authority", "public"}:
            yield ("recipients", key, "hosts"), f"nothing is sent by machine to an {entry.role}"
        if entry.role == "own" and entry.company != policy.company:
            yield ("recipients", key, "role"), "is not our own: it is another company"


def _denials(policy: Policy) -> Iterator[_Finding]:
    for key in policy.denied.recipients.keys() & policy.recipients.keys():
        yield ("recipients", key), "is denied and listed at once"
    for key in policy.denied.purposes.keys() & policy.purposes.keys():
        yield ("purposes", key), "is denied and listed at once"
    for key in policy.categories:
        if denied := _denied_category(policy, key):
            yield ("categories", key), f"is denied: {denied}"


def _promises(policy: Policy) -> Iterator[_Finding]:
    """What a person may rely on, however a file names things."""
    for key, category in policy.categories.items():
        if not category.sensitive and _covers(_SENSITIVE, key):
            yield ("categories", key), "is sensitive by law (PIPL 28) and must say so"
    for key, purpose in policy.purposes.items():
        # It reaches people who have restricted everything else.
        if purpose.basis.kind == "legal_duty" and not _covers((_LEGAL_DUTY,), purpose.use):
            yield ("purposes", key, "basis"), f"a legal duty has the use {_LEGAL_DUTY}"


def _denied_category(policy: Policy, category: str) -> str | None:
    """The denied category that covers ``category``."""
    return _covers(policy.denied.categories, category)


def _covers(keys: Iterable[str], key: str) -> str | None:
    """Which of some keys of the taxonomy stands at or above ``key``."""
    return next((each for each in keys if f"{key}.".startswith(f"{each}.")), None)


def _personal(category: str) -> bool:
    return not category.startswith("system.")


def _references(policy: Policy, operation: Operation) -> Iterator[_Finding]:
    recipient = policy.recipients.get(operation.recipient)
    if recipient is None:
        yield ("recipient",), f"the policy has no recipient {operation.recipient}"
    elif not operation.host and recipient.role != "own":
        yield ("host",), "must be stated: only our own servers are named at deployment"
    elif operation.host and operation.host not in recipient.hosts:
        yield ("host",), f"is not a host of {operation.recipient}"
    purpose = policy.purposes.get(operation.purpose)
    if purpose is None:
        yield ("purpose",), f"the policy has no purpose {operation.purpose}"
    elif not purpose.basis.pia_ref and any(_personal(each) for each in operation.categories):
        yield ("purpose",), "personal data is handed over without an impact assessment (pia_ref)"
    elif purpose.basis.consent != "separate":
        for category in operation.categories:
            entry = policy.categories.get(category)
            if entry and entry.sensitive:
                yield ("purpose",), f"{category} is sensitive and needs separate consent"


def _fields(policy: Policy, operation: Operation) -> Iterator[_Finding]:
    places = {name: field.place or operation.place for name, field in operation.fields.items()}
    bodies = {*places.values()} - {Place.PATH, Place.QUERY}
    in_path = {name for name, place in places.items() if place is Place.PATH}
    if in_path != {*re.findall(r"\{(\w+)\}", operation.path)}:
        yield ("path",), "its braces and the fields in the path are not the same"
    if len(bodies) > 1:
        yield ("fields",), f"one body cannot be {' and '.join(sorted(bodies))} at once"
    if bodies and operation.method == "GET":
        yield ("method",), "GET has no body"
    for name, field in operation.fields.items():
        where = ("fields", name)
        if field.category and field.category not in policy.categories:
            denied = _denied_category(policy, field.category)
            yield (*where, "category"), f"is denied: {denied}" if denied else "is not listed"
        yield from ((where + key, reason) for key, reason in _field(operation, name, places[name]))


def _field(operation: Operation, name: str, place: Place) -> Iterator[_Finding]:
    field = operation.fields[name]
    if field.const is not None and (kind := detect(str(field.const))):
        yield ("const",), f"looks like a person's {kind}"
    if place is Place.PATH and not field.impersonal:
        yield ("place",), "only what is about no person may stand in a path"
    if place is Place.PATH and not field.required:
        yield ("required",), "a path has no optional segments"
    if field.transform == "number" and place is not Place.JSON:
        yield ("transform",), "only JSON has numbers and truth values"
    if field.signed is not None and name in operation.headers:
        yield (), "a header and a field of the signer have one name"
    if isinstance(field.const, int) and place is not Place.JSON:
        yield ("const",), "only JSON has numbers and truth values"
    head, _, tail = name.partition(".")
    if tail and place in {Place.XML, Place.MULTIPART}:
        yield (), f"{place} has no nested fields here"
    if tail and head in operation.fields:
        yield (), f"{head} cannot be a value and hold fields at once"


def _headers(operation: Operation) -> Iterator[_Finding]:
    for name, header in operation.headers.items():
        if name in _NEVER_HEADERS:
            yield ("headers", name), "tells a recipient about a person or a visit"
        elif name in _TECHNICAL_HEADERS:
            yield ("headers", name), "is written by the gate"
        elif name != name.lower():
            yield ("headers", name), "must be in lower case"
        elif name == "user-agent" and header.const is None:
            yield ("headers", name), "must be constant"
        if header.const is not None and not (header.const.isascii() and header.const.isprintable()):
            yield ("headers", name), "must be printable ASCII"


def _reply(policy: Policy, operation: Operation) -> Iterator[_Finding]:
    reply = operation.reply
    for role in ("code", "error", "request_id"):
        path = getattr(reply, role)
        if path is not None and path not in reply.keep:
            yield ("reply", role), f"{path} is not kept"
    for path in reply.paths:
        for part in path.replace("[]", "").split("."):
            if part in policy.denied.reply_fields:
                yield ("reply", "keep"), f"{path} is never kept"
    for path in reply.excerpts.keys() & set(reply.keep):
        yield ("reply", "excerpts"), f"{path} is kept whole already"
    for path in reply.personal.keys() & {*reply.keep, *reply.excerpts}:
        yield ("reply", "personal"), f"{path} is kept unlabelled as well"
    if reply.personal and _PHONE not in policy.categories:
        yield ("reply", "personal"), f"{_PHONE} is not listed"
