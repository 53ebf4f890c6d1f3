"""wechatpayv3 2.0 and wechatpy 1.8: each fault that we know, and that we do not share it."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import logging
import logging.config
from pathlib import Path
from typing import Any

import pytest
import wechatpy.pay.utils
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from wechatpayv3 import utils
from wechatpayv3.core import Core
from wechatpy.crypto import WeChatRefundCrypto
from wechatpy.exceptions import InvalidSignatureException
from wechatpy.pay import WeChatPay

from integrations.payments import CallbackRefused
from integrations.wechat_pay import v2, v3

NOW = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
KEY = rsa.generate_private_key(65537, 2048)
PUB_KEY_ID = "PUB_KEY_ID_0114232134912410000000"
API_KEY = "0123456789abcdef0123456789ABCDEF"
KEYS = v3.WechatPayKeys(api_v3_keys=(API_KEY.encode(),), verifiers={PUB_KEY_ID: KEY.public_key()})
V2_KEY = "192006250b4c09247ec02edce69f6a2d"
PAID = {
    "appid": "wx0000000000000001",
    "mch_id": "1900000001",
    "nonce_str": "5d2b6c2a8db53831f7eda20af46e531c",
    "result_code": "SUCCESS",
    "return_code": "SUCCESS",
    "out_trade_no": "Z20240506-0001",
    "time_end": "20240506150801",
    "total_fee": "12345",
    "transaction_id": "4200000000000000000000000001",
}


class FetchingCore(Core):  # type: ignore[misc]
    """The library's client, with its requests noted instead of made."""

    fetched: list[str]

    def request(self, path: str, *_: Any, **__: Any) -> tuple[int, str]:
        self.fetched = [*getattr(self, "fetched", []), path]
        return 500, ""


@pytest.fixture(scope="module")
def client() -> FetchingCore:
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return FetchingCore(
        "1900000001",
        "6A" * 20,
        private,
        API_KEY,
        public_key=public.decode(),
        public_key_id=PUB_KEY_ID,
    )


def headers_of(body: str, at: dt.datetime = NOW, serial: str = PUB_KEY_ID) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    signature = KEY.sign(f"{stamp}\nabcdef\n{body}\n".encode(), PKCS1v15(), SHA256())
    return {
        "Wechatpay-Timestamp": stamp,
        "Wechatpay-Nonce": "abcdef",
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature": base64.b64encode(signature).decode(),
        "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
    }


def refusal(headers: dict[str, str], body: str) -> str:
    with pytest.raises(CallbackRefused) as refused:
        v3.verify(headers, body.encode(), KEYS, NOW)
    return refused.value.code


class TestV3:
    def test_a_callback_of_any_age_is_good_enough_for_the_library_only(
        self, client: FetchingCore
    ) -> None:
        headers = headers_of("{}", NOW - dt.timedelta(days=1400))
        assert client._verify_signature(headers, "{}")
        assert refusal(headers, "{}") == "callback.stale"

    def test_a_serial_that_a_stranger_names_makes_the_library_fetch_and_us_refuse(
        self, client: FetchingCore
    ) -> None:
        headers = headers_of("{}", serial="6B" * 20)
        assert not client._verify_signature(headers, "{}")
        assert client.fetched == ["/v3/certificates"]
        # Nothing of ours could fetch: it is handed keys and has no way out.
        assert refusal(headers, "{}") == "callback.unknown_key"

    def test_a_serial_that_is_no_number_breaks_the_library_only(self) -> None:
        older = FetchingCore.__new__(FetchingCore)
        older._public_key_id = None
        older._certificates = [object()]
        headers = headers_of("{}", serial="zz")
        with pytest.raises(ValueError, match="invalid literal"):
            older._verify_signature(headers, "{}")
        assert refusal(headers, "{}") == "callback.unknown_key"

    @pytest.mark.parametrize("spoil", [lambda s: s[:9] + "\n" + s[9:], lambda s: "!" + s])
    def test_the_library_believes_one_signature_in_many_spellings(self, spoil: Any) -> None:
        headers = headers_of("{}")
        spelled = {**headers, "Wechatpay-Signature": spoil(headers["Wechatpay-Signature"])}
        stamp, nonce, _, signature, _ = spelled.values()
        assert utils.rsa_verify(stamp, nonce, "{}", signature, KEY.public_key())
        assert refusal(spelled, "{}") == "callback.bad_signature"

    @pytest.mark.parametrize(
        ("nonce", "ciphertext", "associated"),
        [
            ("short", "QUJD", ""),
            ("123456789012", "QUJ", ""),
            ("123456789012", None, ""),
            ("123456789012", "QUJD", None),
            (None, "QUJD", ""),
        ],
    )
    def test_what_does_not_decrypt_breaks_the_library_and_is_refused_by_us(
        self, nonce: str | None, ciphertext: str | None, associated: str | None
    ) -> None:
        with pytest.raises((ValueError, TypeError, AttributeError)):
            utils.aes_decrypt(nonce, ciphertext, associated, API_KEY)
        resource = {
            "algorithm": "AEAD_AES_256_GCM",
            "nonce": nonce,
            "ciphertext": ciphertext,
            "associated_data": associated,
        }
        body = {"id": "EV-1", "event_type": "TRANSACTION.SUCCESS", "resource": resource}
        with pytest.raises(CallbackRefused) as refused:
            v3.open_notification(json.dumps(body).encode(), KEYS)
        assert refused.value.code == "callback.malformed"

    def test_bytes_that_are_no_text_are_refused(self) -> None:
        # The library judges text; what is not UTF-8 it could only have read in another way.
        stamp = str(int(NOW.timestamp()))
        signature = KEY.sign(f"{stamp}\nabcdef\n".encode() + b"\xff\n", PKCS1v15(), SHA256())
        headers = {**headers_of(""), "Wechatpay-Signature": base64.b64encode(signature).decode()}
        with pytest.raises(CallbackRefused) as refused:
            v3.verify(headers, b"\xff", KEYS, NOW)
        assert refused.value.code == "callback.bad_signature"


