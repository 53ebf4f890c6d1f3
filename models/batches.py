"""Many rows, one statement, on either database.

SQLite is fastest when one prepared statement is given row after row. PostgreSQL pays for every
statement, so there all rows of a batch travel as one JSON parameter. Either way a statement is
written once, as a function of its row, and built once for each database.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Table,
    Text,
    UpdateBase,
    any_,
    bindparam,
    cast,
    column,
    func,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

__all__ = [
    "Batch",
    "Row",
    "among",
    "columns_of",
    "insert_into",
    "inserting",
    "picked_once",
    "upserting",
]

Row = Mapping[str, ColumnElement[Any]]
"""The values of one row, by name, for use inside a statement."""


class Batch:
    """A statement that is run for many rows at once.

    Args:
        columns: Names and types of a row's values.
        statement: Builds the statement out of the database's name and a row.
    """

    def __init__(
        self,
        columns: Mapping[str, TypeEngine[Any]],
        statement: Callable[[str, Row], UpdateBase],
    ) -> None:
        self._columns = columns
        self._statement = cache(
            lambda dialect: statement(dialect, self._row(dialect)).execution_options(
                preserve_rowcount=True
            )
        )
        self._written: _Written | None = None

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Run it for all rows; returns how many rows of the table were written."""
        dialect = connection.dialect
        if dialect.name == "postgresql":
            parameters = {"rows": orjson.dumps(rows, default=_as_text, option=_JSON).decode()}
            return connection.execute(self._statement(dialect.name), parameters).rowcount
        if self._written is None:
            self._written = _Written(self._statement(dialect.name), self._columns, dialect)
        return self._written.execute(connection, rows)

    def _row(self, dialect: str) -> Row:
        if dialect != "postgresql":
            return {name: bindparam(name, type_=kind) for name, kind in self._columns.items()}
        rows = func.jsonb_to_recordset(cast(bindparam("rows", type_=Text), postgresql.JSONB))
        named = rows.table_valued(*(column(name, kind) for name, kind in self._columns.items()))
        return dict(named.render_derived(with_types=True).c.items())


class _Written:
    """A statement as SQLite's driver takes it, written once: its text and how values get into it.

    SQLAlchemy would go over the same ground for each row, with the write lock in its hands.
    """

    def __init__(
        self, statement: UpdateBase, columns: Mapping[str, TypeEngine[Any]], dialect: Dialect
    ) -> None:
        compiled = statement.compile(dialect=dialect)
        self._text = str(compiled)
        self._values: list[Callable[[Mapping[str, Any]], Any]] = []
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - UPDATE and INSERT are SQL
        for name in compiled.positiontup or ():
            bind = compiled.binds[name]
            process = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if name in columns:
                self._values.append(_reader(name, process))
            else:
                self._values.append(_constant(process(bind.value) if process else bind.value))

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        parameters = [tuple([value(row) for value in self._values]) for row in rows]
        result = connection.exec_driver_sql(self._text, parameters, execution_options=_COUNTED)
        return result.rowcount


_COUNTED = {"preserve_rowcount": True}


def _reader(name: str, process: Callable[[Any], Any] | None) -> Callable[[Mapping[str, Any]], Any]:
    if process is None:
        return itemgetter(name)
    return lambda row: process(row[name])


def _constant(value: Any) -> Callable[[Mapping[str, Any]], Any]:
    return lambda _row: value


def among(dialect: str, values: Column[str], name: str) -> ColumnElement[bool]:
    """Whether a text column is one of the list in parameter ``name``, however long that is.

    ``IN`` with a parameter for each value would be another statement for each length.
    """
    if dialect == "postgresql":
        return values == any_(bindparam(name, type_=ARRAY(Text)))
    listed = func.json_each(bindparam(name, type_=JSON)).table_valued("value")
    return values.in_(select(listed.c.value))


def columns_of(table: Table) -> dict[str, TypeEngine[Any]]:
    """All columns of a table, for a batch of whole rows."""
    return {column.name: column.type for column in table.c}


def picked_once(column: Column[str], keys: Select[tuple[str]]) -> ColumnElement[bool]:
    """Whether a column is one of these keys, at most as many as asked for.

    In a plain subquery PostgreSQL may pick anew for each row, skip what it has locked itself, and
    so go beyond the limit.
    """
    return column.in_(select(keys.cte("picked")))


def insert_into(dialect: str, table: Any) -> Any:
    """An INSERT that can say ON CONFLICT."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


def inserting(dialect: str, table: Table, row: Row) -> Any:
    """An INSERT of a batch's rows that can say ON CONFLICT."""
    # Without a condition SQLite would read ON CONFLICT as a join's (sqlite.org, "Parsing Ambiguity").
    return insert_into(dialect, table).from_select(
        list(row.keys()), select(*row.values()).where(true())
    )


def upserting(dialect: str, table: Table, row: Row, changed: Iterable[str]) -> Any:
    """An INSERT of a batch's rows; of one that stands under its key, these columns change."""
    statement = inserting(dialect, table, row)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: statement.excluded[name] for name in changed},
    )


_JSON = orjson.OPT_PASSTHROUGH_DATETIME


def _as_text(value: object) -> str:
    """What JSON does not know, in PostgreSQL's own notation."""
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.isoformat()
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"{type(value).__name__} has no place in a batch")
