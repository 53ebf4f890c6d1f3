"""The keys everything secret hangs on: master keys and the pseudonym key."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from models.errors import ConfigurationError

__all__ = ["MasterKeys", "decode_key", "derive_key", "generate_key"]

_KEY_BYTES = 32


def generate_key() -> str:
    """A fresh 256-bit key as unpadded URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode().rstrip("=")


def decode_key(text: str, *, name: str) -> bytes:
    """The 32 bytes of a base64 key.

    Raises:
        ConfigurationError: ``name`` does not hold such a key; the message never shows it.
    """
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"{name} must be 32 bytes in URL-safe base64")
    return key


def derive_key(key: bytes, purpose: str) -> bytes:
    """An independent 32-byte key for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(
        algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=f"zjj {purpose}".encode()
    ).derive(key)


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """Named master keys; the first one wraps, all of them unwrap.

    Rotation: put a new key in front, keep the old ones until their buckets are gone.
    """

    first: str
    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> MasterKeys:
        """Read ``name:base64[,name:base64…]``, as in ``ZJJ_MASTER_KEYS``.

        Raises:
            ConfigurationError: No key, a key without name, a name used twice, a bad key.
        """
        keys: dict[str, bytes] = {}
        for number, part in enumerate(filter(None, text.replace(" ", "").split(",")), start=1):
            name, _, key = part.partition(":")
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", name) or name in keys:
                raise ConfigurationError(
                    f"ZJJ_MASTER_KEYS: key {number} needs a name of its own, as in name:base64"
                )
            keys[name] = decode_key(key, name=f"ZJJ_MASTER_KEYS: key {number}")
        if not keys:
            raise ConfigurationError("ZJJ_MASTER_KEYS must hold at least one name:base64 pair")
        return cls(next(iter(keys)), keys)
