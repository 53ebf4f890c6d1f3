"""python-alipay-sdk 3.4: each fault of it that we know, and that we do not share it."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from integrations.alipay import notify, rsa2
from integrations.alipay.signing import is_own
from integrations.payments import CallbackRefused

FORM = "application/x-www-form-urlencoded"
KEY = rsa.generate_private_key(65537, 2048)
PUBLIC = KEY.public_key()
VALUES = {
    "app_id": "2021000000000001",
    "notify_id": "2024050600222150801000000000000001",
    "notify_type": "trade_status_sync",
    "out_trade_no": "Z20240506-0001",
    "seller_id": "2088000000000001",
    "subject": "手镯",
    "total_amount": "123.45",
    "trade_status": "TRADE_SUCCESS",
}
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "alipay.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def library() -> Any:
    """The library's own client for KEY, loaded by our way in."""
    module = rsa2._library()
    pem = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return module.AliPay(appid="1", app_private_key_string=pem, alipay_public_key_string=pem)


def text_of(values: dict[str, str]) -> str:
    return "&".join(f"{name}={values[name]}" for name in sorted(values))


def sign(text: str, charset: str = "utf-8", digest: Any = None) -> str:
    signature = KEY.sign(text.encode(charset), PKCS1v15(), digest or SHA256())
    return base64.b64encode(signature).decode()


def form(values: dict[str, str], charset: str = "utf-8") -> bytes:
    return urlencode(values, encoding=charset).encode()


def test_the_vendors_reply_is_own_as_it_stands_and_in_no_other_way() -> None:
    case = VECTORS["reply"]
    key = load_pem_public_key("\n".join(case["public_key"]).encode())
    assert isinstance(key, rsa.RSAPublicKey)
    body = case["body"].encode()
    assert is_own(body, case["name"], key)
    assert not is_own(body.replace(b"10000", b"10001"), case["name"], key)
    assert not is_own(body.replace(b'":"', b'": "', 1), case["name"], key)
    assert not is_own(body, "alipay_trade_query_response", key)
    assert not is_own(body, case["name"], PUBLIC)


def test_the_library_agrees_with_us_on_what_is_genuine(library: Any) -> None:
    signature = sign(text_of(VALUES))
    assert library.verify(dict(VALUES), signature)
    assert rsa2.is_signed(text_of(VALUES).encode(), signature.encode(), PUBLIC)
    assert rsa2.sign(text_of(VALUES), KEY) == signature


def test_importing_the_library_sets_up_logging_for_all_and_using_ours_does_not() -> None:
    program = """
import logging, sys
kept = logging.StreamHandler()
logging.getLogger("theirs").addHandler(kept)
{way_in}
named = [logging.getLogger(name) for name in ("python-alipay-sdk", "alipay")]
print(sum(len(each.handlers) for each in named),
      any(ref() is kept for ref in logging._handlerList), "alipay" in sys.modules)
"""
    ways = {
        "import alipay": "1 False True",
        "from integrations.alipay import rsa2; rsa2._library()": "0 True True",
    }
    for way_in, seen in ways.items():
        command = [sys.executable, "-c", program.format(way_in=way_in)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        assert shown.stdout.strip() == seen


def test_importing_the_library_starts_a_program_and_using_ours_does_not() -> None:
    """Which a locked process refuses, and then nothing at Alipay could be asked."""
    program = """
import sys
started = []
sys.addaudithook(lambda event, _: started.append(event) if event == "subprocess.Popen" else None)
{way_in}
print(bool(started), "alipay" in sys.modules)
"""
    ways = {
        "import alipay": "True True",
        "from integrations.alipay import rsa2; rsa2._library()": "False True",
        "from integrations.wechat_pay import v2; v2._signatures(), v2._cipher(bytes(32))": "False False",
    }
    for way_in, seen in ways.items():
        command = [sys.executable, "-c", program.format(way_in=way_in)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        assert shown.stdout.strip().endswith(seen), way_in


def test_the_library_logs_nothing_of_what_it_judges(
    library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        rsa2.is_signed(text_of(VALUES).encode(), sign(text_of(VALUES)).encode(), PUBLIC)
        rsa2.sign(text_of(VALUES), KEY)
    assert caplog.records == []


def test_a_missing_sign_type_is_good_enough_for_the_library_only(library: Any) -> None:
    signature = sign(text_of(VALUES))
    assert library.verify(dict(VALUES), signature)
    with pytest.raises(CallbackRefused) as refused:
        notify.verify(form({**VALUES, "sign": signature}), FORM, PUBLIC)
    assert refused.value.code == "callback.bad_signature"


def test_the_library_takes_what_it_is_given_apart_and_we_do_not(library: Any) -> None:
    given = {**VALUES, "sign_type": "RSA2"}
    library.verify(given, sign(text_of(VALUES)))
    assert "sign_type" not in given
    raw = form({**VALUES, "sign": sign(text_of(VALUES)), "sign_type": "RSA2"})
    assert notify.verify(raw, FORM, PUBLIC) == notify.verify(raw, FORM, PUBLIC)


def test_a_genuine_callback_in_gbk_is_refused_by_the_library_only(library: Any) -> None:
    values = {**VALUES, "charset": "GBK"}
    signature = sign(text_of(values), "gbk")
    assert not library.verify(dict(values), signature)
    body = form({**values, "sign": signature, "sign_type": "RSA2"}, "gbk")
    assert notify.verify(body, FORM, PUBLIC).state == "paid"


@pytest.mark.parametrize("spoil", [lambda s: s[:9] + "\n" + s[9:], lambda s: "!" + s])
def test_the_library_believes_one_signature_in_many_spellings(library: Any, spoil: Any) -> None:
    text = text_of(VALUES)
    signature = spoil(sign(text))
    assert library.verify(dict(VALUES), signature)
    assert not rsa2.is_signed(text.encode(), signature.encode(), PUBLIC)


@pytest.mark.parametrize("signature", ["A", "中", "A" * 341])
def test_the_library_breaks_on_a_signature_that_is_none(library: Any, signature: str) -> None:
    try:
        assert not library.verify(dict(VALUES), signature)
    except ValueError:
        pass
    else:
        assert signature == "中"  # It skips what is no Base64.
    assert not rsa2.is_signed(text_of(VALUES).encode(), signature.encode(), PUBLIC)


def test_sha1_is_good_enough_for_a_library_told_so_and_never_for_us() -> None:
    pem = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    older = rsa2._library().AliPay(
        appid="1", app_private_key_string=pem, alipay_public_key_string=pem, sign_type="RSA"
    )
    signature = sign(text_of(VALUES), digest=SHA1())
    assert older.verify({**VALUES, "sign_type": "RSA"}, signature)
    assert not rsa2.is_signed(text_of(VALUES).encode(), signature.encode(), PUBLIC)
    assert (
        rsa2._verifying(
            PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).sign_type
        == "RSA2"
    )


@pytest.mark.parametrize("subject", ["a}", "{a", '{"a'])
def test_a_brace_in_a_reply_is_too_much_for_the_library_only(library: Any, subject: str) -> None:
    content = json.dumps({"code": "10000", "subject": subject}, separators=(",", ":"))
    name = "alipay_trade_query_response"
    reply = f'{{"{name}":{content},"sign":"{sign(content)}"}}'
    with pytest.raises(rsa2._library().AliPayValidationError):
        library._verify_and_return_sync_response(reply, name)
    assert is_own(reply.encode(), name, PUBLIC)
