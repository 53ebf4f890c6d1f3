"""The key pair with which the sandbox opens what is encrypted for Aliyun; it protects nothing."""

from __future__ import annotations

import base64
import binascii
import hmac

from integrations.minimize import TRANSFORMS as _REAL
from integrations.minimize import Transforms
from integrations.sm2 import Sm2Cipher, digest, key_stream, point_of, times
from models.errors import ConfigurationError

__all__ = ["PRIVATE_KEY", "PUBLIC_KEY", "TRANSFORMS", "open_sm2"]

PRIVATE_KEY = 0x5A6A_6A5A << 128 | 0x534D32
PUBLIC_KEY = bytes(times(PRIVATE_KEY)).hex()

TRANSFORMS: Transforms = {**_REAL, "sm2": Sm2Cipher(PUBLIC_KEY).encrypt}
"""For a gate whose wire ends in the sandbox."""


def open_sm2(sealed: str, key: int = PRIVATE_KEY) -> str:
    """The text that was encrypted for the key.

    Raises:
        ValueError: It was not, or it is no ciphertext.
    """
    try:
        raw = base64.b64decode(sealed, validate=True)
        point, body, check = raw[:65], raw[65:-32], raw[-32:]
        shared = times(key, point_of(point.hex()))
    except (binascii.Error, ConfigurationError):
        raise ValueError("no ciphertext") from None
    plain = bytes(a ^ b for a, b in zip(body, key_stream(shared, len(body)), strict=True))
    if not hmac.compare_digest(digest(shared, plain), check):
        raise ValueError("encrypted for another key")
    return plain.decode()
