"""Requests as leaves: each body or query is written from named values and read back into them.

Writing and reading share the grammar only, not code. Reading is strict and total: every byte
belongs to a name, to a value or to fixed syntax, and what could be read in two ways (a duplicate
name, a plus sign for a space, a DTD, an empty container) is not read at all.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes
from xml.sax.saxutils import escape

from integrations.flat_xml import Entangled, flat_xml
from integrations.policy import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "CONTENT_TYPES",
    "Leaf",
    "Leaves",
    "Path",
    "Unreadable",
    "read",
    "read_path",
    "write",
    "write_path",
]

Path = tuple[str, ...]
"""Names from the outside in: ``("TemplateParam", "code")``."""
Leaf = str | int | bool
Leaves = dict[Path, Leaf]

_BOUNDARY = "zjj-9c1d7b52e0f8"
_FIRST = "[0]"

CONTENT_TYPES: Mapping[Place, str] = {
    Place.FORM: "application/x-www-form-urlencoded",
    Place.JSON: "application/json; charset=utf-8",
    Place.XML: "text/xml; charset=utf-8",
    Place.MULTIPART: f"multipart/form-data; boundary={_BOUNDARY}",
}


class Unreadable(Exception):
    """Bytes that are not of the declared form, or could be read in two ways."""


def write(place: Place, leaves: Iterable[tuple[Path, Leaf]]) -> bytes:
    """The bytes of a query or a body.

    A path of two or more names means nested JSON: in a form or query, JSON text inside the
    parameter that the first name gives. ``[0]`` is the one item of a list.
    """
    return _WRITERS[place](leaves)


def read(place: Place, data: bytes, nested: frozenset[str] = frozenset()) -> Leaves:
    """The leaves of a query or a body.

    Args:
        place: Which grammar.
        data: The bytes.
        nested: Parameters of a form or query whose text is JSON.

    Raises:
        Unreadable: See there; the message is static.
    """
    try:
        if place in {Place.QUERY, Place.FORM}:
            return _read_pairs(data, nested)
        return _READERS[place](data)
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8") from None


_SEGMENT = re.compile(r"\{([a-z_]+)\}")


def write_path(template: str, texts: Mapping[str, Leaf]) -> str:
    """A path, its braces filled with percent-encoded texts."""
    return _SEGMENT.sub(lambda match: quote(str(texts.get(match[1], "")), safe=""), template)


def read_path(template: str, path: bytes) -> Leaves:
    """The leaves of a path: what stands where the template has braces.

    Each is one whole segment, written in the one way that :func:`write_path` writes it, so neither
    an encoded slash nor dots lead elsewhere.

    Raises:
        Unreadable: See there; also when the path is not of the template.
    """
    leaves: Leaves = {}
    expected, given = template.split("/"), path.split(b"/")
    if len(expected) != len(given):
        raise Unreadable("another path")
    for segment, raw in zip(expected, given, strict=True):
        name = _SEGMENT.fullmatch(segment)
        if name is None:
            if segment.encode() != raw:
                raise Unreadable("another path")
            continue
        try:
            text = _decoded(raw)
        except UnicodeDecodeError:
            raise Unreadable("not UTF-8") from None
        if quote(text, safe="").encode() != raw or text in {"", ".", ".."}:
            raise Unreadable("a segment that could be read in two ways")
        if any(character in "/\\%?#" or not character.isprintable() for character in text):
            raise Unreadable("a segment that leads elsewhere")
        _put((name[1],), text, leaves)
    return leaves


def _tree(leaves: Iterable[tuple[Path, Leaf]]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, leaf in leaves:
        branch = root
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = leaf
    return root


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _json_text(value: object) -> str:
    return _encode(_with_lists(value))


def _with_lists(value: object) -> object:
    """A branch whose only name is ``[0]`` is a list of one."""
    if not isinstance(value, dict):
        return value
    if value.keys() == {_FIRST}:
        return [_with_lists(value[_FIRST])]
    return {name: _with_lists(child) for name, child in value.items()}


def _write_pairs(leaves: Iterable[tuple[Path, Leaf]]) -> bytes:
    return "&".join(
        f"{name}={quote(_json_text(value) if isinstance(value, dict) else str(value), safe='')}"
        for name, value in _tree(leaves).items()
    ).encode()


def _write_json(leaves: Iterable[tuple[Path, Leaf]]) -> bytes:
    return _json_text(_tree(leaves)).encode()


def _write_xml(leaves: Iterable[tuple[Path, Leaf]]) -> bytes:
    inner = "".join(f"<{name}>{escape(str(leaf))}</{name}>" for (name,), leaf in leaves)
    return f"<xml>{inner}</xml>".encode()


def _write_multipart(leaves: Iterable[tuple[Path, Leaf]]) -> bytes:
    parts = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{leaf}\r\n'
        for (name,), leaf in leaves
    )
    return f"{''.join(parts)}--{_BOUNDARY}--\r\n".encode()


_PAIRS = re.compile(rb"(?:[A-Za-z0-9._~&=-]++|%[0-9A-Fa-f]{2})*+")


def _read_pairs(data: bytes, nested: frozenset[str]) -> Leaves:
    if not _PAIRS.fullmatch(data):
        raise Unreadable("a character that should be percent-encoded")
    leaves: Leaves = {}
    for pair in data.split(b"&") if data else ():
        raw_name, equals, raw_value = pair.partition(b"=")
        if not equals:
            raise Unreadable("a name without a value")
        name, value = _decoded(raw_name), _decoded(raw_value)
        if name in nested:
            _flatten((name,), _json_value(value), leaves)
        else:
            _put((name,), value, leaves)
    return leaves


def _decoded(raw: bytes) -> str:
    return (unquote_to_bytes(raw) if b"%" in raw else raw).decode()


def _read_json(data: bytes) -> Leaves:
    leaves: Leaves = {}
    value = _json_value(data.decode())
    if not isinstance(value, dict):
        raise Unreadable("not an object")
    for name, child in value.items():
        _flatten((name,), child, leaves)
    return leaves


def _read_xml(data: bytes) -> Leaves:
    try:
        return {(name,): text for name, text in flat_xml(data).items()}
    except Entangled as entangled:
        raise Unreadable(str(entangled)) from None


_PART = re.compile(
    rb'--%s\r\nContent-Disposition: form-data; name="([A-Za-z0-9_.-]+)"\r\n\r\n(.*?)\r\n(?=--%s)'
    % (_BOUNDARY.encode(), _BOUNDARY.encode()),
    re.DOTALL,
)


def _read_multipart(data: bytes) -> Leaves:
    leaves: Leaves = {}
    position = 0
    while part := _PART.match(data, position):
        _put((part[1].decode(),), part[2].decode(), leaves)
        position = part.end()
    if data[position:] != f"--{_BOUNDARY}--\r\n".encode():
        raise Unreadable("not multipart")
    return leaves


def _put(path: Path, leaf: Leaf, leaves: Leaves) -> None:
    if path in leaves:
        raise Unreadable("a duplicate name")
    leaves[path] = leaf


def _flatten(path: Path, value: object, leaves: Leaves) -> None:
    if isinstance(value, dict) and value:
        for name, child in value.items():
            if name.startswith("["):
                raise Unreadable("a name that could be read as a place in a list")
            _flatten((*path, name), child, leaves)
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            _flatten((*path, f"[{index}]"), child, leaves)
    elif isinstance(value, str | int):
        _put(path, value, leaves)
    else:
        raise Unreadable("JSON beyond text, whole numbers and truth values")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise Unreadable("a duplicate name")
    return names


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _json_value(text: str) -> object:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise Unreadable("not JSON") from None


_WRITERS: Mapping[Place, Callable[[Iterable[tuple[Path, Leaf]]], bytes]] = {
    Place.QUERY: _write_pairs,
    Place.FORM: _write_pairs,
    Place.JSON: _write_json,
    Place.XML: _write_xml,
    Place.MULTIPART: _write_multipart,
}
_READERS: Mapping[Place, Callable[[bytes], Leaves]] = {
    Place.JSON: _read_json,
    Place.XML: _read_xml,
    Place.MULTIPART: _read_multipart,
}
