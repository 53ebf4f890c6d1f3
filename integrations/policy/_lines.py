"""Where in a TOML text each key stands; ``tomllib`` reads values but forgets their lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

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
        for number, line in self._statements():
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
                self._at[table + tuple(_names(key[1]))] = number

    def of(self, path: _Path) -> int:
        """The line of ``path``, or of its nearest ancestor that has one; 1 at worst."""
        while path not in self._at and path:
            path = path[:-1]
        return self._at.get(path, 1)

    def _statements(self) -> list[tuple[int, str]]:
        """Each table header and each key with its value, however many lines it spans."""
        statements: list[tuple[int, str]] = []
        start, depth, number, first = 0, 0, 1, 1
        for token in _TOKEN.finditer(self.text + "\n"):
            text = token[0]
            if text in "[{":
                depth += 1
            elif text in "]}":
                depth -= 1
            elif text == "\n":
                number += 1
                if depth == 0:
                    statements.append((first, self.text[start : token.start()]))
                    start, first = token.end(), number
            else:
                number += text.count("\n")
        return statements


def _names(dotted: str) -> list[str]:
    return [name.strip("\"'") for name in re.findall(_NAME, dotted)]
