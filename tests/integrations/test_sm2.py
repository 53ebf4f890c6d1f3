"""SM2: the standard's own example, what another implementation opens, and nothing by guessing."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.sandbox.sm2_key import PRIVATE_KEY, PUBLIC_KEY, open_sm2
from integrations.sm2 import ALIYUN_KEY, ORDER, Sm2Cipher, point_of, times
from models.errors import ConfigurationError

# GB/T 32918.5-2017, appendix C: the curve that everybody uses, and a text encrypted on it.
KEY = 0x3945208F_7B2144B1_3F36E38A_C6D39F95_88939369_2860B51A_42FB81EF_4DF7C5B8
EPHEMERAL = 0x59276E27_D506861A_16680F3A_D9C02DCC_EF3CC1FA_3CDBE4CE_6D54B80D_EAC1BC21
TEXT = b"encryption standard"
C1 = (
    "0404ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73"
    "e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0"
)
C2 = "21886ca989ca9c7d58087307ca93092d651efa"
C3 = "59983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd8766"


def test_the_example_of_the_standard_comes_out_to_the_last_byte() -> None:
    public = bytes(times(KEY))
    assert public.hex() == (
        "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
        "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
    )
    sealed = Sm2Cipher(public.hex()).encrypt_with(EPHEMERAL, TEXT)
    assert sealed is not None
    assert sealed.hex() == C1 + C2 + C3
    assert open_sm2(base64.b64encode(sealed).decode(), KEY) == TEXT.decode()


@given(st.text(min_size=1, max_size=80).filter(lambda text: not text.encode().startswith(b"\0")))
@settings(max_examples=30, deadline=None)
def test_what_is_sealed_can_be_opened(text: str) -> None:
    sealed = Sm2Cipher(PUBLIC_KEY).encrypt(text)
    raw = base64.b64decode(sealed, validate=True)
    assert raw[0] == 4
    assert len(raw) == 1 + 64 + len(text.encode()) + 32
    assert open_sm2(sealed) == text


def test_a_compressed_key_is_the_same_key() -> None:
    point = point_of(PUBLIC_KEY)
    compressed = f"{2 + point.y % 2:02x}{point.x:064x}"
    assert point_of(compressed) == point
    assert point_of(ALIYUN_KEY).x == int(ALIYUN_KEY, 16) % 2**256


@pytest.mark.parametrize("key", ["", "zz", "04" + "00" * 64, "02" + "ff" * 32, "05" + "11" * 32])
def test_what_is_no_point_is_no_key(key: str) -> None:
    with pytest.raises(ConfigurationError):
        Sm2Cipher(key)


def test_whatever_was_changed_shows() -> None:
    sealed = bytearray(base64.b64decode(Sm2Cipher(PUBLIC_KEY).encrypt("张三")))
    for at in (0, 1, 40, 66, len(sealed) - 1):
        changed = sealed.copy()
        changed[at] ^= 1
        with pytest.raises(ValueError, match=r"ciphertext|key"):
            open_sm2(base64.b64encode(changed).decode())


def test_another_keys_ciphertext_does_not_open() -> None:
    with pytest.raises(ValueError, match="another key"):
        open_sm2(Sm2Cipher(ALIYUN_KEY).encrypt("张三"))


def test_one_process_repeats_itself_and_two_never_do() -> None:
    cipher = Sm2Cipher(PUBLIC_KEY)
    first = cipher.encrypt("张三")
    assert cipher.encrypt("张三") == first
    assert cipher.encrypt("李四")[:80] != first[:80], "each text has a secret number of its own"
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from integrations.sm2 import Sm2Cipher; print(Sm2Cipher({PUBLIC_KEY!r}).encrypt('张三'))",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert said.stdout.strip() != first


def test_nothing_is_no_text() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Sm2Cipher(PUBLIC_KEY).encrypt("")


def test_multiples_wrap_around_at_the_order() -> None:
    assert times(ORDER - 1).x == times(1).x
    assert times(2) == times(1 + 1, times(1))
    assert times(3, times(5)) == times(15)


def _integer(number: int) -> bytes:
    raw = number.to_bytes(number.bit_length() // 8 + 1)
    return _der(2, raw)


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    head = bytes([length]) if length < 128 else bytes([0x81, length])
    return bytes([tag]) + head + content


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_opens_it(tmp_path: Path) -> None:
    """OpenSSL takes the parts in another order, and wrapped (GM/T 0009-2012)."""
    raw = base64.b64decode(Sm2Cipher(PUBLIC_KEY).encrypt("张三"))
    x, y = int.from_bytes(raw[1:33]), int.from_bytes(raw[33:65])
    wrapped = _der(48, _integer(x) + _integer(y) + _der(4, raw[-32:]) + _der(4, raw[65:-32]))
    curve = bytes.fromhex("06082a811ccf5501822d")
    private = _der(48, _der(2, b"\1") + _der(4, PRIVATE_KEY.to_bytes(32)) + _der(160, curve))
    (tmp_path / "key.der").write_bytes(private)
    command = ["openssl", "pkeyutl", "-decrypt", "-keyform", "DER", "-inkey"]
    done = subprocess.run(
        [*command, str(tmp_path / "key.der")], input=wrapped, capture_output=True, check=True
    )
    assert done.stdout.decode() == "张三"
