"""Teaches schemathesis the formats that our descriptions name; read by it as hooks."""

from __future__ import annotations

import datetime as dt

import schemathesis
from hypothesis import strategies as st
from stdnum.cn import ric

__all__ = ["id_numbers"]

_EARLIEST, _LATEST = dt.date(1940, 1, 1), dt.date(2000, 12, 31)


@st.composite
def id_numbers(draw: st.DrawFn) -> str:
    """Numbers of people who do not exist, old enough for everything."""
    born = draw(st.dates(min_value=_EARLIEST, max_value=_LATEST))
    head = f"999999{born:%Y%m%d}{draw(st.integers(0, 899)):03d}"
    return head + str(ric.calc_check_digit(head + "0"))


schemathesis.openapi.format("gb11643", id_numbers())
schemathesis.openapi.format(
    "webhook-url", st.sampled_from(["https://shop.example.com/a", "https://shop.example.com/b"])
)
