"""The merchants file: read whole at the start, and each fault named without a value."""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.sandbox.merchants import (
    MCHID,
    SELLER,
    TillKeys,
    till_keys,
    use_till_keys,
)
from integrations.sandbox.tills import Tills
from models.errors import ConfigurationError, NotFound
from tests.workers.notices import written
from tests.workers.tills import CHANNELS, number_of
from workers.embedded.merchants import SandboxMerchants
from workers.merchants import load_merchants
from workers.payments import _payments_of, open_payments

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> SandboxMerchants:
    made = SandboxMerchants(tmp_path_factory.mktemp("merchants") / "merchants")
    made.lay_out("shop")
    return made


@pytest.fixture
def _their_keys(laid_out: SandboxMerchants) -> Iterator[None]:
    before = till_keys()
    use_till_keys(TillKeys.load(laid_out.keys.read_text("ascii")))
    yield
    use_till_keys(before)


def entries(laid_out: SandboxMerchants) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(laid_out.file.read_text())["merchants"]
    return found


def write(laid_out: SandboxMerchants, merchants: object, name: str = "changed.json") -> Path:
    file = laid_out.folder / name
    file.write_text(json.dumps({"merchants": merchants}))
    return file


def test_toml_and_json_say_the_same(laid_out: SandboxMerchants) -> None:
    from_json = load_merchants(write(laid_out, entries(laid_out)))
    for found in (load_merchants(laid_out.file), from_json):
        assert {(each.channel, each.number, each.backend) for each in found} == {
            ("wechat_pay_v3", MCHID, "shop"),
            ("wechat_pay_v2", MCHID, "shop"),
            ("alipay", SELLER, "shop"),
        }


@pytest.mark.usefixtures("_their_keys")
def test_what_is_read_believes_genuine_callbacks_under_either_key(
    laid_out: SandboxMerchants,
) -> None:
    merchants, tills = load_merchants(laid_out.file), Tills()
    for channel in CHANNELS:
        merchant = merchants.find(channel, number_of(channel))
        assert merchant is not None
        message = tills.messages.paid(channel, tills.book(channel).pay("Z20240506", 12345))
        for newer in (False, True):
            headers, body = message.sign(newer)
            assert merchant.believe(headers, body, dt.datetime.now(dt.UTC))
            assert merchant.read(headers, body).amount == 12345


@pytest.mark.usefixtures("_their_keys")
def test_a_payment_that_quotes_a_refund_is_read_as_a_payment(laid_out: SandboxMerchants) -> None:
    merchant, tills = load_merchants(laid_out.file).find("wechat_pay_v2", MCHID), Tills()
    assert merchant is not None
    tills.book("wechat_pay_v2").pay("Z20240506", 12345)
    quoting = written(tills, "wechat_pay_v2", "Z20240506", attach="<req_info>")
    assert merchant.read(*quoting).state == "paid"


