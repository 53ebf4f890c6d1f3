"""The project's pages, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "Page", "table"]

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"!?\[((?:[^\[\]]|`[^`]*`)*)\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str


@dataclass(frozen=True)
class Page:
    """One Markdown page, by its path from the root."""

    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def file(self) -> Path:
        return ROOT / self.path

    @cached_property
    def text(self) -> str:
        return self.file.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """Without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        return [Block(match[1], match[2]) for match in _FENCE.finditer(self.text)]

    @cached_property
    def links(self) -> list[tuple[str, str]]:
        """(text, target)"""
        return [(match[1], match[2]) for match in _LINK.finditer(self.prose)]

    @cached_property
    def headings(self) -> list[tuple[int, str]]:
        """(level, words)"""
        return [(len(match[1]), match[2]) for match in _HEADING.finditer(self.prose)]

    @cached_property
    def anchors(self) -> set[str]:
        """As GitHub makes them of headings."""
        return {
            re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for _, words in self.headings
        }

    @cached_property
    def names(self) -> list[str]:
        """What stands in backticks, outside of blocks."""
        return [match[0].strip("`") for match in _CODE.finditer(self.prose)]

    def section(self, heading: str) -> str:
        """What stands under a heading, up to the next one of its level or above."""
        start = re.search(rf"^(#+) {re.escape(heading)}$", self.text, re.MULTILINE)
        assert start, f"{self.path} has no heading {heading!r}"
        rest = self.text[start.end() :]
        end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.MULTILINE)
        return rest[: end.start()] if end else rest


def table(text: str) -> list[list[str]]:
    """The cells of all table rows in a text, headings and rules left out."""
    rows: list[list[str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line.startswith("|") and not _is_rule(line) and not _is_rule(following):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def _is_rule(line: str) -> bool:
    return line.startswith("|") and set(line) <= set("|-: ")


PAGES = [
    Page(str(path.relative_to(ROOT)))
    for path in sorted(
        [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("clients/**/*.md")]
    )
]
