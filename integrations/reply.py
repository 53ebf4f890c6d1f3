"""Replies, cut to what the policy keeps before anyone sees them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from integrations.detectors import detect
from integrations.documents import read_document
from models.pii import Personal, Phone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from integrations.policy import Operation, ReplyRule

__all__ = ["Decrypt", "Garbled", "Reply", "cut"]

# A result code, an id, a time: what a kept field looks like. Prose and names do not pass.
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:^/+=-]{0,127}(?: [0-9:]{5,8})?", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9 ,:._-]{1,64}", re.ASCII)
_MOST_ROWS = 200
_LONGEST_EXCERPT = 1024
_LONGEST_PERSONAL = 1024

Decrypt = Callable[[str], str]
"""Opens an encrypted field of a reply; raises ValueError for whatever cannot be opened."""


class Garbled(Exception):
    """An answer that tells nobody what the recipient did."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is known of an answer."""

    status: int
    """HTTP status."""
    fields: Mapping[str, Any]
    """By the policy's keep-list: dotted path to text, number or truth value. ``Rows[].Code``
    gives ``Rows``: a tuple with a mapping for each row, ``Ids[]`` a tuple of values. Absent is what the reply lacked, and what
    did not look like a code."""
    headers: Mapping[str, str]
    """The policy's reply headers, names in lower case."""
    code: str | None
    """The recipient's own result code."""
    request_id: str | None
    """The recipient's own name for the request."""
    disclosure_id: str
    personal: Mapping[str, Personal] = field(default_factory=dict)
    """By the policy's list of personal fields, labelled; absent is what could not be read."""


def cut(
    operation: Operation,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    disclosure_id: str = "",
    decrypt: Decrypt | None = None,
) -> Reply:
    """Keep what the policy keeps.

    Args:
        operation: The policy's entry.
        status: HTTP status.
        headers: All headers, names in lower case.
        body: The whole body.
        disclosure_id: Of the request that is answered.
        decrypt: Opens what the recipient encrypts for us.

    Where the policy keeps nothing of a body, it is not read: the status says everything.

    Raises:
        Garbled: A redirect, or a success whose body is not of its form or lacks the result code.
            Of an error whose body cannot be read, the status alone is kept.
    """
    rule = operation.reply
    looked_at = bool(rule.keep or rule.excerpts or rule.personal)
    success = 200 <= status < 300
    if looked_at and not success and status < 400:
        raise Garbled
    form = rule.form if success or rule.form == "xml" else "json"
    document = read_document(form, body) if looked_at else {}
    if document is None:
        if success:
            raise Garbled
        document = {}
    fields = _kept(rule, document)
    code_path = rule.code if success else rule.error or rule.code
    code = None if code_path is None else fields.get(code_path)
    if success and rule.code is not None and code is None:
        raise Garbled
    request_id = None if rule.request_id is None else fields.get(rule.request_id)
    return Reply(
        status=status,
        fields=fields,
        headers={
            name: headers[name]
            for name in rule.headers
            if name in headers and _HEADER.fullmatch(headers[name])
        },
        code=None if code is None else str(code),
        request_id=None if request_id is None else str(request_id),
        disclosure_id=disclosure_id,
        personal=_personal(rule, document, decrypt),
    )


def _personal(
    rule: ReplyRule, document: dict[str, Any], decrypt: Decrypt | None
) -> dict[str, Personal]:
    """What the reply says about a person, labelled before anyone sees it."""
    found: dict[str, Personal] = {}
    for path, kind in rule.personal.items():
        value = _find(document, path)
        if not isinstance(value, str) or len(value) > _LONGEST_PERSONAL:
            continue
        try:
            text = decrypt(value) if kind == "encrypted_phone" and decrypt else value
            found[path] = Phone(text)
        except ValueError:
            # Whatever was wrong with it, it is no phone number.
            continue
    return found


def _kept(rule: ReplyRule, document: dict[str, Any]) -> dict[str, Any]:
    # A table is bounded by its bytes, and a bill with lines left out would be wrong.
    most = _MOST_ROWS if rule.form == "json" else None
    fields: dict[str, Any] = {}
    wanted: list[tuple[str, Callable[[object], object]]] = [(path, _code) for path in rule.keep]
    wanted += ((path, partial(_excerpt, pattern)) for path, pattern in rule.excerpts.items())
    for path, keep in wanted:
        table, rows, column = path.partition("[]")
        found, column = _find(document, table), column.removeprefix(".")
        if rows and not column:
            items = map(keep, found[:most] if isinstance(found, list) else ())
            fields[table] = tuple(item for item in items if item is not None)
        elif not rows:
            _keep(fields, path, keep(found))
        elif isinstance(found, list):
            for row, into in zip(
                found, fields.setdefault(table, tuple({} for _ in found[:most])), strict=False
            ):
                _keep(into, column, keep(_find(row, column)))
    return fields


def _keep(fields: dict[str, Any], name: str, value: object) -> None:
    if value is not None:
        fields[name] = value


def _code(value: object) -> object:
    return value if _is_code(value) else None


def _excerpt(pattern: re.Pattern[str], value: object) -> str | None:
    match = pattern.search(value) if isinstance(value, str) else None
    return match[0][:_LONGEST_EXCERPT] if match else None


def _find(document: object, path: str) -> object:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _is_code(value: object) -> bool:
    if isinstance(value, str):
        return _CODE.fullmatch(value) is not None and detect(value) is None
    return isinstance(value, bool) or (isinstance(value, int) and detect(str(value)) is None)
