from __future__ import annotations

import base64
import datetime as dt
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from integrations.gate import UnsignedRequest
from integrations.payments import CallbackRefused, Notification
from integrations.wechat_pay.credentials import WechatPayCredentials
from integrations.wechat_pay.v3 import WechatPayKeys, open_notification, signer, verify
from models.errors import ConfigurationError

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "wechat_pay.json").read_text(encoding="utf-8")
)
NOW = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
API_KEY = b"0123456789abcdef0123456789ABCDEF"
PLATFORM, NEW, OWN = (rsa.generate_private_key(65537, 2048) for _ in range(3))
SERIAL, PUB_KEY_ID = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1", "PUB_KEY_ID_0114232134912410000000"
KEYS = WechatPayKeys(
    api_v3_keys=(API_KEY,),
    verifiers={SERIAL: PLATFORM.public_key(), PUB_KEY_ID: NEW.public_key()},
)
PAYMENT = {
    "mchid": "1900000001",
    "appid": "wx0000000000000001",
    "out_trade_no": "Z20240506-0001",
    "transaction_id": "4200000000000000000000000001",
    "trade_type": "JSAPI",
    "trade_state": "SUCCESS",
    "bank_type": "OTHERS",
    "attach": "",
    "success_time": "2024-05-06T15:08:01+08:00",
    "payer": {"openid": "o-nobody"},
    "amount": {"total": 12345, "payer_total": 12345, "currency": "CNY"},
}
REFUND = {
    "mchid": "1900000001",
    "transaction_id": "4200000000000000000000000001",
    "out_trade_no": "Z20240506-0001",
    "refund_id": "50000000000000000000000000001",
    "out_refund_no": "R20240506-0001",
    "refund_status": "SUCCESS",
    "success_time": "2024-05-06T15:09:01+08:00",
    "user_received_account": "nobody's",
    "amount": {"total": 12345, "refund": 345, "payer_total": 12345, "payer_refund": 345},
}


def sealed(content: Any, event: str = "TRANSACTION.SUCCESS", **changes: Any) -> bytes:
    plain = json.dumps(content).encode()
    resource = {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(
            AESGCM(API_KEY).encrypt(b"123456789012", plain, b"transaction")
        ).decode(),
        "associated_data": "transaction",
        "nonce": "123456789012",
        "original_type": "transaction",
    }
    return json.dumps(
        {
            "id": "EV-2018022511223320873",
            "create_time": "2024-05-06T15:08:09+08:00",
            "resource_type": "encrypt-resource",
            "event_type": event,
            "summary": "支付成功",
            "resource": {**resource, **changes},
        }
    ).encode()


def signed(
    body: bytes,
    *,
    key: rsa.RSAPrivateKey = PLATFORM,
    serial: str = SERIAL,
    at: dt.datetime = NOW,
    algorithm: Any = None,
) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    message = f"{timestamp}\nabcdef\n".encode() + body + b"\n"
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": "abcdef",
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature": base64.b64encode(
            key.sign(message, PKCS1v15(), algorithm or SHA256())
        ).decode(),
    }


def refusal(headers: dict[str, str], body: bytes, now: dt.datetime = NOW) -> str:
    with pytest.raises(CallbackRefused) as refused:
        verify(headers, body, KEYS, now)
    return refused.value.code


