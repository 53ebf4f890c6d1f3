"""``zjj keys``: API keys of web backends, and the keys of the deployment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.console import Console
from sqlalchemy import Engine

from models.api_keys import ApiKey, Scope, create_api_key, list_api_keys, revoke_api_key
from models.database import open_database, writing
from models.errors import NotFound
from models.keys import generate_key
from workers.cli.filters import AsJson, say
from workers.cli.language import say_in as t
from workers.cli.tables import make_table
from workers.settings import load_settings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help=t("API keys and secrets.", "接口密钥与密钥生成。"))

_Scopes = Annotated[
    list[Scope],
    typer.Option(
        "--scope",
        help=t(
            "What it may be used for; may be repeated. All but operate concern this backend only.",
            "允许的用途，可重复；除 operate 外均仅限本后端。",
        ),
    ),
]


@app.command(
    "create",
    help=t(
        "Make an API key for a web backend; shown once.", "为业务后端创建接口密钥，仅显示一次。"
    ),
)
def create(
    backend: Annotated[str, typer.Option(help=t("The backend's name.", "后端名称。"))],
    scopes: _Scopes = [Scope.ENQUEUE, Scope.READ],  # noqa: B006 - never changed
    as_json: AsJson = False,
) -> None:
    """Create an API key."""
    with _database() as engine, writing(engine) as connection:
        key = create_api_key(connection, backend, scopes=scopes)
    say(key, as_json=as_json, key=key)


@app.command("list", help=t("List API keys; never a secret.", "列出接口密钥，不含密钥内容。"))
def list_keys(as_json: AsJson = False) -> None:
    """List API keys."""
    with _database() as engine, engine.connect() as connection:
        keys = list_api_keys(connection)
    if as_json:
        typer.echo(TypeAdapter(list[ApiKey]).dump_json(keys, indent=2).decode())
        return
    table = make_table(
        t("Key", "密钥编号"),
        t("Backend", "后端"),
        t("Scopes", "用途"),
        t("Created (UTC)", "创建时间（UTC）"),
        t("Revoked (UTC)", "吊销时间（UTC）"),
    )
    for key in keys:
        table.add_row(
            key.id,
            key.backend,
            " ".join(scope for scope in Scope if scope in key.scopes),
            f"{key.created_at:%Y-%m-%d %H:%M}",
            f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "",
        )
    Console(highlight=False).print(table)


@app.command(
    "revoke",
    help=t("Refuse an API key from now on.", "吊销接口密钥。"),
)
def revoke(
    key_id: Annotated[str, typer.Argument(help=t("The key's id.", "密钥编号。"))],
    as_json: AsJson = False,
) -> None:
    """Revoke an API key; gateways notice within seconds.

    Raises:
        NotFound: There is no such key, or it was revoked before.
    """
    with _database() as engine, writing(engine) as connection:
        if not revoke_api_key(connection, key_id):
            raise NotFound(t("there is no such key in use", "没有该密钥，或已吊销"))
    say(f"{key_id}: " + t("revoked", "已吊销"), as_json=as_json, id=key_id, revoked=True)


@app.command(
    "generate",
    help=t("Print fresh secrets for a deployment's environment.", "生成部署所需的密钥。"),
)
def generate(as_json: AsJson = False) -> None:
    """Print ``ZJJ_MASTER_KEYS`` and ``ZJJ_PSEUDONYM_KEY``."""
    made = {"ZJJ_MASTER_KEYS": f"k1:{generate_key()}", "ZJJ_PSEUDONYM_KEY": generate_key()}
    say("\n".join(f"{name}={key}" for name, key in made.items()), as_json=as_json, **made)


@contextmanager
def _database() -> Iterator[Engine]:
    """The database alone: no secret is needed to look after keys."""
    engine = open_database(load_settings().database)
    try:
        yield engine
    finally:
        engine.dispose()
