"""``zjj privacy ledger``: whether the record of disclosures is what its writers wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from models.accounts import count_chained
from models.chains import ChainEnd, chain_ends, verify_ledger
from models.database import open_database
from models.errors import DatabaseUnavailable, InvalidValue
from workers.cli.exits import ENDED_BADLY
from workers.cli.filters import AsJson
from workers.cli.language import say_in as t
from workers.settings import Settings, load_settings

__all__ = ["ledger", "reading"]

ledger = typer.Typer(
    no_args_is_help=True, help=t("The record of disclosures.", "对外提供的记录（台账）。")
)
_ENDS = TypeAdapter(list[ChainEnd])


@ledger.callback()
def _group() -> None:
    """A group, even while it has one command."""


@ledger.command(
    "verify",
    help=t(
        "Find rows of the ledger that were removed, changed or put in another order.",
        "检查台账是否被删除、修改或调换。",
    ),
)
def verify(
    against: Annotated[
        Path | None,
        typer.Option(
            help=t(
                "What --save wrote earlier: chains that are gone as a whole show, and a database "
                "that was put back to an earlier day.",
                "与先前 --save 保存的文件比较：可发现整条缺失的链和被恢复到旧状态的数据库。",
            )
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help=t(
                "Write the ends of all chains to a file, to be kept elsewhere. It holds no values.",
                "将各链的末端写入文件，另行保管；不含任何内容。",
            )
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Walk every chain of the ledger; exit code 1 tells that one does not fit."""
    settings = load_settings()
    known = [] if against is None else _read(against)
    with reading(settings) as connection, Progress(transient=True, console=_errors()) as bar:
        rows = count_chained(connection)
        ends = chain_ends(connection)
        task = bar.add_task(t("Verifying", "校验中"), total=rows)
        faults = list(
            verify_ledger(
                connection,
                settings.pseudonym,
                known=known,
                walked=lambda more: bar.advance(task, more),
            )
        )
    if as_json:
        _print_json({"rows": rows, "faults": [asdict(fault) for fault in faults]})
    for fault in () if as_json else faults:
        typer.echo(
            t(
                f"Writer {fault.writer}: {fault.what} at row {fault.seq}",
                f"写入者 {fault.writer}：第 {fault.seq} 行 {_WHAT[fault.what]}",
            )
        )
    if faults:
        raise typer.Exit(ENDED_BADLY)
    if save is not None:
        save.write_bytes(_ENDS.dump_json(ends, indent=1) + b"\n")
    if not as_json:
        typer.echo(t(f"The ledger is whole: {rows} rows.", f"台账完整，共 {rows} 行。"))


_WHAT = {"removed": "缺失", "altered": "被改动", "tail cut": "起的末尾被截去"}


def _read(path: Path) -> list[ChainEnd]:
    try:
        return _ENDS.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise InvalidValue(
            t(
                "--against: the file cannot be read, or --save did not write it",
                "--against：文件无法读取，或不是 --save 写的",
            )
        ) from None


@contextmanager
def reading(settings: Settings) -> Iterator[Connection]:
    """The database, to be asked.

    Raises:
        DatabaseUnavailable: It does not answer, or lacks its tables.
    """
    engine = open_database(settings.database)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise DatabaseUnavailable(
            t("the database does not answer, or lacks its tables", "数据库无法访问或尚未建表")
            + f" ({type(error.orig).__name__})"
        ) from None
    finally:
        engine.dispose()


def _errors() -> Console:
    return Console(stderr=True, highlight=False)


def _print_json(document: Any) -> None:
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
