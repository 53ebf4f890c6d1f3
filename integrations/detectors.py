"""Recognising mainland personal data by shape: a second net, never the guarantee.

Mobile numbers (11 digits, 13 to 19 in front), citizen identity numbers (GB 11643-1999: province,
day of birth and check digit) and bank cards (16 to 19 digits, by Luhn), plain or in the usual
groups with one kind of gap. Where the letters and digits that stand together are all hexadecimal,
and some are letters, they are a digest or an identifier and are left alone.
"""

from __future__ import annotations

import datetime as dt
import re

from stdnum import luhn
from stdnum.cn import ric

__all__ = ["detect"]

_FEWEST = b"0" * 11
"""A mobile number, once everything that may stand in a number is a 0."""
_AS_ZEROS = bytes(b"0"[0] if chr(byte) in "0123456789Xx -" else b"~"[0] for byte in range(256))
_HEX_WORD = re.compile(r"(?<![0-9A-Za-z])[0-9]*[A-Fa-f][0-9A-Fa-f]*(?![0-9A-Za-z])")
_CANDIDATE = re.compile(
    r"(?<![0-9])(?:"
    r"(?P<long>[1-9][0-9]{5}(?P<i>[ -]?)[0-9]{8}(?P=i)[0-9]{3}[0-9Xx]"
    r"|[3-6][0-9]{3}(?P<c>[ -]?)[0-9]{4}(?P=c)[0-9]{4}(?P=c)[0-9]{4}(?:(?P=c)[0-9]{1,3})?)"
    r"|(?:\+?(?:00)?86[ -]?)?(?P<mobile>1[3-9][0-9](?P<m>[ -]?)[0-9]{4}(?P=m)[0-9]{4})"
    r")(?![0-9])"
)
# GB/T 2260; 99 is no province's, so made-up people have it.
_PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|99")


def detect(text: str, *, cards: bool = True) -> str | None:
    """The kind of personal data that ``text`` seems to hold, or None.

    Args:
        cards: Whether to look for bank cards: one in ten of all long numbers passes for one.

    Returns:
        ``mobile number``, ``identity number`` or ``bank card``; the first one found.
    """
    # Most texts are dismissed by one look, for a tenth of what the expressions take.
    if not _has_enough_digits(text) or not _has_enough_digits(text := _HEX_WORD.sub("~", text)):
        return None
    for match in _CANDIDATE.finditer(text):
        kind = _kind(match)
        if kind and (cards or kind != "bank card"):
            return kind
    return None


def _has_enough_digits(text: str) -> bool:
    return _FEWEST in text.encode("utf-8", "replace").translate(_AS_ZEROS)


def _kind(match: re.Match[str]) -> str | None:
    if match["mobile"]:
        return "mobile number"
    digits = match["long"].replace(" ", "").replace("-", "").upper()
    if _is_identity_number(digits):
        return "identity number"
    if digits.isdecimal() and luhn.is_valid(digits):
        return "bank card"
    return None


def _is_identity_number(digits: str) -> bool:
    if len(digits) != 18 or not _PROVINCE.match(digits):
        return False
    try:
        born = dt.date.fromisoformat(digits[6:14])
    except ValueError:
        return False
    return 1850 <= born.year < 2100 and ric.calc_check_digit(digits) == digits[-1]
