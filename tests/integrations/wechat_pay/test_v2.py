from __future__ import annotations

import base64
import datetime as dt
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from integrations.gate import UnsignedRequest
from integrations.payments import CallbackRefused, Notification
from integrations.wechat_pay.credentials import WechatPayV2Credentials
from integrations.wechat_pay.v2 import Algorithm, is_refund, open_refund, signature, signer, verify
from models.errors import ConfigurationError

KEY = "192006250b4c09247ec02edce69f6a2d"
PAID = {
    "appid": "wx0000000000000001",
    "mch_id": "1900000001",
    "nonce_str": "5d2b6c2a8db53831f7eda20af46e531c",
    "openid": "o-nobody",
    "result_code": "SUCCESS",
    "return_code": "SUCCESS",
    "out_trade_no": "Z20240506-0001",
    "time_end": "20240506150801",
    "total_fee": "12345",
    "fee_type": "CNY",
    "trade_type": "JSAPI",
    "transaction_id": "4200000000000000000000000001",
    "attach": "",
}
REFUNDED = {
    "out_refund_no": "R20240506-0001",
    "out_trade_no": "Z20240506-0001",
    "refund_account": "REFUND_SOURCE_RECHARGE_FUNDS",
    "refund_fee": "345",
    "refund_id": "50000000000000000000000000001",
    "refund_recv_accout": "nobody's",
    "refund_status": "SUCCESS",
    "settlement_refund_fee": "345",
    "success_time": "2024-05-06 15:09:01",
    "total_fee": "12345",
    "transaction_id": "4200000000000000000000000001",
}
ALGORITHMS: list[Algorithm] = ["MD5", "HMAC-SHA256"]


def xml(texts: dict[str, str], root: str = "xml") -> bytes:
    inner = "\n".join(f"<{name}><![CDATA[{text}]]></{name}>" for name, text in texts.items())
    return f"<{root}>\n{inner}\n</{root}>".encode()


def signed(texts: dict[str, str], algorithm: Algorithm = "MD5", **more: str) -> bytes:
    texts = {**texts, **more}
    return xml({**texts, "sign": signature(texts, KEY, algorithm)})


def sealed(texts: dict[str, str], key: str = KEY) -> bytes:
    padder = PKCS7(128).padder()
    padded = padder.update(xml(texts, "root")) + padder.finalize()
    secret = hashlib.md5(key.encode()).hexdigest().encode()
    closer = Cipher(AES256(secret), ECB()).encryptor()
    req_info = base64.b64encode(closer.update(padded) + closer.finalize()).decode()
    return xml(
        {
            "return_code": "SUCCESS",
            "appid": "wx0000000000000001",
            "mch_id": "1900000001",
            "nonce_str": "1",
            "req_info": req_info,
        }
    )


def refusal(body: bytes, algorithm: Algorithm = "MD5") -> str:
    with pytest.raises(CallbackRefused) as refused:
        verify(body, KEY, algorithm)
    return refused.value.code


def test_the_documents_example_is_signed_as_it_says() -> None:
    # "Security rules" of API v2, steps 1 to 3.
    texts = {
        "appid": "wxd930ea5d5a258f4f",
        "mch_id": "10000100",
        "device_info": "1000",
        "body": "test",
        "nonce_str": "ibuaiVcKdpRxkhJA",
    }
    assert signature(texts, KEY, "MD5") == "9A0A8659F005D6984697E2CA0A9CF3B7"
    assert signature(texts, KEY, "HMAC-SHA256") == (
        "6A9AE1657590FD6257D693A078E1C3E4BB6BA4DC30B23E0EE2496E54170DACD6"
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_payment_is_believed(algorithm: Algorithm) -> None:
    found = verify(signed(PAID, algorithm), KEY, algorithm)
    assert found == Notification(
        channel="wechat_pay_v2",
        id=found.id,
        kind="payment",
        merchant="1900000001",
        app="wx0000000000000001",
        order_no="Z20240506-0001",
        provider_no="4200000000000000000000000001",
        refund_no=None,
        amount=12345,
        refund_amount=None,
        currency="CNY",
        state="paid",
        at=dt.datetime(2024, 5, 6, 7, 8, 1, tzinfo=dt.UTC),
    )
    assert "nobody" not in repr(found)


def test_each_delivery_of_one_message_has_one_id() -> None:
    first = verify(signed(PAID), KEY, "MD5").id
    again = verify(signed(dict(reversed(PAID.items()))), KEY, "MD5").id
    other = verify(signed(PAID, total_fee="1"), KEY, "MD5").id
    assert first == again != other


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_message_does_not_choose_its_algorithm(algorithm: Algorithm) -> None:
    other: Algorithm = "HMAC-SHA256" if algorithm == "MD5" else "MD5"
    assert refusal(signed(PAID, other, sign_type=other), algorithm) == "callback.bad_signature"


def test_a_failed_payment_is_open() -> None:
    found = verify(signed(PAID, result_code="FAIL"), KEY, "MD5")
    assert (found.state, found.amount) == ("open", None)


def test_one_changed_value_is_noticed() -> None:
    body = signed(PAID)
    assert refusal(body.replace(b"12345", b"1")) == "callback.bad_signature"
    assert refusal(xml(PAID)) == "callback.bad_signature"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<xml>",
        b"not xml",
        b"<root><a>1</a></root>",
        b"<xml><a><b>1</b></a></xml>",
        b"<xml><a>1</a><a>2</a></xml>",
        b'<xml><a x="1">1</a></xml>',
        b"<xml>text<a>1</a></xml>",
        b'<?xml version="1.0"?><xml><a>1</a></xml>',
        b"<?php 1 ?><xml><a>1</a></xml>",
        b"<xml><!-- 1 --><a>1</a></xml>",
        b'<!DOCTYPE xml [<!ENTITY a "1">]><xml><b>&a;</b></xml>',
        b'<!DOCTYPE xml SYSTEM "file:///etc/hostname"><xml><b>1</b></xml>',
        b'<!DOCTYPE z [<!ENTITY l "l"><!ENTITY m "&l;&l;&l;">]><xml><b>&m;</b></xml>',
        b"<xml><a>\xff</a></xml>",
        "<xml><a>1</a></xml>".encode("utf-16"),
    ],
)
def test_xml_beyond_plain_elements_is_refused(body: bytes) -> None:
    assert refusal(body) == "callback.malformed"


