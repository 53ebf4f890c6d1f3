"""What a new policy allows that the old one did not; each such thing needs consent anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.policy._entries import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integrations.policy._entries import Operation, OutboundField, Policy, Purpose, Recipient

__all__ = ["widened", "widenings"]

_Finding = tuple[tuple[str | int, ...], str]

# From the least to the most that a person has agreed to.
_CONSENT = ("none", "consent", "separate")


def widened(old: Policy, new: Policy) -> list[str]:
    """Everything that ``new`` allows beyond ``old``, one plain sentence each; empty if nothing.

    Nobody can tell in general which of two patterns is wider, so any change of one counts.
    """
    return [sentence for _, sentence in widenings(old, new)]


def widenings(old: Policy, new: Policy) -> Iterator[_Finding]:
    """The same, each with the path of the key in ``new`` that allows it."""
    for key, recipient in new.recipients.items():
        for what in _recipient(key, old.recipients.get(key), recipient):
            yield ("recipients", key), what
    for key, purpose in new.purposes.items():
        for what in _purpose(key, old.purposes.get(key), purpose):
            yield ("purposes", key), what
    for key, category in new.categories.items():
        before = old.categories.get(key)
        if before is None:
            yield ("categories", key), f"category {key} is new"
        elif before.sensitive and not category.sensitive:
            yield ("categories", key), f"category {key} is no longer sensitive"
    for kind in ("recipients", "purposes", "categories", "reply_fields"):
        for key in getattr(old.denied, kind).keys() - getattr(new.denied, kind).keys():
            yield ("denied", kind), f"denied.{kind}: {key} is no longer denied"
    for name, operation in new.operations.items():
        for where, what in _operation(old.operations.get(name), operation):
            yield ("operations", name, *where), f"operation {name} {what}"


def _recipient(key: str, old: Recipient | None, new: Recipient) -> Iterator[str]:
    if old is None:
        yield f"recipient {key} is new"
        return
    for host in new.hosts:
        if host not in old.hosts:
            yield f"recipient {key} has a new host {host}"
    if old.company != new.company:
        yield f"recipient {key} is another company"
    if old.role != new.role:
        yield f"recipient {key} changes its role from {old.role} to {new.role}"


def _purpose(key: str, old: Purpose | None, new: Purpose) -> Iterator[str]:
    if old is None:
        yield f"purpose {key} is new"
        return
    if old.use != new.use:
        yield f"purpose {key} changes its use from {old.use} to {new.use}"
    if old.basis.kind != new.basis.kind:
        yield f"purpose {key} changes its basis from {old.basis.kind} to {new.basis.kind}"
    if _CONSENT.index(new.basis.consent) < _CONSENT.index(old.basis.consent):
        yield f"purpose {key} asks for less consent"


def _operation(old: Operation | None, new: Operation) -> Iterator[_Finding]:
    if old is None:
        yield (), "is new"
        return
    for what in ("recipient", "purpose", "host"):
        if getattr(old, what) != getattr(new, what):
            yield (what,), f"changes its {what}"
    for name, field in new.fields.items():
        where, before = ("fields", name), old.fields.get(name)
        if before is None:
            yield where, f"sends a new field {name}"
        else:
            yield from ((where, f"field {name} {what}") for what in _field(before, field))
            in_url = (Place.PATH, Place.QUERY)
            if (field.place or new.place) in in_url and (before.place or old.place) not in in_url:
                yield where, f"field {name} moves into the URL"
    for name in new.headers.keys() - old.headers.keys():
        yield ("headers", name), f"sends a new header {name}"
    for path in new.reply.paths:
        if path not in old.reply.paths:
            yield ("reply",), f"keeps a new reply field {path}"
        elif path in new.reply.keep and path not in old.reply.keep:
            yield ("reply",), f"keeps the whole of {path}"


def _field(old: OutboundField, new: OutboundField) -> Iterator[str]:
    sources = [(each.held, each.configured, each.const, each.signed) for each in (old, new)]
    if sources[0] != sources[1]:
        yield "takes its value from elsewhere"
    if old.category != new.category:
        yield "carries another category"
    if old.transform != new.transform:
        yield "is transformed differently"
    if old.pattern != new.pattern:
        yield "has another pattern"
    if (new.max or 0) > (old.max or 0):
        yield "may be longer"
