"""Bodies of replies as plain documents: JSON, flat XML, and the tables that bills are.

A table has one line of headings and one line for each row. WeChat Pay puts a backquote before each
value and a second, narrower table with the sums below; Alipay writes GBK, pads values with tabs,
puts remarks behind ``#``, and packs it all in a ZIP archive with a second file for the sums.
(Documents "Download trade bill" of both.)
"""

from __future__ import annotations

import csv
import io
import json
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
    head, *lines = body.decode("utf-8-sig").splitlines()
    headings = head.split(",")
    # Split by what stands between two values, because a value may hold a comma.
    rows = (line[1:].split(",`") for line in lines if line.startswith("`"))
    return _rows(headings, [row for row in rows if len(row) == len(headings)])


def _zipped_table(body: bytes) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            for member in archive.infolist():
                if member.file_size > _LARGEST_FILE:
                    raise ValueError
                lines = archive.read(member).decode("gb18030").splitlines()
                plain = [line for line in lines if line and not line.startswith("#")]
                headings, *rows = ([cell.strip() for cell in row] for row in csv.reader(plain))
                if "商户订单号" in headings:
                    return _rows(headings, [row for row in rows if len(row) == len(headings)])
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, csv.Error):
        pass
    raise ValueError


def _rows(headings: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"rows": [dict(zip(headings, row, strict=True)) for row in rows]}


_READERS: Mapping[str, Callable[[bytes], dict[str, Any] | None]] = {
    "json": _json,
    "xml": _xml,
    "table": _table,
    "zipped_table": _zipped_table,
}
