"""Genuine callbacks made false: each changed so that its meaning is another, or none."""

from __future__ import annotations

import random
from collections.abc import Mapping

__all__ = ["spoiled"]

_JUNK = [
    b"",
    b"\x00",
    b"\xff",
    b"<",
    b"]]>",
    b"&",
    b"=",
    b"%",
    b"%00",
    b"{",
    b'"',
    b"\r\n",
    b"+",
    b"/",
]


def spoiled(
    chance: random.Random, headers: Mapping[str, str], body: bytes
) -> tuple[dict[str, str], bytes]:
    """Change a header that the signature needs, or a few bytes of the body.

    Args:
        body: Without space between elements, if it is XML: that means nothing.
    """
    signing = sorted(
        name for name in headers if name.startswith("wechatpay-") and "type" not in name
    )
    if signing and chance.random() < 0.3:
        name = chance.choice(signing)
        value = chance.choice(["", "0", "WECHATPAY/SIGNTEST/x", "9" * 400, "\u4e2d", "A" * 344])
        return {**headers, name: value}, body
    at = chance.randrange(len(body))
    # Another letter, so that neither case nor an equal spelling leaves the meaning as it was.
    junk = chance.choice([*_JUNK, bytes([body[at] ^ 0x15]), body[: chance.randrange(99)] * 3])
    changed = body[:at] + junk + body[at + chance.choice([1, 1, 2, 50]) :]
    return dict(headers), changed if changed != body else body + b"x"
