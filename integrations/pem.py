"""RSA keys as merchants get them: PEM, or its Base64 lines alone."""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from models.errors import ConfigurationError

__all__ = ["private_key", "public_key"]


def private_key(text: str) -> RSAPrivateKey:
    """A private key in PKCS#8 or PKCS#1.

    Raises:
        ConfigurationError: It is none, or not RSA.
    """
    try:
        key = (
            load_pem_private_key(text.encode(), None)
            if "-----" in text
            else load_der_private_key(_der(text), None)
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError("the merchant's private key is not a plain RSA key")
    return key


def public_key(text: str) -> RSAPublicKey:
    """A public key.

    Raises:
        ConfigurationError: It is none, or not RSA.
    """
    try:
        key = (
            load_pem_public_key(text.encode())
            if "-----" in text
            else load_der_public_key(_der(text))
        )
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError("the provider's public key is not an RSA key")
    return key


def _der(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        raise ValueError from None
