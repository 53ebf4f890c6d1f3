"""Finding a value again in bytes, however it was written there.

Bytes are unfolded once: percent-encoding, JSON and XML escapes undone until nothing changes,
full-width forms made plain, letters in one case. In the result a value is looked for as it is
(digits also with anything between them), in hexadecimal, in base64 of either alphabet at each of
the three alignments, and as its MD5, SHA-1 and SHA-256: those of a phone number are enumerable,
so they are the number.

A value of fewer than seven letters or digits, such as a verification code, occurs by chance in
any digest; as it is it is only looked for as a whole word, where the caller asks for that.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import unicodedata
from urllib.parse import unquote_to_bytes

__all__ = ["Disguises", "Unfolded"]

_SHORT = 7
_ROUNDS = 5
_JSON_ESCAPE = re.compile(r"\\+u([0-9A-Fa-f]{4})")
_BETWEEN_DIGITS = b" \t\r\n\"'&=:;,._+-/\\|()[]{}#*"
_ONE_ALPHABET = bytes.maketrans(b"-_", b"+/")
_FEWEST = 4


class Unfolded:
    """Bytes in the forms in which values are looked for."""

    __slots__ = ("base64", "digits", "text")

    def __init__(self, data: bytes) -> None:
        for _ in range(_ROUNDS):
            before = data
            if b"%" in data:
                data = unquote_to_bytes(data)
            if b"\\u" in data:
                data = (
                    _JSON_ESCAPE.sub(_character, data.decode("utf-8", "replace"))
                    .encode("utf-16", "surrogatepass")
                    .decode("utf-16", "replace")
                    .encode()
                )
            if b"&#" in data:
                data = html.unescape(data.decode("utf-8", "replace")).encode("utf-8", "replace")
            if data == before:
                break
        self.text = _plain(data.decode("utf-8", "replace"))
        self.digits = self.text.encode("utf-8", "replace").translate(None, _BETWEEN_DIGITS)
        self.base64 = data.translate(_ONE_ALPHABET, b"\r\n")

    def has_word(self, word: str) -> bool:
        """Whether ``word`` stands there with no ASCII letter, digit or underscore beside it."""
        return (
            re.search(rf"(?<!\w){re.escape(_plain(word))}(?!\w)", self.text, re.ASCII) is not None
        )

    def has_line(self, line: str) -> bool:
        """Whether a whole line is ``line``; one of fewer than four characters is no evidence."""
        return len(line) >= _FEWEST and f"\n{_plain(line)}\n" in f"\n{self.text}\n"


class Disguises:
    """One value in the forms that bytes may hold.

    Args:
        value: The text as it is.
    """

    __slots__ = ("_base64", "_digits", "_texts", "short")

    def __init__(self, value: str) -> None:
        data = value.encode()
        plain = _plain(value)
        self.short = len(plain) < _SHORT and plain.isascii()
        """Too short to be told from chance as it is."""
        self._digits = b"" if self.short else plain.encode().translate(None, _BETWEEN_DIGITS)
        self._base64 = tuple(_aligned(data))
        self._texts = (
            data.hex(),
            hashlib.md5(data, usedforsecurity=False).hexdigest(),
            hashlib.sha1(data, usedforsecurity=False).hexdigest(),
            hashlib.sha256(data).hexdigest(),
        )

    def count(self, bytes_: Unfolded) -> int:
        """How often the value occurs, in whatever form."""
        found = bytes_.digits.count(self._digits) if self._digits else 0
        for text in self._texts:
            if text in bytes_.text:
                found += bytes_.text.count(text)
        for core in self._base64:
            if core in bytes_.base64:
                found += bytes_.base64.count(core)
        return found


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16))


def _plain(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _aligned(data: bytes) -> list[bytes]:
    """The characters of base64 that ``data`` alone decides, at each alignment."""
    cores = []
    for shift in range(3):
        first, last = -(-shift * 8 // 6), (shift + len(data)) * 8 // 6
        core = base64.b64encode(b"\0" * shift + data)[first:last]
        if len(core) >= _FEWEST:
            cores.append(core)
    return cores