def test_a_payment_is_believed_and_opened() -> None:
    body = sealed(PAYMENT)
    verify(signed(body), body, KEYS, NOW)
    assert open_notification(body, KEYS) == Notification(
        channel="wechat_pay_v3",
        id="EV-2018022511223320873",
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


@pytest.mark.parametrize(
    ("status", "state"),
    [("SUCCESS", "refunded"), ("CLOSED", "refund_failed"), ("ABNORMAL", "refund_failed")],
)
def test_a_refund_is_no_payment(status: str, state: str) -> None:
    body = sealed({**REFUND, "refund_status": status}, f"REFUND.{status}")
    found = open_notification(body, KEYS)
    assert (found.kind, found.state, found.refund_no) == ("refund", state, "R20240506-0001")
    assert (found.amount, found.refund_amount) == (12345, 345)


def test_nothing_of_the_payer_is_kept() -> None:
    found = repr(open_notification(sealed(PAYMENT), KEYS))
    found += repr(open_notification(sealed(REFUND, "REFUND.SUCCESS"), KEYS))
    assert "nobody" not in found


def test_what_is_neither_payment_nor_refund_is_told_apart() -> None:
    assert open_notification(sealed({"mchid": "1"}, "PAYSCORE.USER_PAID"), KEYS).kind == "other"


def test_the_vendors_callback_is_believed() -> None:
    case = VECTORS["callback"]
    keys = WechatPayKeys.load(
        api_v3_keys=[API_KEY.decode()], platform_certificates=["\n".join(case["certificate"])]
    )
    now = dt.datetime.fromtimestamp(case["at"] + 299, dt.UTC)
    verify(case["headers"], case["body"].encode(), keys, now)


def test_the_vendors_ciphertext_opens() -> None:
    case = VECTORS["aead"]
    keys = WechatPayKeys(api_v3_keys=(case["key"].encode(),), verifiers=KEYS.verifiers)
    changes = {name: case[name] for name in ("nonce", "associated_data", "ciphertext")}
    # It opens to a word, which is no object, so what is proven is how far it came.
    plain = AESGCM(keys.api_v3_keys[0]).decrypt(
        case["nonce"].encode(),
        base64.b64decode(case["ciphertext"]),
        case["associated_data"].encode(),
    )
    assert plain == case["plaintext"].encode()
    with pytest.raises(CallbackRefused, match="cannot be read"):
        open_notification(sealed({}, **changes), keys)


def test_both_kinds_of_key_are_held_and_the_serial_chooses() -> None:
    body = sealed(PAYMENT)
    verify(signed(body), body, KEYS, NOW)
    verify(signed(body, key=NEW, serial=PUB_KEY_ID), body, KEYS, NOW)
    # Signed by a key that we hold, but not by the one that is named.
    assert refusal(signed(body, key=NEW), body) == "callback.bad_signature"
    assert refusal(signed(body, serial=PUB_KEY_ID), body) == "callback.bad_signature"


def test_a_key_that_nobody_told_us_is_never_fetched() -> None:
    body = sealed(PAYMENT)
    assert refusal(signed(body, serial="00" * 20), body) == "callback.unknown_key"


@pytest.mark.parametrize(
    ("seconds", "fresh"), [(300, True), (301, False), (-300, True), (-301, False)]
)
def test_a_callback_is_fresh_for_five_minutes(seconds: int, fresh: bool) -> None:
    body = sealed(PAYMENT)
    headers = signed(body, at=NOW - dt.timedelta(seconds=seconds))
    if fresh:
        verify(headers, body, KEYS, NOW)
    else:
        assert refusal(headers, body) == "callback.stale"


def test_the_order_of_the_checks_reveals_nothing_to_those_without_a_key() -> None:
    body = b"x" * (64 * 1024 + 1)
    assert refusal({}, body) == "callback.too_large"
    headers = signed(b"", serial="unknown", at=NOW - dt.timedelta(hours=1))
    assert refusal(headers, b"") == "callback.stale"
    assert refusal(signed(b"x", serial="unknown"), b"") == "callback.unknown_key"


def test_a_probe_fails_like_any_bad_signature() -> None:
    body = sealed(PAYMENT)
    headers = signed(body)
    probe = {
        **headers,
        "Wechatpay-Signature": f"WECHATPAY/SIGNTEST/{headers['Wechatpay-Signature']}",
    }
    assert refusal(probe, body) == "callback.bad_signature"


@pytest.mark.parametrize("name", ["Timestamp", "Nonce", "Serial", "Signature"])
def test_every_header_is_needed(name: str) -> None:
    body = sealed(PAYMENT)
    headers = signed(body)
    del headers[f"Wechatpay-{name}"]
    assert refusal(headers, body)


def test_header_names_come_in_any_case() -> None:
    body = sealed(PAYMENT)
    verify({name.lower(): value for name, value in signed(body).items()}, body, KEYS, NOW)


def test_one_changed_byte_is_noticed() -> None:
    body = sealed(PAYMENT)
    headers = signed(body)
    for at in range(0, len(body), 37):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        assert refusal(headers, changed) == "callback.bad_signature"


def test_another_digest_than_sha256_is_refused() -> None:
    body = sealed(PAYMENT)
    assert refusal(signed(body, algorithm=SHA1()), body) == "callback.bad_signature"


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "AEAD_AES_128_GCM"},
        {"nonce": "12345678901"},
        {"nonce": "1234567890123"},
        {"nonce": "１２３４"},
        {"nonce": None},
        {"ciphertext": "!"},
        {"ciphertext": "QUJD"},
        {"ciphertext": None},
        {"associated_data": "refund"},
        {"associated_data": None},
    ],
)
def test_what_does_not_open_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CallbackRefused):
        open_notification(sealed(PAYMENT, **changes), KEYS)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": {"total": "12345", "currency": "CNY"}},
        {"amount": {"total": 123.45, "currency": "CNY"}},
        {"amount": {"total": True, "currency": "CNY"}},
        {"amount": {"total": -1, "currency": "CNY"}},
        {"amount": None},
        {"out_trade_no": ""},
        {"out_trade_no": "a b"},
        {"out_trade_no": "\ud800"},
        {"out_trade_no": 7},
        {"success_time": "yesterday"},
        {"success_time": "2024-05-06T15:08:01"},
    ],
)
def test_content_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CallbackRefused):
        open_notification(sealed({**PAYMENT, **changes}), KEYS)


def test_two_values_of_one_name_are_refused() -> None:
    body = sealed(PAYMENT).replace(b'{"id"', b'{"id": "other", "id"', 1)
    with pytest.raises(CallbackRefused):
        open_notification(body, KEYS)