@pytest.mark.usefixtures("_their_keys")
def test_a_python_backend_hands_in_raw_headers_and_body(
    laid_out: SandboxMerchants, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZJJ_DATA", str(tmp_path))
    monkeypatch.setenv("ZJJ_MERCHANTS", str(laid_out.file))
    monkeypatch.setenv("ZJJ_DATABASE_URL", f"sqlite:///{tmp_path / 'zjj.db'}")
    monkeypatch.setenv("ZJJ_REDIS_URL", "redis://127.0.0.1:1/0")
    from models.database import migrate

    _payments_of.cache_clear()
    payments = open_payments()
    try:
        migrate(payments.books._engine)
        tills = Tills()
        headers, body = tills.messages.paid(
            "alipay", tills.alipay.book.pay("Z20240506", 12345)
        ).sign(False)
        told = [payments.receive("alipay", SELLER, headers, body, backend="shop") for _ in "ab"]
        assert told == [True, False]
        with pytest.raises(NotFound):
            payments.receive("alipay", SELLER, headers, body, backend="forum")
    finally:
        payments._commits.close()
        payments._dispatcher.close()
        _payments_of.cache_clear()


Change = Callable[[list[dict[str, Any]]], Any]

FAULTS: dict[str, tuple[Change, str]] = {
    "unknown channel": (lambda m: m[0].update(channel="cash"), r"merchants\.0"),
    "no channel": (lambda m: m[0].pop("channel"), r"merchants\.0"),
    "no number": (lambda m: m[0].pop("merchant"), r"merchants\.0\.wechat_pay_v3\.merchant"),
    "a number of letters": (
        lambda m: m[2].update(merchant="secret-value"),
        r"merchants\.2\.alipay\.merchant",
    ),
    "no app": (lambda m: m[1].pop("app"), r"merchants\.1\.wechat_pay_v2\.app"),
    "an odd backend": (
        lambda m: m[0].update(backend="secret value"),
        r"merchants\.0\.wechat_pay_v3\.backend",
    ),
    "an odd serial": (
        lambda m: m[0].update(serial_no="secret-value"),
        r"merchants\.0\.wechat_pay_v3\.serial_no",
    ),
    "a name that nobody knows": (
        lambda m: m[0].update(api_key="secret-value"),
        r"merchants\.0\.wechat_pay_v3\.api_key",
    ),
    "three keys": (
        lambda m: m[0].update(api_v3_key_files=["a", "b", "c"]),
        r"merchants\.0\.wechat_pay_v3\.api_v3_key_files",
    ),
    "a refund address without TLS": (
        lambda m: m[0].update(notify_url="http://secret-value/"),
        r"merchants\.0\.wechat_pay_v3\.notify_url",
    ),
    "a refund address with a query": (
        lambda m: m[0].update(notify_url="https://pay.example.com/?secret-value"),
        r"merchants\.0\.wechat_pay_v3\.notify_url",
    ),
    "an unknown algorithm": (
        lambda m: m[1].update(algorithm="secret-value"),
        r"merchants\.1\.wechat_pay_v2\.algorithm",
    ),
    "a file that is not there": (
        lambda m: m[1].update(key_file="gone.key"),
        r"wechat_pay_v2 1900000001: the key file gone\.key: No such file",
    ),
    "a v2 key that is too short": (
        lambda m: m[1].update(key_file="short.key"),
        r"wechat_pay_v2 1900000001: the API v2 key",
    ),
    "a v3 key that is too short": (
        lambda m: m[0].update(api_v3_key_files=["short.key"]),
        r"wechat_pay_v3 1900000001: each API v3 key",
    ),
    "no key of WeChat Pay's": (
        lambda m: m[0].update(platform_certificate_files=[], public_key_files={}),
        r"wechat_pay_v3 1900000001: WeChat Pay needs",
    ),
    "a certificate that is none": (
        lambda m: m[0].update(platform_certificate_files=["short.key"]),
        r"wechat_pay_v3 1900000001: a platform certificate",
    ),
    "a public key under an odd name": (
        lambda m: m[0].update(public_key_files={"secret-value": "wechat_pay.pem"}),
        r"wechat_pay_v3 1900000001: a key of WeChat Pay has a malformed serial",
    ),
    "a private key that is none": (
        lambda m: m[2].update(private_key_file="short.key"),
        r"alipay 2088000000000001: the merchant's private key",
    ),
    "the public key as the private one": (
        lambda m: m[2].update(private_key_file="alipay.pem"),
        r"alipay 2088000000000001: the merchant's private key",
    ),
    "a public key that is none": (
        lambda m: m[2].update(alipay_public_key_file="short.key"),
        r"alipay 2088000000000001: the provider's public key",
    ),
    "a key file that is no text": (
        lambda m: m[1].update(key_file="binary.key"),
        r"wechat_pay_v2 1900000001: the key file binary\.key is no text",
    ),
    "one merchant twice": (lambda m: m.append(m[2]), r"names a merchant of one channel twice"),
}


@pytest.mark.parametrize(("change", "says"), FAULTS.values(), ids=FAULTS)
def test_each_fault_names_file_and_field_and_no_value(
    laid_out: SandboxMerchants, change: Change, says: str
) -> None:
    (laid_out.folder / "short.key").write_text("secret-value")
    (laid_out.folder / "binary.key").write_bytes(b"\xffsecret-value")
    merchants = entries(laid_out)
    change(merchants)
    with pytest.raises(ConfigurationError) as refused:
        load_merchants(write(laid_out, merchants))
    message = str(refused.value)
    assert re.search(says, message), message
    assert message.startswith("ZJJ_MERCHANTS")
    assert "secret" not in message
    keys = TillKeys.load(laid_out.keys.read_text("ascii"))
    assert keys.api_v2_key not in message
    assert keys.api_v3_key not in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gone.toml", None),
        ("m.toml", "merchants = [secret"),
        ("m.json", "{secret"),
        ("m.json", "[]"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: str | None
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        load_merchants(file)
    assert str(refused.value).startswith("ZJJ_MERCHANTS")
    assert "secret" not in str(refused.value)


def test_no_key_shows_itself(laid_out: SandboxMerchants) -> None:
    shown = " ".join(repr(each) + repr(each.credentials) for each in load_merchants(laid_out.file))
    keys = TillKeys.load(laid_out.keys.read_text("ascii"))
    assert keys.api_v2_key not in shown
    assert keys.api_v3_key not in shown
    assert "PRIVATE" not in shown
