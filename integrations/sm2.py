"""SM2 public-key encryption (GB/T 32918.4-2016), for recipients that publish a key.

Written here because no well-kept library offers it: ``cryptography`` does not have the curve, and
``gmssl`` 3.2.2 draws its secrets from ``random`` and makes ciphertexts that cannot be opened
(py-gmssl issues 95 and 102). Digest and randomness come from libraries; the curve is below.

The ciphertext is what Aliyun's page shows by code ("参数加密说明", help.aliyun.com/document_detail/
437912.html): Base64 of the point uncompressed, then the text, then the digest (C1C2C3).
"""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SM3, Hash

from models.errors import ConfigurationError

__all__ = ["ALIYUN_KEY", "ORDER", "Point", "Sm2Cipher", "digest", "key_stream", "point_of", "times"]

ALIYUN_KEY = "02cd77e007bdc86eeaf9a479ba7a2c22bc0a517ccb3a6975c3f94b4ac93347dea6"
"""Aliyun's, as the page above publishes it."""

# The curve of GB/T 32918.5-2017: y² = x³ - 3x + b over the integers modulo p.
_P = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFF
_B = 0x28E9FA9E_9D9F5E34_4D5A9E4B_CF6509A7_F39789F5_15AB8F92_DDBCBD41_4D940E93
ORDER = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123

_PROCESS = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the curve that is not at infinity."""

    x: int
    y: int

    def __bytes__(self) -> bytes:
        return b"\x04" + _32(self.x) + _32(self.y)


_BASE = Point(
    0x32C4AE2C_1F198119_5F990446_6A39C994_8FE30BBF_F2660BE1_715A4589_334C74C7,
    0xBC3736A2_F4F6779C_59BDCEE3_6B692153_D0A9877C_C62A4740_02DF32E5_2139F0A0,
)


class Sm2Cipher:
    """Encrypts for the holder of one key.

    Within one process the same text gives the same ciphertext, so that whoever judges a request can
    make it again; across processes it does not, and texts cannot be tried out without the process's
    secret.

    Args:
        public_key: A point in hexadecimal, compressed or not.

    Raises:
        ConfigurationError: It is no point of the curve.
    """

    def __init__(self, public_key: str) -> None:
        self._key = point_of(public_key)

    def encrypt(self, text: str) -> str:
        """The ciphertext of a text, in Base64.

        Raises:
            ValueError: The text is empty.
        """
        if not text:
            raise ValueError("nothing to encrypt")
        plain = text.encode()
        tries = 0
        while True:
            sealed = self.encrypt_with(self._ephemeral(plain, tries), plain)
            if sealed is not None:
                return base64.b64encode(sealed).decode()
            tries += 1

    def encrypt_with(self, ephemeral: int, plain: bytes) -> bytes | None:
        """One try with a secret number from 1 to the order; None if the standard asks for another.

        Whoever knows the number can open the ciphertext, and it serves one text only.
        """
        shared = times(ephemeral, self._key)
        stream = key_stream(shared, len(plain))
        if not any(stream):
            return None
        body = bytes(a ^ b for a, b in zip(plain, stream, strict=True))
        return bytes(times(ephemeral)) + body + digest(shared, plain)

    def _ephemeral(self, plain: bytes, tries: int) -> int:
        seed = bytes(self._key) + tries.to_bytes(4) + plain
        # Twice the length of the order, so that the remainder is even.
        return int.from_bytes(hmac.digest(_PROCESS, seed, "sha512")) % (ORDER - 1) + 1


def point_of(text: str) -> Point:
    """The point that a key in hexadecimal names.

    Raises:
        ConfigurationError: It names none.
    """
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    x = int.from_bytes(raw[1:33])
    if len(raw) == 33 and raw[0] in (2, 3):
        y = pow(_right(x), (_P + 1) // 4, _P)
        y = y if y % 2 == raw[0] % 2 else _P - y
    elif len(raw) == 65 and raw[0] == 4:
        y = int.from_bytes(raw[33:])
    else:
        y = _P
    if x >= _P or y >= _P or y * y % _P != _right(x):
        raise ConfigurationError("this is no public key of SM2")
    return Point(x, y)


def key_stream(shared: Point, length: int) -> bytes:
    """The standard's KDF: as many bytes as the text has."""
    seed = _32(shared.x) + _32(shared.y)
    blocks = (_sm3(seed + counter.to_bytes(4)) for counter in range(1, length // 32 + 2))
    return b"".join(blocks)[:length]


def digest(shared: Point, plain: bytes) -> bytes:
    """The standard's C3, by which a wrong key or a changed ciphertext shows."""
    return _sm3(_32(shared.x) + plain + _32(shared.y))


def times(factor: int, point: Point = _BASE) -> Point:
    """A multiple of a point, the base point's by default; the factor is from 1 to below ORDER."""
    # Not in constant time: the factor serves once, and nobody sees single operations from outside.
    sum_: tuple[int, int, int] = (0, 1, 0)
    for bit in f"{factor:b}":
        sum_ = _double(*sum_)
        if bit == "1":
            sum_ = _add(sum_, point)
    x, y, z = sum_
    inverse = pow(z, -1, _P)
    square = inverse * inverse % _P
    return Point(x * square % _P, y * square * inverse % _P)


def _double(x: int, y: int, z: int) -> tuple[int, int, int]:
    """In Jacobian coordinates (x/z², y/z³); z is 0 at infinity."""
    zz, yy = z * z % _P, y * y % _P
    slope = 3 * (x - zz) * (x + zz) % _P
    s = 4 * x * yy % _P
    doubled = (slope * slope - 2 * s) % _P
    return doubled, (slope * (s - doubled) - 8 * yy * yy) % _P, 2 * y * z % _P


def _add(sum_: tuple[int, int, int], point: Point) -> tuple[int, int, int]:
    x, y, z = sum_
    if z == 0:
        return point.x, point.y, 1
    zz = z * z % _P
    h = (point.x * zz - x) % _P
    slope = (point.y * zz * z - y) % _P
    if h == 0:
        return _double(x, y, z) if slope == 0 else (0, 1, 0)
    hh = h * h % _P
    hhh, s = h * hh % _P, x * hh % _P
    added = (slope * slope - hhh - 2 * s) % _P
    return added, (slope * (s - added) - y * hhh) % _P, z * h % _P


def _right(x: int) -> int:
    return (x * x * x - 3 * x + _B) % _P


def _32(number: int) -> bytes:
    return number.to_bytes(32)


def _sm3(data: bytes) -> bytes:
    hashed = Hash(SM3())
    hashed.update(data)
    return hashed.finalize()