def test_a_large_body_is_refused_unread() -> None:
    assert refusal(b"<xml>" + b" " * (64 * 1024)) == "callback.too_large"


@pytest.mark.parametrize(
    "changes",
    [
        {"total_fee": "1.5"},
        {"total_fee": ""},
        {"total_fee": "-1"},
        {"out_trade_no": ""},
        {"mch_id": ""},
        {"time_end": "2024"},
        {"transaction_id": "a b"},
    ],
)
def test_content_of_another_form_is_refused(changes: dict[str, str]) -> None:
    assert refusal(signed({**PAID, **changes})) == "callback.malformed"


def test_a_refund_opens() -> None:
    found = open_refund(sealed(REFUNDED), KEY)
    assert (found.kind, found.state, found.refund_no) == ("refund", "refunded", "R20240506-0001")
    assert (found.amount, found.refund_amount) == (12345, 345)
    assert found.at == dt.datetime(2024, 5, 6, 7, 9, 1, tzinfo=dt.UTC)
    assert "nobody" not in repr(found)


@pytest.mark.parametrize(
    ("status", "state"), [("CHANGE", "refund_failed"), ("REFUNDCLOSE", "refund_failed")]
)
def test_a_refund_that_failed_is_told(status: str, state: str) -> None:
    assert open_refund(sealed({**REFUNDED, "refund_status": status}), KEY).state == state


def test_what_a_payment_quotes_makes_it_no_refund() -> None:
    quoting = signed(PAID, attach="<req_info>AAAA</req_info>")
    assert not is_refund(quoting)
    assert verify(quoting, KEY, "MD5").state == "paid"
    assert is_refund(xml({"mch_id": "1", "appid": "wx1", "req_info": "AAAA"}))


def test_a_refund_under_another_key_is_refused() -> None:
    with pytest.raises(CallbackRefused):
        open_refund(sealed(REFUNDED, "another-key-of-32-characters-....."), KEY)


@pytest.mark.parametrize("req_info", ["", "!", "QUJD", "A" * 64])
def test_what_does_not_decrypt_is_refused(req_info: str) -> None:
    body = xml({"mch_id": "1", "appid": "wx1", "req_info": req_info})
    with pytest.raises(CallbackRefused):
        open_refund(body, KEY)


def test_a_request_is_signed_as_configured() -> None:
    merchant = WechatPayV2Credentials(mchid="1900000001", appid="wx1", key=KEY)
    body = xml({"appid": "wx1", "mch_id": "1900000001"}).replace(b"\n", b"")
    request = UnsignedRequest(
        method="POST",
        host="api.mch.weixin.qq.com",
        path="/pay/orderquery",
        query="",
        headers={},
        content_type="text/xml; charset=utf-8",
        body=body.replace(b"<![CDATA[", b"").replace(b"]]>", b""),
    )
    added = signer(merchant, nonce=lambda: "5" * 32)(request)
    texts = {"appid": "wx1", "mch_id": "1900000001", "nonce_str": "5" * 32}
    assert added == {"nonce_str": "5" * 32, "sign": signature(texts, KEY, "HMAC-SHA256")}
    assert KEY not in repr(merchant)


def test_a_key_of_another_length_is_refused_at_start() -> None:
    with pytest.raises(ConfigurationError):
        WechatPayV2Credentials(mchid="1", appid="wx1", key="short")


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_no_stranger_is_believed(body: bytes) -> None:
    for algorithm in ALGORITHMS:
        with pytest.raises(CallbackRefused):
            verify(body, KEY, algorithm)
    with pytest.raises(CallbackRefused):
        open_refund(body, KEY)


texts = st.dictionaries(
    st.sampled_from(sorted({*PAID, *REFUNDED, "sign"})),
    st.text(st.characters(codec="utf-8", exclude_characters="<>&\r", exclude_categories=["C"])),
    max_size=8,
)


@given(texts)
def test_flat_texts_without_a_key_are_refused(given_texts: dict[str, Any]) -> None:
    assert refusal(xml({**PAID, **given_texts})) == "callback.bad_signature"


@given(texts)
def test_signed_texts_of_any_form_are_read_or_refused(given_texts: dict[str, Any]) -> None:
    body = signed({**PAID, **given_texts})
    try:
        found = verify(body, KEY, "MD5")
    except CallbackRefused:
        return
    assert found.merchant == {**PAID, **given_texts}["mch_id"]