def test_the_api_key_can_be_changed_without_losing_a_callback() -> None:
    both = WechatPayKeys(api_v3_keys=(b"n" * 32, API_KEY), verifiers=KEYS.verifiers)
    assert open_notification(sealed(PAYMENT), both).state == "paid"
    after = WechatPayKeys(api_v3_keys=(b"n" * 32,), verifiers=KEYS.verifiers)
    with pytest.raises(CallbackRefused):
        open_notification(sealed(PAYMENT), after)


@pytest.mark.parametrize(
    "given",
    [
        {"api_v3_keys": ["short"], "platform_certificates": []},
        {"api_v3_keys": [], "platform_certificates": []},
        {"api_v3_keys": [API_KEY.decode()]},
        {"api_v3_keys": [API_KEY.decode()], "platform_certificates": ["no certificate"]},
        {"api_v3_keys": [API_KEY.decode()], "public_keys": {PUB_KEY_ID: "no key"}},
    ],
)
def test_keys_that_cannot_be_are_refused_at_start(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        WechatPayKeys.load(**given)


def test_a_public_key_is_loaded_under_its_id() -> None:
    pem = NEW.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    keys = WechatPayKeys.load(api_v3_keys=[API_KEY.decode()], public_keys={PUB_KEY_ID: pem})
    body = sealed(PAYMENT)
    verify(signed(body, key=NEW, serial=PUB_KEY_ID), body, keys, NOW)
    assert keys.public_key_id == PUB_KEY_ID


def test_keys_do_not_show_themselves() -> None:
    assert API_KEY.decode() not in repr(KEYS)
    assert repr(KEYS) == "WechatPayKeys()"


REQUEST = UnsignedRequest(
    method="GET",
    host="api.mch.weixin.qq.com",
    path="/v3/pay/transactions/out-trade-no/Z20240506-0001",
    query="mchid=1900000001",
    headers={},
    content_type=None,
    body=b"",
)
MERCHANT = WechatPayCredentials(
    mchid="1900000001",
    appid="wx0000000000000001",
    serial_no="6A" * 20,
    private_key=OWN,
    keys=KEYS,
)


def test_a_request_bears_the_merchants_name_and_signature() -> None:
    added = signer(MERCHANT, clock=lambda: NOW, nonce=lambda: "5" * 32)(REQUEST)
    method, _, listed = added["authorization"].partition(" ")
    fields = dict(pair.split("=", 1) for pair in listed.split(","))
    values = {name: value.strip('"') for name, value in fields.items()}
    signature = values.pop("signature")
    assert method == "WECHATPAY2-SHA256-RSA2048"
    assert values == {
        "mchid": "1900000001",
        "nonce_str": "5" * 32,
        "timestamp": str(int(NOW.timestamp())),
        "serial_no": "6A" * 20,
    }
    target = f"{REQUEST.path}?{REQUEST.query}"
    message = f"GET\n{target}\n{values['timestamp']}\n{values['nonce_str']}\n\n".encode()
    OWN.public_key().verify(base64.b64decode(signature), message, PKCS1v15(), SHA256())
    assert added["wechatpay-serial"] == PUB_KEY_ID


def test_without_a_public_key_none_is_asked_for() -> None:
    keys = WechatPayKeys(api_v3_keys=(API_KEY,), verifiers={SERIAL: PLATFORM.public_key()})
    merchant = WechatPayCredentials(
        mchid="1900000001", appid="wx1", serial_no="6A" * 20, private_key=OWN, keys=keys
    )
    assert signer(merchant)(REQUEST).keys() == {"authorization"}


def test_a_nonce_is_never_used_twice() -> None:
    sign = signer(MERCHANT)
    assert sign(REQUEST) != sign(REQUEST)


headers_of_strangers = st.dictionaries(
    st.sampled_from(
        ["Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Serial", "Wechatpay-Signature"]
    )
    | st.text(max_size=20),
    st.text(max_size=60)
    | st.sampled_from([str(int(NOW.timestamp())), SERIAL, PUB_KEY_ID, "abcdef", "A" * 344]),
)


@given(headers_of_strangers, st.binary(max_size=300))
def test_no_stranger_is_believed(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(CallbackRefused):
        verify(headers, body, KEYS, NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_a_body_of_any_form_is_opened_or_refused(body: bytes) -> None:
    with pytest.raises(CallbackRefused):
        open_notification(body, KEYS)


@given(
    st.dictionaries(st.sampled_from(sorted({*PAYMENT, *REFUND})), json_values),
    st.sampled_from(["TRANSACTION.SUCCESS", "REFUND.SUCCESS", "OTHER"]),
)
def test_content_of_any_form_is_read_or_refused(changes: dict[str, Any], event: str) -> None:
    body = sealed({**PAYMENT, **REFUND, **changes}, event)
    with suppress(CallbackRefused):
        assert isinstance(open_notification(body, KEYS), Notification)
