"""``zjj db``: the schema."""

from __future__ import annotations

import typer

from models.database import migrate, open_database
from workers.cli.filters import AsJson, say
from workers.cli.language import say_in as t
from workers.settings import load_settings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help=t("The database's schema.", "数据库结构。"))


@app.callback()
def _group() -> None:
    """A group, even while it has one command."""


@app.command(
    "migrate",
    help=t("Bring the schema up to date; safe to repeat.", "升级数据库结构，可重复执行。"),
)
def migrate_database(as_json: AsJson = False) -> None:
    """Migrate the database of ``ZJJ_DATABASE_URL``."""
    engine = open_database(load_settings().database)
    migrate(engine)
    said = t("The schema is up to date.", "数据库结构已是最新。")
    say(said, as_json=as_json, current=True)
