"""Bodies of replies as plain documents: JSON, flat XML, and the tables that bills are.

A table has one line of headings and one line for each row. WeChat Pay puts a backquote before each
value and, in the last two lines, the sums, of which the first says how many rows there are; Alipay
writes GBK, pads values with tabs, puts remarks behind ``#``, and packs it all in a ZIP archive with
a second file for the sums. (Documents "Download trade bill" of both.) A table of which a part is
missing or cannot be read is no table: nobody should compare half a bill.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from integrations.flat_xml import Entangled, flat_xml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["read_document"]

_LARGEST_FILE = 64 * 1024 * 1024


def read_document(form: str, body: bytes) -> dict[str, Any] | None:
    """The document, or None if the body is not of the form.

    Args:
        form: ``json``, ``xml``, ``table`` or ``zipped_table``; tables give ``rows``.
        body: The raw bytes.
    """
    try:
        return _READERS[form](body)
    except (ValueError, RecursionError, Entangled):
        return None


def _json(body: bytes) -> dict[str, Any] | None:
    document = json.loads(body)
    return document if isinstance(document, dict) else None


def _xml(body: bytes) -> dict[str, Any]:
    return dict(flat_xml(body, foreign=True))


def _table(body: bytes) -> dict[str, Any]:
    head, *lines, _, sums = _lines(body.decode("utf-8-sig"))
    # Split by what stands between two values, because a value may hold a comma.
    rows = [line.removeprefix("`").split(",`") for line in lines]
    if sums.partition(",")[0] != f"`{len(rows)}":
        raise ValueError
    return _rows(head.split(","), rows)


def _zipped_table(body: bytes) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_FILE:
                raise ValueError
            for member in archive.infolist():
                lines = _lines(archive.read(member).decode("gb18030"))
                plain = [line for line in lines if not line.startswith("#")]
                headings, *rows = ([cell.strip() for cell in row] for row in csv.reader(plain))
                if "商户订单号" in headings:
                    return _rows(headings, rows)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, csv.Error, *_UNREADABLE):
        pass
    raise ValueError


_UNREADABLE = (EOFError, NotImplementedError, OSError, RuntimeError, struct.error)
"""What zipfile says of members that are encrypted, cut off, or packed in another way."""


def _lines(text: str) -> list[str]:
    # Not splitlines, which breaks at marks that may stand within a value.
    return [line for each in text.split("\n") if (line := each.removesuffix("\r"))]


def _rows(headings: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"rows": [dict(zip(headings, row, strict=True)) for row in rows]}


_READERS: Mapping[str, Callable[[bytes], dict[str, Any] | None]] = {
    "json": _json,
    "xml": _xml,
    "table": _table,
    "zipped_table": _zipped_table,
}
