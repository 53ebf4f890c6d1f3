"""Recognising mainland personal data by shape: a second net, never the guarantee.

Mobile numbers (11 digits, 13 to 19 in front), citizen identity numbers (GB 11643-1999, by check
digit) and bank cards (16 to 19 digits, by Luhn), plain or in the usual groups with one kind of
gap. A run inside a longer run of hexadecimal digits is part of a digest or an identifier and is
left alone.
"""

from __future__ import annotations

import re

from stdnum import luhn
from stdnum.cn import ric

__all__ = ["detect"]

_ENOUGH_DIGITS = re.compile(r"[0-9][0-9 -]{9,}[0-9Xx]")
_CANDIDATE = re.compile(
    r"(?<![0-9A-Fa-f])(?:"
    r"(?P<long>[1-9][0-9]{5}(?P<i>[ -]?)[0-9]{8}(?P=i)[0-9]{3}[0-9Xx]"
    r"|[3-6][0-9]{3}(?P<c>[ -]?)[0-9]{4}(?P=c)[0-9]{4}(?P=c)[0-9]{4}(?:(?P=c)[0-9]{1,3})?)"
    r"|(?:\+?(?:00)?86[ -]?)?(?P<mobile>1[3-9][0-9](?P<m>[ -]?)[0-9]{4}(?P=m)[0-9]{4})"
    r")(?![0-9A-Fa-f])"
)


def detect(text: str) -> str | None:
    """The kind of personal data that ``text`` seems to hold, or None.

    Returns:
        ``mobile number``, ``identity number`` or ``bank card``; the first one found.
    """
    for run in _ENOUGH_DIGITS.finditer(text):
        # One character more, so that the pattern sees what follows.
        for match in _CANDIDATE.finditer(text, run.start(), run.end() + 1):
            if kind := _kind(match):
                return kind
    return None


def _kind(match: re.Match[str]) -> str | None:
    if match["mobile"]:
        return "mobile number"
    digits = match["long"].replace(" ", "").replace("-", "").upper()
    if len(digits) == 18 and ric.calc_check_digit(digits) == digits[-1]:
        return "identity number"
    if digits.isdecimal() and luhn.is_valid(digits):
        return "bank card"
    return None
