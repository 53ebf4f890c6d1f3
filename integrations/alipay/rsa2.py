"""RSA2, Alipay's signature, by python-alipay-sdk, held to SHA-256, raw bytes and one spelling.

Of the library two functions are used. What it gets wrong around them, and what it does when it is
imported, is kept away here; ``tests/integrations/alipay/test_sdk_faults.py`` shows each.
"""

from __future__ import annotations

import base64
import binascii
import logging
import sys
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

__all__ = ["is_signed", "sign"]


def sign(text: str, private_key: RSAPrivateKey) -> str:
    """The signature of a text in UTF-8, in Base64."""
    signature: str = _signing(private_key)._sign(text)  # noqa: SLF001  # its public one sorts and quotes
    return signature


def is_signed(message: bytes, signature: bytes, public_key: RSAPublicKey) -> bool:
    """Whether a signature in Base64 is Alipay's over the message, with SHA-256 and nothing else."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except binascii.Error:
        return False
    # Base64 has bits to spare at its end, and a signature one spelling.
    if base64.b64encode(raw) != signature:
        return False
    library = _verifying(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    # Its public one takes a missing sign_type for a good one and never sees the raw bytes.
    return bool(library._verify(_Raw(message), signature.decode()))  # noqa: SLF001


class _Raw(bytes):
    """Bytes that the library, which encodes what it judges, leaves as they are."""

    __slots__ = ()

    def encode(self) -> bytes:
        return self


@lru_cache(maxsize=64)
def _signing(private_key: RSAPrivateKey) -> Any:
    # Kept, because the library takes a tenth of a second to prove a private key.
    secret = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    public = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _open(secret, public)


@lru_cache(maxsize=64)
def _verifying(public_key: bytes) -> Any:
    return _open(public_key, public_key)


def _open(own: bytes, theirs: bytes) -> Any:
    return _library().AliPay(
        appid="",
        app_private_key_string=own,
        alipay_public_key_string=theirs,
        sign_type="RSA2",
    )


@cache
def _library() -> Any:
    """The library, without what sets up logging for the whole process and what starts a program."""
    silent = ModuleType("alipay.loggers")
    silent.logger = logging.getLogger("alipay")  # type: ignore[attr-defined]
    sys.modules.setdefault(silent.__name__, silent)
    # It would run ldconfig to look for a faster one, which the egress guard refuses.
    sys.modules.setdefault("Cryptodome.Math._IntegerGMP", None)  # type: ignore[arg-type]
    import alipay

    return alipay
