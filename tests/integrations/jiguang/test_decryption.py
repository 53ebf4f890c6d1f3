"""A ciphertext gives its text or one and the same error."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from integrations.jiguang import PhoneCipher
from integrations.sandbox.jiguang_key import PRIVATE_KEY
from models.errors import ConfigurationError

CIPHER = PhoneCipher(PRIVATE_KEY)


def sealed(data: bytes) -> str:
    key = load_der_private_key(PRIVATE_KEY, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return base64.b64encode(key.public_key().encrypt(data, padding.PKCS1v15())).decode()


def test_a_number_comes_back_as_it_was() -> None:
    assert CIPHER(sealed(b"16400001234")) == "16400001234"


@given(st.text(max_size=400) | st.binary(max_size=300).map(lambda b: base64.b64encode(b).decode()))
def test_whatever_is_wrong_the_error_is_the_same(ciphertext: str) -> None:
    caught: list[ValueError] = []
    try:
        CIPHER(ciphertext)
    except ValueError as error:
        caught.append(error)
    for each in caught:
        assert (type(each), str(each)) == (ValueError, "the ciphertext cannot be opened")
        assert each.__context__ is None


def test_what_is_no_text_is_not_quoted() -> None:
    with pytest.raises(ValueError, match=r"^the ciphertext cannot be opened$") as caught:
        CIPHER(sealed(b"164\xff0001234"))
    assert caught.value.__context__ is None


def test_a_key_is_read_from_pem_and_never_shown() -> None:
    key = rsa.generate_private_key(65537, 1024)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert "PRIVATE" not in repr(PhoneCipher(pem))


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"-----BEGIN RSA PRIVATE KEY-----\nnonsense\n-----END RSA PRIVATE KEY-----\n",
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
    ],
)
def test_what_is_no_rsa_key_is_refused_at_start(key: bytes) -> None:
    with pytest.raises(ConfigurationError):
        PhoneCipher(key)
