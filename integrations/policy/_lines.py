"""Where in a TOML text each key stands; ``tomllib`` reads values but forgets their lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Lines"]

_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = re.compile(rf"{_NAME}(?:\s*\.\s*{_NAME})*")
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_DOTTED.pattern})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED.pattern})\s*=")
# A comment, a string of any kind, or a bracket: all that decides where a value ends.
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n]',
    re.DOTALL,
)

_Path = tuple[str | int, ...]


@dataclass
class Lines:
    """Line numbers by path, for a text that ``tomllib`` has accepted.

    Args:
        text: The TOML text.
    """

    text: str
    _at: dict[_Path, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        table: _Path = ()
        rows: dict[_Path, int] = {}
        for number, line, items in self._statements():
            if header := _TABLE.match(line):
                table = ()
                names = _names(header[2])
                for depth, name in enumerate(names, start=1):
                    table += (name,)
                    if depth == len(names) and header[1] == "[[":
                        rows[table] = rows.get(table, -1) + 1
                    if table in rows:
                        table += (rows[table],)
                self._at.setdefault(table, number)
            elif key := _KEY.match(line):
                path = table + tuple(_names(key[1]))
                self._at[path] = number
                self._at.update({(*path, index): item for index, item in enumerate(items)})

    def of(self, path: _Path) -> int:
        """The line of ``path``, or of its nearest ancestor that has one; 1 at worst."""
        while path not in self._at and path:
            path = path[:-1]
        return self._at.get(path, 1)

    def _statements(self) -> Iterator[tuple[int, str, list[int]]]:
        """Each table header, and each key with its value, however many lines it spans.

        Yields:
            The first line, the text, and the lines where tables inside an array begin.
        """
        items: list[int] = []
        start, depth, number, first = 0, 0, 1, 1
        for token in _TOKEN.finditer(self.text + "\n"):
            text = token[0]
            if text in "[{":
                if depth == 1:
                    items.append(number)
                depth += 1
            elif text in "]}":
                depth -= 1
            elif text == "\n":
                number += 1
                if depth == 0:
                    yield first, self.text[start : token.start()], items
                    start, first, items = token.end(), number, []
            else:
                number += text.count("\n")


def _names(dotted: str) -> list[str]:
    return [name.strip("\"'") for name in re.findall(_NAME, dotted)]
