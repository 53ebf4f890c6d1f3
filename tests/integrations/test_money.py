from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.money import fen_of, yuan_of
from models.errors import InvalidValue


@pytest.mark.parametrize(
    ("yuan", "fen"),
    [
        ("0", 0),
        ("0.01", 1),
        ("0.1", 10),
        ("1", 100),
        ("1.10", 110),
        ("12345678901.99", 1234567890199),
    ],
)
def test_yuan_become_fen(yuan: str, fen: int) -> None:
    assert fen_of(yuan) == fen


@pytest.mark.parametrize(
    "text",
    ["", ".", "1.", ".5", "1.234", "-1", "+1", "1e2", "1,000", " 1", "1 ", "１", "nan", "1_0"],
)
def test_anything_else_is_no_amount(text: str) -> None:
    with pytest.raises(InvalidValue):
        fen_of(text)


@pytest.mark.parametrize("text", ["", "01", "-1", "1.0", " 1", "１", "9" * 14])
def test_fen_are_plain_digits(text: str) -> None:
    with pytest.raises(InvalidValue):
        yuan_of(text)


@given(st.integers(0, 10**13 - 1))
def test_there_and_back_nothing_is_lost(fen: int) -> None:
    yuan = yuan_of(str(fen))
    assert fen_of(yuan) == fen
    assert Decimal(yuan) * 100 == fen
