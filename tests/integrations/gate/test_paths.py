"""A number in a path: one whole segment, written in one way, leading nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.leaves import Unreadable, read_path, write_path

TEMPLATE = "/v3/pay/transactions/out-trade-no/{out_trade_no}"
HEAD = TEMPLATE.encode().partition(b"{")[0]


@pytest.mark.parametrize("number", ["Z20240506-0001", "a|b*c_d-E", "订单"])
def test_a_number_is_found_where_it_was_put(number: str) -> None:
    path = write_path(TEMPLATE, {"out_trade_no": number})
    assert read_path(TEMPLATE, path.encode()) == {("out_trade_no",): number}


@pytest.mark.parametrize(
    "segment",
    [
        b"",
        b".",
        b"..",
        b"%2e%2e",
        b"%2E%2E",
        b"a/b",
        b"a%2Fb",
        b"a%2fb",
        b"a%5Cb",
        b"a%25b",
        b"%61bc",
        b"a|b",
        b"a%7cb",
        b"a%00b",
        b"a%0D%0Ab",
        b"a b",
        b"a%3Fb",
        b"a%23b",
        b"\xff",
        b"%FF",
        b"a/../b",
    ],
)
def test_whatever_leads_elsewhere_or_has_two_spellings_is_refused(segment: bytes) -> None:
    with pytest.raises(Unreadable):
        read_path(TEMPLATE, HEAD + segment)


@pytest.mark.parametrize(
    "path", [b"", b"/", b"/v3/pay/transactions/id/Z20240506-0001", HEAD + b"Z2024/x", b"/x" + HEAD]
)
def test_another_path_is_refused(path: bytes) -> None:
    with pytest.raises(Unreadable):
        read_path(TEMPLATE, path)


@given(st.text(max_size=40))
def test_any_text_comes_back_or_is_refused(text: str) -> None:
    try:
        path = write_path(TEMPLATE, {"out_trade_no": text}).encode()
        found = read_path(TEMPLATE, path)
    except (Unreadable, UnicodeEncodeError):
        return
    assert found == {("out_trade_no",): text}
    assert path.count(b"/") == HEAD.count(b"/")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_in_one_way_or_refused(tail: bytes) -> None:
    try:
        found = read_path(TEMPLATE, HEAD + tail)
    except Unreadable:
        return
    assert write_path(TEMPLATE, {"out_trade_no": found["out_trade_no",]}).encode() == HEAD + tail