def xml(texts: dict[str, str]) -> bytes:
    return f"<xml>{''.join(f'<{k}>{v}</{k}>' for k, v in texts.items())}</xml>".encode()


def signed(texts: dict[str, str], algorithm: v2.Algorithm) -> bytes:
    return xml({**texts, "sign": v2.signature(texts, V2_KEY, algorithm)})


def v2_refusal(body: bytes, algorithm: v2.Algorithm = "MD5") -> str:
    with pytest.raises(CallbackRefused) as refused:
        v2.verify(body, V2_KEY, algorithm)
    return refused.value.code


class TestV2:
    client = WeChatPay("wx0000000000000001", V2_KEY, "1900000001")

    def test_a_genuine_hmac_callback_is_refused_by_the_library_only(self) -> None:
        body = signed(PAID, "HMAC-SHA256")
        with pytest.raises(InvalidSignatureException):
            self.client.parse_payment_result(body)
        assert v2.verify(body, V2_KEY, "HMAC-SHA256").state == "paid"

    def test_the_library_takes_md5_from_merchants_of_hmac_and_we_do_not(self) -> None:
        body = signed(PAID, "MD5")
        assert self.client.parse_payment_result(body)["total_fee"] == 12345
        assert v2_refusal(body, "HMAC-SHA256") == "callback.bad_signature"

    def test_what_repeats_is_a_list_to_the_library_and_refused_by_us(self) -> None:
        once = signed({**PAID, "a": "['1', '2']"}, "MD5")
        twice = once.replace(b"<a>['1', '2']</a>", b"<a>1</a><a>2</a>")
        assert self.client.parse_payment_result(twice)["a"] == ["1", "2"]
        assert v2_refusal(twice) == "callback.malformed"

    @pytest.mark.parametrize("beside", [b"<!-- 1 -->", b"<?php 1 ?>"])
    def test_what_stands_beside_the_elements_is_refused_by_us_only(self, beside: bytes) -> None:
        body = signed(PAID, "MD5").replace(b"</xml>", beside + b"</xml>")
        assert self.client.parse_payment_result(body)["total_fee"] == 12345
        assert v2_refusal(body) == "callback.malformed"

    def test_the_library_logs_the_merchants_key_and_is_kept_from_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        logger = logging.getLogger(wechatpy.pay.utils.__name__)
        v2.signature(PAID, V2_KEY, "MD5")
        # As uvicorn does when it starts, which wakes every logger that was put to sleep.
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger.name):
            v2.signature(PAID, V2_KEY, "MD5")
            v2.signature(PAID, V2_KEY, "HMAC-SHA256")
            assert caplog.records == []
            logger.removeFilter(v2._nothing)
            v2.signature(PAID, V2_KEY, "MD5")
            logger.addFilter(v2._nothing)
        assert V2_KEY in caplog.text

    def test_the_librarys_unpadding_checks_nothing(self) -> None:
        secret = hashlib.md5(V2_KEY.encode()).hexdigest().encode()
        closer = Cipher(AES256(secret), ECB()).encryptor()
        # The last byte is no padding: the text is as long as it likes.
        sealed = (
            closer.update(b"<root><a>1</a></root>" + b"\x00" * 10 + b"\x0b") + closer.finalize()
        )
        outer = {
            "appid": "wx0000000000000001",
            "mch_id": "1900000001",
            "req_info": base64.b64encode(sealed).decode(),
        }
        assert WeChatRefundCrypto(V2_KEY).decrypt_message(
            outer, outer["appid"], outer["mch_id"]
        ) == {"a": "1"}
        with pytest.raises(CallbackRefused) as refused:
            v2.open_refund(xml(outer), V2_KEY)
        assert refused.value.code == "callback.malformed"

    @pytest.mark.parametrize("req_info", ["", "QUJD", "!"])
    def test_what_does_not_decrypt_breaks_the_library_and_is_refused_by_us(
        self, req_info: str
    ) -> None:
        outer = {"appid": "wx1", "mch_id": "1", "req_info": req_info}
        with pytest.raises((ValueError, IndexError)):
            WeChatRefundCrypto(V2_KEY).decrypt_message(outer, "wx1", "1")
        with pytest.raises(CallbackRefused):
            v2.open_refund(xml(outer), V2_KEY)


def test_the_modules_that_use_the_libraries_import_none_of_their_clients() -> None:
    for module in (v2, v3):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        imported = [line.strip() for line in source.splitlines() if "import" in line]
        theirs = [line for line in imported if line.startswith(("from wechat", "import wechat"))]
        allowed = (
            "from wechatpayv3.utils",
            "from wechatpy.pay import utils",
            "from wechatpy.crypto.base",
        )
        assert theirs
        assert all(line.startswith(allowed) for line in theirs)
