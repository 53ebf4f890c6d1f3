"""Finding a value again in bytes, however it was written there.

Percent-encoding and the escapes of JSON and XML are undone layer by layer until nothing changes;
every layer is searched, because undoing can also destroy (``%16400001234`` holds a number before
its first three characters become one). In each layer full-width forms are made plain and letters
brought to one case. There a value is looked for as it is (with anything between its characters),
in hexadecimal, in base64 of either alphabet at each of the three alignments, and as its MD5, SHA-1
and SHA-256: those of a phone number are enumerable, so they are the number.

A value of fewer than seven ASCII characters, such as a verification code, occurs by chance in any
digest; as it is it is only looked for as a whole word, where the caller asks for that.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Disguises", "Unfolded"]

_SHORT = 7
_FEWEST = 4
_WORD = re.compile(rb"\w+")
_BETWEEN = b" \t\r\n\"'&=:;,._+-/\\|()[]{}#*"
_ONE_ALPHABET = bytes.maketrans(b"-_", b"+/")
_WIDE_BETWEEN = re.compile(  # soft hyphen, dots, dashes, invisible characters, commas
    rb"\xc2[\xad\xb7]|\xe2\x80[\x8b-\x95\xa6]|\xe2\x81\xa0|\xe3\x80[\x81\x82]|\xe3\x83\xbb|\xef\xbb\xbf"
)
_JSON_ESCAPE = re.compile(
    rb"\\u(d[89ab][0-9a-f]{2})\\+u(d[c-f][0-9a-f]{2})|\\u([0-9a-f]{4})", re.IGNORECASE
)
_XML_ESCAPE = re.compile(rb"&#(?:x([0-9a-f]{1,6})|([0-9]{1,7}));?|&amp;", re.IGNORECASE)


class Unfolded:
    """Bytes, layer by layer, in the forms in which values are looked for."""

    __slots__ = ("layers",)

    def __init__(self, data: bytes) -> None:
        self.layers = tuple(_Layer(layer) for layer in _layers(data))

    def has_word(self, word: str) -> bool:
        """Whether ``word`` stands there with no ASCII letter, digit or underscore beside it."""
        plain = _plain(word.encode())
        return any(
            plain in layer.text and plain in _WORD.findall(layer.text) for layer in self.layers
        )

    def has_line(self, line: str) -> bool:
        """Whether a whole line is ``line``; one of fewer than four characters is no evidence."""
        plain = _plain(line.encode())
        return len(line) >= _FEWEST and any(
            plain in layer.text.split(b"\n") for layer in self.layers
        )


class _Layer:
    """One layer; its forms are made when somebody looks for something in them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.text = _plain(data)

    @cached_property
    def letters(self) -> bytes:
        return _letters(self.text)

    @cached_property
    def base64(self) -> bytes:
        return self._data.translate(_ONE_ALPHABET, b"\r\n")


class Disguises:
    """One value in the forms that bytes may hold.

    Args:
        value: The text as it is.
    """

    __slots__ = ("_base64", "_letters", "_texts", "short")

    def __init__(self, value: str) -> None:
        data = value.encode()
        plain = _plain(data)
        self.short = len(plain) < _SHORT and plain.isascii()
        """Too short to be told from chance as it is."""
        self._letters = b"" if self.short else _letters(plain)
        self._base64 = tuple(_aligned(data))
        self._texts = (
            data.hex().encode(),
            hashlib.md5(data, usedforsecurity=False).hexdigest().encode(),
            hashlib.sha1(data, usedforsecurity=False).hexdigest().encode(),
            hashlib.sha256(data).hexdigest().encode(),
        )

    def count(self, unfolded: Unfolded) -> int:
        """How often the value occurs, in whatever form: in the layer where that is most often."""
        return max(self._count(layer) for layer in unfolded.layers)

    def _count(self, layer: _Layer) -> int:
        found = layer.letters.count(self._letters) if self._letters else 0
        for text in self._texts:
            if text in layer.text:
                found += layer.text.count(text)
        for core in self._base64:
            if core in layer.base64:
                found += layer.base64.count(core)
        return found


def _layers(data: bytes) -> Iterator[bytes]:
    """``data``, and what becomes of it by each undoing that changes it; each one is shorter."""
    yield data
    changed = True
    while changed:
        changed = False
        for sign, undo in _UNDOINGS:
            if sign in data and (undone := undo(data)) != data:
                data = undone
                changed = True
                yield data


def _json_character(escape: re.Match[bytes]) -> bytes:
    if escape[3]:
        return chr(int(escape[3], 16)).encode("utf-8", "replace")
    high, low = int(escape[1], 16), int(escape[2], 16)
    return chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF)).encode()


def _xml_character(escape: re.Match[bytes]) -> bytes:
    if not (escape[1] or escape[2]):
        return b"&"
    code = int(escape[1], 16) if escape[1] else int(escape[2])
    return chr(code).encode("utf-8", "replace") if code < 0x110000 else b"?"


_UNDOINGS = (
    (b"%", unquote_to_bytes),
    (b"\\", lambda data: _JSON_ESCAPE.sub(_json_character, data)),
    (b"&#", lambda data: _XML_ESCAPE.sub(_xml_character, data)),
    (b"&amp;", lambda data: _XML_ESCAPE.sub(_xml_character, data)),
)


def _plain(data: bytes) -> bytes:
    """Full-width forms made plain, ASCII letters in lower case."""
    if not data.isascii():
        data = unicodedata.normalize("NFKC", data.decode("utf-8", "replace")).encode()
    return data.lower()


def _letters(plain: bytes) -> bytes:
    """The text without what people put between digits and words."""
    if not plain.isascii():
        plain = _WIDE_BETWEEN.sub(b"", plain)
    return plain.translate(None, _BETWEEN)


def _aligned(data: bytes) -> list[bytes]:
    """The characters of base64 that ``data`` alone decides, at each alignment."""
    cores = []
    for shift in range(3):
        first, last = -(-shift * 8 // 6), (shift + len(data)) * 8 // 6
        core = base64.b64encode(b"\0" * shift + data)[first:last]
        if len(core) >= _FEWEST:
            cores.append(core)
    return cores
