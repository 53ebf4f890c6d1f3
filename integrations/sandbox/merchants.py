"""The one merchant that the sandbox's payment providers know, and the keys of all three.

Keys are made when they are first needed and live as long as the process, unless it is given kept
ones; they open nothing but the sandbox. ``GET /_sandbox/merchants`` shows them to other processes.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from integrations.alipay.credentials import AlipayCredentials
from integrations.wechat_pay.credentials import WechatPayCredentials, WechatPayV2Credentials
from integrations.wechat_pay.v3 import WechatPayKeys

__all__ = [
    "ALIPAY_APP",
    "APPID",
    "MCHID",
    "SAMPLE_AMOUNT",
    "SAMPLE_ORDER",
    "SAMPLE_REFUND",
    "SAMPLE_TOTAL",
    "SELLER",
    "TillKeys",
    "alipay_credentials",
    "till_keys",
    "use_till_keys",
    "wechat_pay_credentials",
    "wechat_pay_v2_credentials",
]

MCHID = "1900000001"
APPID = "wx0000000000000001"
SELLER = "2088000000000001"
ALIPAY_APP = "2021000000000001"
SAMPLE_ORDER = "SAMPLE-ORDER-1"
SAMPLE_REFUND = "SAMPLE-REFUND-1"
SAMPLE_TOTAL, SAMPLE_AMOUNT = 12345, 345
"""Fen."""
_PUBLIC_KEY_ID = "PUB_KEY_ID_0119000000012024050600000000000001"


@dataclass(frozen=True, slots=True, kw_only=True)
class TillKeys:
    """All keys of the three parties; ``repr`` shows public names only."""

    merchant: rsa.RSAPrivateKey = field(repr=False)
    merchant_serial: str
    platform: rsa.RSAPrivateKey = field(repr=False)
    """WeChat Pay's, behind a platform certificate."""
    platform_certificate: str = field(repr=False)
    """PEM."""
    platform_serial: str
    public: rsa.RSAPrivateKey = field(repr=False)
    """WeChat Pay's newer one, behind a public key with an id."""
    public_id: str
    api_v3_key: str = field(repr=False)
    api_v2_key: str = field(repr=False)
    app: rsa.RSAPrivateKey = field(repr=False)
    """The merchant's at Alipay."""
    alipay: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def made(cls) -> Self:
        """New ones."""
        merchant, platform, public, app, alipay = (
            rsa.generate_private_key(65537, 2048) for _ in range(5)
        )
        certificate = _certificate(platform)
        return cls(
            merchant=merchant,
            merchant_serial=secrets.token_hex(20).upper(),
            platform=platform,
            platform_certificate=certificate.public_bytes(Encoding.PEM).decode(),
            platform_serial=f"{certificate.serial_number:X}",
            public=public,
            public_id=_PUBLIC_KEY_ID,
            api_v3_key=secrets.token_hex(16),
            api_v2_key=secrets.token_hex(16),
            app=app,
            alipay=alipay,
        )

    @classmethod
    def load(cls, text: str) -> Self:
        """Those that :meth:`dump` has written.

        Raises:
            ValueError: The text is something else.
        """
        try:
            kept = {name: _read(name, value) for name, value in json.loads(text).items()}
            return cls(**kept)
        except (AttributeError, TypeError):
            raise ValueError("these are no keys of the sandbox") from None

    def dump(self) -> str:
        """All of them as JSON, for another process to use."""
        return json.dumps(
            {
                name: _private(value) if isinstance(value, rsa.RSAPrivateKey) else value
                for name in self.__dataclass_fields__
                for value in [getattr(self, name)]
            },
            indent=1,
        )

    def shown(self) -> dict[str, str]:
        """What a merchant would configure."""
        return {
            "mchid": MCHID,
            "appid": APPID,
            "serial_no": self.merchant_serial,
            "private_key": _private(self.merchant),
            "api_v3_key": self.api_v3_key,
            "api_v2_key": self.api_v2_key,
            "platform_certificate": self.platform_certificate,
            "public_key_id": self.public_id,
            "public_key": _public(self.public),
            "alipay_app_id": ALIPAY_APP,
            "alipay_seller_id": SELLER,
            "alipay_private_key": _private(self.app),
            "alipay_public_key": _public(self.alipay),
        }


_used: list[TillKeys] = []


def till_keys() -> TillKeys:
    """This process's keys."""
    if not _used:
        _used.append(TillKeys.made())
    return _used[0]


def use_till_keys(keys: TillKeys) -> None:
    """Have these be this process's keys from now on."""
    _used[:] = [keys]


def wechat_pay_credentials(
    *, public_key: bool = True, certificate: bool = True, notify_url: str | None = None
) -> WechatPayCredentials:
    """The merchant to API v3, with either kind of WeChat Pay's key, or both."""
    keys = till_keys()
    return WechatPayCredentials(
        mchid=MCHID,
        appid=APPID,
        serial_no=keys.merchant_serial,
        private_key=keys.merchant,
        keys=WechatPayKeys.load(
            api_v3_keys=[keys.api_v3_key],
            platform_certificates=[keys.platform_certificate] if certificate else [],
            public_keys={keys.public_id: _public(keys.public)} if public_key else {},
        ),
        notify_url=notify_url,
    )


def wechat_pay_v2_credentials() -> WechatPayV2Credentials:
    """The merchant to API v2."""
    return WechatPayV2Credentials(mchid=MCHID, appid=APPID, key=till_keys().api_v2_key)


def alipay_credentials() -> AlipayCredentials:
    """The merchant's app at Alipay."""
    keys = till_keys()
    return AlipayCredentials(
        app_id=ALIPAY_APP,
        seller_id=SELLER,
        private_key=keys.app,
        alipay_public_key=keys.alipay.public_key(),
    )


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sandbox of WeChat Pay")])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365))
        .sign(key, SHA256())
    )


_PRIVATE = frozenset({"merchant", "platform", "public", "app", "alipay"})


def _read(name: str, value: str) -> Any:
    return load_pem_private_key(value.encode(), None) if name in _PRIVATE else value


def _private(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
