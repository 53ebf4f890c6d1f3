from __future__ import annotations

import base64
import datetime as dt
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from integrations.alipay.notify import ACCEPTED, verify
from integrations.payments import CallbackRefused, Notification

FORM = "application/x-www-form-urlencoded; charset=utf-8"
ALIPAY = rsa.generate_private_key(65537, 2048)
PUBLIC = ALIPAY.public_key()
PAID = {
    "app_id": "2021000000000001",
    "auth_app_id": "2021000000000001",
    "buyer_id": "nobody-1",
    "buyer_logon_id": "nobody-2",
    "buyer_pay_amount": "123.45",
    "charset": "utf-8",
    "fund_bill_list": '[{"amount":"123.45","fundChannel":"ALIPAYACCOUNT"}]',
    "gmt_create": "2024-05-06 15:07:55",
    "gmt_payment": "2024-05-06 15:08:01",
    "notify_id": "2024050600222150801000000000000001",
    "notify_time": "2024-05-06 15:08:02",
    "notify_type": "trade_status_sync",
    "out_trade_no": "Z20240506-0001",
    "passback_params": "",
    "seller_id": "2088000000000001",
    "subject": "手镯 100% +1 & more",
    "total_amount": "123.45",
    "trade_no": "2024050622001000000000000001",
    "trade_status": "TRADE_SUCCESS",
    "version": "1.0",
}


def signed(
    values: dict[str, str],
    *,
    charset: str = "utf-8",
    digest: HashAlgorithm | None = None,
    sign_type: str | None = "RSA2",
    key: rsa.RSAPrivateKey = ALIPAY,
) -> bytes:
    text = "&".join(f"{name}={values[name]}" for name in sorted(values))
    sign = key.sign(text.encode(charset), PKCS1v15(), digest or SHA256())
    more = {"sign": base64.b64encode(sign).decode()}
    if sign_type is not None:
        more["sign_type"] = sign_type
    return urlencode({**values, **more}, encoding=charset).encode()


def refusal(body: bytes, content_type: str | None = FORM) -> str:
    with pytest.raises(CallbackRefused) as refused:
        verify(body, content_type, PUBLIC)
    return refused.value.code


def test_a_payment_is_believed() -> None:
    found = verify(signed(PAID), FORM, PUBLIC)
    assert found == Notification(
        channel="alipay",
        id="2024050600222150801000000000000001",
        kind="payment",
        merchant="2088000000000001",
        app="2021000000000001",
        order_no="Z20240506-0001",
        provider_no="2024050622001000000000000001",
        refund_no=None,
        amount=12345,
        refund_amount=None,
        currency="CNY",
        state="paid",
        at=dt.datetime(2024, 5, 6, 7, 8, 1, tzinfo=dt.UTC),
    )
    assert "nobody" not in repr(found)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("TRADE_SUCCESS", "paid"),
        ("TRADE_FINISHED", "paid"),
        ("TRADE_CLOSED", "closed"),
        ("WAIT_BUYER_PAY", "open"),
        ("SOMETHING_NEW", "open"),
    ],
)
def test_only_success_and_finished_are_paid(status: str, state: str) -> None:
    assert verify(signed({**PAID, "trade_status": status}), FORM, PUBLIC).state == state


@pytest.mark.parametrize("status", ["TRADE_SUCCESS", "TRADE_CLOSED"])
def test_a_refund_is_never_a_second_payment(status: str) -> None:
    refund = {
        **PAID,
        "trade_status": status,
        "refund_fee": "3.45",
        "gmt_refund": "2024-05-06 15:09:01.123",
        "out_biz_no": "R20240506-0001",
    }
    found = verify(signed(refund), FORM, PUBLIC)
    assert (found.kind, found.state, found.refund_no) == ("refund", "refunded", "R20240506-0001")
    assert (found.amount, found.refund_amount) == (12345, 345)


def test_what_is_about_no_trade_is_told_apart() -> None:
    other = {"notify_id": "1", "notify_type": "servicemarket_order_notify", "app_id": "2"}
    found = verify(signed(other), FORM, PUBLIC)
    assert (found.kind, found.state, found.order_no) == ("other", "open", "")


def test_the_charset_that_the_form_names_is_read() -> None:
    values = {**PAID, "charset": "GBK"}
    assert verify(signed(values, charset="gbk"), FORM, PUBLIC).state == "paid"
    assert refusal(signed({**PAID, "charset": "utf-7"})) == "callback.malformed"


