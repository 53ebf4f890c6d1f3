"""Yuan as providers write them, and fen as we count them; exact, never through a float."""

from __future__ import annotations

import re

from models.errors import InvalidValue

__all__ = ["fen_of", "number_of", "yuan_of"]

_YUAN = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,2}))?", re.ASCII)
_FEN = re.compile(r"0|[1-9][0-9]{0,12}", re.ASCII)


def fen_of(yuan: str) -> int:
    """Fen of ``12``, ``12.3`` or ``12.34`` yuan.

    Raises:
        InvalidValue: Anything else: a sign, a separator, a third decimal.
    """
    if match := _YUAN.fullmatch(yuan):
        return int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
    raise InvalidValue("must be yuan with at most two decimals")


def number_of(fen: str) -> int:
    """Fen as a number, of fen in digits.

    Raises:
        InvalidValue: Anything but digits without leading zeros; ``int`` would take many other
            digits, signs and spaces.
    """
    if not _FEN.fullmatch(fen):
        raise InvalidValue("must be fen in digits")
    return int(fen)


def yuan_of(fen: str) -> str:
    """Yuan with two decimals, of fen in digits.

    Raises:
        InvalidValue: Anything but digits without leading zeros.
    """
    number_of(fen)
    return f"{fen[:-2] or '0'}.{fen[-2:]:0>2}"
