"""``zjj pushes``: what notices say."""

from __future__ import annotations

from typing import Any, get_args

import typer
from pydantic import TypeAdapter
from rich.console import Console

from tasks.push import Notice
from workers.cli.filters import AsJson
from workers.cli.language import say_in as t
from workers.cli.tables import make_table
from workers.published import open_policy
from workers.settings import load_settings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help=t("Push notices.", "推送通知。"))


@app.callback()
def pushes() -> None:
    """Push notices."""


@app.command("notices", help=t("What each notice says.", "各类通知的固定文案。"))
def notices(as_json: AsJson = False) -> None:
    """Show the reviewed wordings, checked as at start."""
    from integrations.jiguang import load_notices

    found = load_notices(open_policy(load_settings()), get_args(Notice))
    if as_json:
        typer.echo(TypeAdapter(Any).dump_json(found, indent=2).decode())
        return
    table = make_table(t("Notice", "通知"), t("Wording", "文案"))
    for name, wording in found.items():
        table.add_row(name, wording)
    Console(highlight=False).print(table)
