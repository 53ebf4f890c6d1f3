"""Tables on a terminal in which nothing is cut off: what does not fit goes on in the next line."""

from __future__ import annotations

import os
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table

__all__ = ["make_table", "record", "terminal"]

_WITHOUT_A_TERMINAL = 240
"""Columns: in a file or a pipe each thing stays in one line, to be searched."""


def terminal(*, errors: bool = False) -> Console:
    """Standard output, or standard error; as wide as the terminal is, if it is one."""
    console = Console(highlight=False, stderr=errors)
    if not (console.is_terminal or os.environ.get("COLUMNS")):
        console.width = _WITHOUT_A_TERMINAL
    return console


def make_table(*headings: str, title: str | None = None) -> Table:
    """A table with these headings; what its first column names stays whole, to be copied."""
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    return table


def record(heading: str, rows: Iterable[tuple[str, str]]) -> RenderableType:
    """One of several things: its heading, and what there is to say of it, a line each."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return Group(heading, Padding(grid, (0, 0, 0, 2), expand=False))
