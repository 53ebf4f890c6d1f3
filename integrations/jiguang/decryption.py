"""The phone number in Jiguang's reply: RSA with PKCS #1 v1.5 padding under our public key.

docs.jiguang.cn, loginTokenVerify: the number is encrypted with the public key that the customer has
left in the console, and stands in Base64. Whatever is wrong with a ciphertext, the answer is one
and the same error: who sends ciphertexts learns nothing about the padding (Bleichenbacher, 1998).
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from models.errors import ConfigurationError

__all__ = ["PhoneCipher"]

_FEWEST_BITS = 1024
"""What Jiguang's console makes; a key of one's own may be longer."""


class PhoneCipher:
    """Opens phone numbers with our private key; ``repr`` shows nothing of it.

    Args:
        key: Unencrypted private key, PEM or DER.

    Raises:
        ConfigurationError: It is no RSA key of at least 1024 bits.
    """

    def __init__(self, key: bytes) -> None:
        load = load_pem_private_key if key.lstrip().startswith(b"-----") else load_der_private_key
        try:
            loaded = load(key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            loaded = None
        if not isinstance(loaded, rsa.RSAPrivateKey) or loaded.key_size < _FEWEST_BITS:
            raise ConfigurationError("Jiguang's private key must be an RSA key in PEM or DER")
        self._key = loaded

    def __call__(self, ciphertext: str) -> str:
        """The text behind Base64.

        Raises:
            ValueError: It cannot be opened; always with the same words.
        """
        try:
            data = base64.b64decode(ciphertext, validate=True)
            return self._key.decrypt(data, padding.PKCS1v15()).decode("ascii")
        except (binascii.Error, ValueError):
            # UnicodeDecodeError is a ValueError too, and would quote what was opened.
            pass
        raise ValueError("the ciphertext cannot be opened")
