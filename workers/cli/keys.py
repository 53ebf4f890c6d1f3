"""``zjj keys``: API keys of web backends, and the keys of the deployment."""

from __future__ import annotations

from typing import Annotated

import typer

from models.api_keys import create_api_key
from models.database import open_database, writing
from models.keys import generate_key
from workers.cli.language import say_in as t
from workers.settings import load_settings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help=t("API keys and secrets.", "接口密钥与密钥生成。"))


@app.command(
    "create",
    help=t(
        "Make an API key for a web backend; shown once.", "为业务后端创建接口密钥，仅显示一次。"
    ),
)
def create(
    backend: Annotated[str, typer.Option(help=t("The backend's name.", "后端名称。"))],
) -> None:
    """Create an API key."""
    with writing(open_database(load_settings().database)) as connection:
        typer.echo(create_api_key(connection, backend))


@app.command(
    "generate",
    help=t("Print fresh secrets for a deployment's environment.", "生成部署所需的密钥。"),
)
def generate() -> None:
    """Print ``ZJJ_MASTER_KEYS`` and ``ZJJ_PSEUDONYM_KEY``."""
    typer.echo(f"ZJJ_MASTER_KEYS=k1:{generate_key()}")
    typer.echo(f"ZJJ_PSEUDONYM_KEY={generate_key()}")