def test_values_are_decoded_once_and_no_more() -> None:
    values = {**PAID, "subject": "%25 %2B + \u4e2d"}
    body = signed(values)
    assert verify(body, FORM, PUBLIC).state == "paid"
    assert refusal(body.replace(b"%2525", b"%25")) == "callback.bad_signature"
    spaces_as_percent = signed(PAID).replace(b"+", b"%20")
    assert verify(spaces_as_percent, FORM, PUBLIC).state == "paid"


@pytest.mark.parametrize("sign_type", [None, "", "RSA", "rsa2", "RSA2 "])
def test_the_sign_type_is_required_and_pinned(sign_type: str | None) -> None:
    assert refusal(signed(PAID, sign_type=sign_type)) == "callback.bad_signature"


def test_another_digest_than_sha256_is_refused() -> None:
    assert refusal(signed(PAID, digest=SHA1())) == "callback.bad_signature"


def test_another_key_than_alipays_is_refused() -> None:
    other = rsa.generate_private_key(65537, 2048)
    assert refusal(signed(PAID, key=other)) == "callback.bad_signature"


def test_the_sign_type_is_not_part_of_the_signed_text() -> None:
    text = signed({**PAID, "sign_type": "RSA2"}, sign_type=None)
    assert refusal(text) == "callback.bad_signature"


@pytest.mark.parametrize("name", sorted(PAID))
def test_one_missing_value_is_noticed(name: str) -> None:
    pair = urlencode({name: PAID[name]}).encode()
    assert refusal(signed(PAID).replace(pair + b"&", b"", 1)) == "callback.bad_signature"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"&",
        b"a",
        b"a=1&&b=2",
        b"a=1&a=2",
        b"a=%zz",
        b"a=%2",
        b"a=1=2",
        b"\xff=1",
        b"a b=1",
        b"&".join(b"a%d=1" % number for number in range(200)),
    ],
)
def test_a_form_that_could_be_read_in_two_ways_is_refused(body: bytes) -> None:
    assert refusal(body) == "callback.malformed"


def test_a_large_body_is_refused_unread() -> None:
    assert refusal(b"a=" + b"1" * 64 * 1024) == "callback.too_large"


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "multipart/form-data; boundary=x"]
)
def test_another_content_type_is_refused(content_type: str) -> None:
    assert refusal(signed(PAID), content_type) == "callback.malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"total_amount": "1.234"},
        {"total_amount": "1,234.00"},
        {"total_amount": "-1.00"},
        {"total_amount": "1e3"},
        {"total_amount": "１.00"},
        {"out_trade_no": ""},
        {"notify_id": "a b"},
        {"gmt_payment": "yesterday"},
        {"gmt_payment": "2024-13-01 00:00:00"},
    ],
)
def test_content_of_another_form_is_refused(changes: dict[str, str]) -> None:
    assert refusal(signed({**PAID, **changes})) == "callback.malformed"


def test_the_text_is_ambiguous_which_is_why_orders_are_asked_for() -> None:
    honest = {**PAID, "subject": "a", "total_amount": "100.00"}
    text = "&".join(f"{name}={honest[name]}" for name in sorted(honest))
    sign = base64.b64encode(ALIPAY.sign(text.encode(), PKCS1v15(), SHA256())).decode()
    forged = {name: value for name, value in honest.items() if name != "total_amount"}
    forged["subject"] = "a&total_amount=100.00"
    body = urlencode({**forged, "sign": sign, "sign_type": "RSA2"}).encode()
    assert verify(body, FORM, PUBLIC).amount is None


def test_the_acknowledgement_is_seven_bytes() -> None:
    assert (ACCEPTED.status, ACCEPTED.body) == (200, b"success")


@given(st.binary(max_size=300) | st.text("a=&%+sign_tpeRA2", max_size=80).map(str.encode))
def test_no_stranger_is_believed(body: bytes) -> None:
    with pytest.raises(CallbackRefused):
        verify(body, FORM, PUBLIC)


@given(
    st.dictionaries(
        st.sampled_from([*sorted(PAID), "refund_fee", "out_biz_no"]), st.text(max_size=40)
    )
)
def test_signed_values_of_any_form_are_read_or_refused(changes: dict[str, str]) -> None:
    values = {**PAID, **changes}
    text = "&".join(f"{name}={values[name]}" for name in sorted(values))
    sign = ALIPAY.sign(text.encode(), PKCS1v15(), SHA256())
    pairs = {**values, "sign": base64.b64encode(sign).decode(), "sign_type": "RSA2"}
    body = "&".join(f"{name}={quote(value)}" for name, value in pairs.items()).encode()
    try:
        found = verify(body, FORM, PUBLIC)
    except CallbackRefused:
        return
    assert found.id == values["notify_id"]
