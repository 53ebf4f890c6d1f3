"""Finding a value again in what a run leaves behind; apart from the gate's own search.

A value is looked for as it is, percent-encoded, JSON-escaped, in hexadecimal, in base64 (either
alphabet, each alignment), as MD5, SHA-1, SHA-256 and SHA-512 (hexadecimal and base64), in UTF-16,
and inside whatever gzip or zlib stream occurs; of numbers also every run of seven digits or more,
except in a number that is itself another of the values that are looked for.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from urllib.parse import quote, unquote_to_bytes

__all__ = ["Search", "Trace", "Value", "find", "unpacked"]

_RUN = 7
_STEP = 2
_SIEVED = _RUN + _STEP - 1
# Digits that stand alone; a fraction of a second is none of a person's digits.
_DIGITS = re.compile(rb"(?<![0-9A-Za-z_])(?<!\d\.)[0-9]{4,24}(?![0-9A-Za-z_])")
_STREAM = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_ESCAPED = re.compile(rb"\\+u([0-9a-fA-F]{4})")
_DIGESTS = ("md5", "sha1", "sha256", "sha512")
_DEEPEST = 3
_SECONDS_DIGITS = 10
_DAYS = 10 * 86_400


@dataclass(frozen=True)
class Value:
    """A made-up value of a made-up person."""

    name: str
    """What it is, such as ``phone``; findings name it and never show it."""
    text: str

    @cached_property
    def forms(self) -> dict[str, tuple[bytes, ...]]:
        """The bytes to look for, by the name of the form; in lower case where case is free."""
        data = self.text.encode()
        digests = [hashlib.new(name, data, usedforsecurity=False) for name in _DIGESTS]
        forms: dict[str, tuple[bytes, ...]] = {
            "hex": (data.hex().encode(),),
            "digest": tuple(digest.hexdigest().encode() for digest in digests),
            "percent": ("".join(f"%{byte:02x}" for byte in data).encode(),),
            "json": ("".join(f"\\u{ord(sign):04x}" for sign in self.text).encode(),),
        }
        if not self.short:
            forms["plain"] = tuple({data.lower(), quote(self.text).encode().lower()})
            forms["utf-16"] = tuple(
                self.text.encode(f"utf-16-{end}").lower() for end in ("le", "be")
            )
        return forms

    @cached_property
    def encoded(self) -> tuple[bytes, ...]:
        """The characters of base64 that the value alone decides; here case counts."""
        data = self.text.encode()
        cores = [
            base64.b64encode(b"\0" * shift + data)[
                -(-shift * 8 // 6) : (shift + len(data)) * 8 // 6
            ]
            for shift in range(3)
        ]
        cores += [
            base64.b64encode(hashlib.new(name, data, usedforsecurity=False).digest()).rstrip(b"=")
            for name in _DIGESTS
        ]
        return tuple(core for core in cores if len(core) >= _RUN)

    @cached_property
    def runs(self) -> tuple[bytes, ...]:
        """Every part of seven digits of a number."""
        if not self.text.isdecimal() or self.short:
            return ()
        return tuple(_runs(self.text.encode()))

    @property
    def short(self) -> bool:
        """Whether it occurs by chance, so that only a number standing alone counts."""
        return len(self.text) < _RUN and self.text.isascii()


@dataclass(frozen=True, slots=True)
class Trace:
    """A value that was found."""

    value: Value
    form: str
    count: int


class Search:
    """Looks for many values in much data.

    Most values are ruled out by one pass over the data: of any two successive runs of a text one
    stands where the pass looks.
    """

    def __init__(self, values: Iterable[Value]) -> None:
        self._values = [*dict.fromkeys(values)]
        self._anywhere: list[Value] = []
        """Those that have a form too short for the pass."""
        self._by_part: dict[bytes, list[Value]] = defaultdict(list)
        self._by_run: dict[bytes, list[Value]] = defaultdict(list)
        for value in self._values:
            needles = [*value.encoded, *(each for form in value.forms.values() for each in form)]
            if min(map(len, needles)) < _SIEVED:
                self._anywhere.append(value)
            for needle in needles:
                for part in _runs(needle[-_SIEVED:]):
                    self._by_part[part].append(value)
            for run in value.runs:
                self._by_run[run].append(value)
        self._parts = frozenset(self._by_part)
        self._whole = {value.text.encode(): value for value in self._values}

    def find(self, data: bytes) -> list[Trace]:
        """Every value that occurs in ``data`` in some form."""
        found: dict[Value, dict[str, int]] = {}
        for layer in map(_Layer, unpacked(data)):
            for value in self._candidates(layer):
                forms = found.setdefault(value, {})
                for form, count in layer.count(value, self._whole):
                    forms[form] = max(count, forms.get(form, 0))
        return [
            Trace(value, form, count)
            for value in self._values
            for form, count in found.get(value, {}).items()
        ]

    def _candidates(self, layer: _Layer) -> set[Value]:
        seen = self._parts.intersection(
            chain(_runs(layer.lower, _STEP), _runs(layer.encoded, _STEP))
        )
        return {
            *self._anywhere,
            *chain.from_iterable(self._by_part[part] for part in seen),
            *chain.from_iterable(
                self._by_run[run] for run in self._by_run.keys() & layer.runs.keys()
            ),
        }


def find(values: Iterable[Value], data: bytes) -> list[Trace]:
    """The same for a single piece of data."""
    return Search(values).find(data)


class _Layer:
    def __init__(self, data: bytes) -> None:
        self.lower = data.lower()
        self.encoded = data.translate(bytes.maketrans(b"-_", b"+/"), b"\r\n")
        self._numbers = Counter(each for each in _DIGITS.findall(data) if not _is_an_instant(each))
        self.runs: dict[bytes, set[bytes]] = defaultdict(set)
        for number in self._numbers:
            for run in _runs(number):
                self.runs[run].add(number)

    def count(self, value: Value, whole: Mapping[bytes, Value]) -> Iterator[tuple[str, int]]:
        """How often ``value`` occurs, by form; a number that is another value is only that one."""
        for form, needles in value.forms.items():
            if count := sum(self.lower.count(needle) for needle in needles):
                yield form, count
        if count := sum(self.encoded.count(core) for core in value.encoded):
            yield "base64", count
        if value.short and (count := self._numbers[value.text.encode()]):
            yield "plain", count
        sharing = set[bytes]().union(*(self.runs.get(run, ()) for run in value.runs))
        sharing = {number for number in sharing if whole.get(number, value) == value}
        if count := sum(self._numbers[number] for number in sharing):
            yield "digits", count


def _runs(data: bytes, step: int = 1) -> Iterator[bytes]:
    return (data[at : at + _RUN] for at in range(0, len(data) - _RUN + 1, step))


def _is_an_instant(number: bytes) -> bool:
    """Whether it says what time it is, since 1970 in seconds or a finer unit.

    A queue writes thousands of them, and some share seven digits with somebody's number.
    """
    finer = len(number) - _SECONDS_DIGITS
    if finer not in {0, 3, 6, 9}:
        return False
    return abs(int(number) // int(10**finer) - time.time()) < _DAYS


def unpacked(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """``data``; the same with percent and JSON escapes undone; and each compressed stream."""
    yield data
    for undone in (unquote_to_bytes(data), _ESCAPED.sub(_character, data)):
        if undone != data:
            yield undone
    if depth < _DEEPEST:
        whole = memoryview(data)
        for match in _STREAM.finditer(data):
            try:
                inner = zlib.decompressobj(47).decompress(whole[match.start() :], 1 << 24)
            except zlib.error:
                continue
            if inner:
                yield from unpacked(inner, depth + 1)


def _character(escape: re.Match[bytes]) -> bytes:
    return chr(int(escape[1], 16)).encode("utf-8", "replace")
