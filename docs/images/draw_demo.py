# ruff: noqa: INP001 - a script, not a package
"""Draw the pictures of the README: what ``zjj run --demo`` really prints, as SVG.

::

    make pictures

A demo runs once in each language, in a data folder that is thrown away, and its terminal output
becomes ``demo.svg`` and ``demo.zh-CN.svg`` beside this file. Nothing personal is in it, because the
product prints nothing personal. The pictures load nothing, not even a font: every character has
its own cell, and lines are drawn as lines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from socket import socket
from xml.sax.saxutils import escape

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

_HERE = Path(__file__).parent
_PICTURES = {"demo.svg": "en", "demo.zh-CN.svg": "zh"}
_CONSOLE = Console()
_COLUMNS = 94
_WIDTH, _HEIGHT, _MARGIN, _TITLE = 10, 22, 20, 40
"""Of a cell, around the text, and of the bar above it."""
_ARMS = {
    "LEFT": "M{x},{m}H{c}",
    "RIGHT": "M{c},{m}H{r}",
    "UP": "M{c},{y}V{m}",
    "DOWN": "M{c},{m}V{b}",
    "HORIZONTAL": "M{x},{m}H{r}",
    "VERTICAL": "M{c},{y}V{b}",
}
_FONTS = (
    "ui-monospace, Menlo, 'Cascadia Mono', Consolas, 'DejaVu Sans Mono', "
    "'Noto Sans Mono CJK SC', 'PingFang SC', 'Microsoft YaHei', monospace"
)


def main() -> None:
    """Draw all pictures."""
    for name, language in _PICTURES.items():
        (_HERE / name).write_text(_draw(_demo(language)), encoding="utf-8")


def _demo(language: str) -> str:
    """The output of one demo, with its colours."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", "run", "--demo"],
            cwd=_HERE.parents[1],
            env={
                "PATH": os.environ["PATH"],
                "ZJJ_DATA": data,
                "ZJJ_GATEWAY_PORT": str(port),
                "ZJJ_LANG": language,
                "COLUMNS": str(_COLUMNS),
                "FORCE_COLOR": "1",
                "TERM": "xterm-256color",
            },
            stdout=subprocess.PIPE,
            check=True,
        )
    return f"$ make demo\n{done.stdout.decode().rstrip()}"


def _draw(output: str) -> str:
    lines = [Text.from_ansi(line.rstrip()) for line in output.splitlines()]
    width = _COLUMNS * _WIDTH + 2 * _MARGIN
    height = len(lines) * _HEIGHT + _TITLE + _MARGIN
    dots = "".join(f'<circle cx="{22 + 20 * n}" cy="20" r="6" fill="#555"/>' for n in range(3))
    body = "\n".join(part for row, line in enumerate(lines) for part in _row(line, row))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>make demo</title>\n"
        f'<rect width="{width}" height="{height}" rx="10" fill="#1b1b1b"/>\n{dots}\n'
        f'<g transform="translate({_MARGIN} {_TITLE})" font-family="{_FONTS}" font-size="16.6" '
        f'fill="#d0d0d0" stroke-width="1">\n{body}\n</g>\n</svg>\n'
    )


def _row(line: Text, row: int) -> Iterator[str]:
    """One line of the terminal: words in their cells, and the strokes of its tables."""
    top, column, strokes = row * _HEIGHT, 0, ""
    for word, style in _words(line):
        width = cell_len(word)
        if _kind(word[0]) == "box":
            for offset, character in enumerate(word):
                strokes += _stroke(character, column + offset, top)
        elif _kind(word[0]) == "text":
            cells = [(column + cell_len(word[:n])) * _WIDTH for n in range(len(word))]
            place = f'x="{" ".join(map(str, cells))}" y="{top + 16}"'
            yield f"<text {place}{_look(style)}>{escape(word)}</text>"
        column += width
    if strokes:
        yield f'<path d="{strokes}" stroke="#8a8a8a" fill="none"/>'


def _words(line: Text) -> Iterator[tuple[str, Style]]:
    """Runs of one style and one kind: blanks, box drawings, other text."""
    cells = (
        (character, (_kind(character), line.get_style_at_offset(_CONSOLE, index)))
        for index, character in enumerate(line.plain)
    )
    for (_, style), run in groupby(cells, key=itemgetter(1)):
        yield "".join(character for character, _ in run), style


def _kind(character: str) -> str:
    name = unicodedata.name(character)
    return "box" if name.startswith("BOX DRAWINGS") else "blank" if name == "SPACE" else "text"


def _stroke(character: str, column: int, top: int) -> str:
    x = column * _WIDTH
    place = {"x": x, "c": x + 5, "r": x + _WIDTH, "y": top, "m": top + 11, "b": top + _HEIGHT}
    arms = unicodedata.name(character).split()
    return "".join(path.format(**place) for arm, path in _ARMS.items() if arm in arms)


def _look(style: Style) -> str:
    look = ""
    if style.color is not None and not style.color.is_default:
        look += f' fill="{style.color.get_truecolor(DIMMED_MONOKAI).hex}"'
    if style.dim:
        look += ' opacity="0.6"'
    if style.bold:
        look += ' font-weight="bold"'
    if style.italic:
        look += ' font-style="italic"'
    return look


if __name__ == "__main__":
    main()
