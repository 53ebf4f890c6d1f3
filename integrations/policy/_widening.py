"""What a new policy allows that the old one did not; each such thing needs consent anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.policy._entries import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integrations.policy._entries import (
        Header,
        Operation,
        OutboundField,
        Policy,
        Purpose,
        Recipient,
        ReplyRule,
    )

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
    for what in ("recipient", "purpose", "host", "method", "path"):
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
    for name, header in new.headers.items():
        former = old.headers.get(name)
        if former is None:
            yield ("headers", name), f"sends a new header {name}"
        else:
            yield from (
                (("headers", name), f"header {name} {what}") for what in _value(former, header)
            )
    yield from ((("reply", where), what) for where, what in _reply(old.reply, new.reply))


def _reply(old: ReplyRule, new: ReplyRule) -> Iterator[tuple[str, str]]:
    """Each with the key of the rule that allows it."""
    for path in new.keep:
        if path not in old.paths:
            yield "keep", f"keeps a new reply field {path}"
        elif path not in old.keep:
            yield "keep", f"keeps the whole of {path}"
    for path, pattern in new.excerpts.items():
        if path not in old.keep and pattern != old.excerpts.get(path):
            yield "excerpts", f"keeps another excerpt of {path}"
    for path in new.personal.keys() - old.personal.keys():
        yield "personal", f"keeps {path} as somebody's"
    for name in new.headers:
        if name not in old.headers:
            yield "headers", f"keeps a new reply header {name}"


def _field(old: OutboundField, new: OutboundField) -> Iterator[str]:
    if (old.held, old.configured) != (new.held, new.configured):
        yield "takes its value from elsewhere"
    if old.category != new.category:
        yield "carries another category"
    if old.transform != new.transform:
        yield "is transformed differently"
    if old.pattern != new.pattern:
        yield "has another pattern"
    if new.required and not old.required:
        yield "can no longer be left out"
    yield from _value(old, new)


def _value(old: OutboundField | Header, new: OutboundField | Header) -> Iterator[str]:
    if old.const != new.const:
        yield "has another constant"
    if old.signed != new.signed:
        yield "is signed in another shape"
    if (new.max or 0) > (old.max or 0):
        yield "may be longer"
