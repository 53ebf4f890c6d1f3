"""WeChat Pay API v3: what authenticates and opens its messages, and what authenticates ours.

Pure but for the defaults of :func:`signer`. Rules: WeChat Pay's documents "Generate signatures",
"Verify signatures", "Decrypt callbacks" and "Switch from platform certificates to the WeChat Pay
public key" (pay.weixin.qq.com, API v3 developer guide).
"""

# Of wechatpayv3 its functions are used, not its client: that believes a callback of any age and
# fetches certificates for a serial that a stranger names (test_sdk_faults.py).

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate
from wechatpayv3.utils import aes_decrypt, rsa_sign, rsa_verify

from integrations.payments import (
    Acknowledgement,
    CallbackRefused,
    Notification,
    NotificationState,
)
from integrations.pem import public_key
from models.clock import utc_now
from models.errors import ConfigurationError

if TYPE_CHECKING:
    from integrations.gate import Signer, UnsignedRequest
    from integrations.wechat_pay.credentials import WechatPayCredentials
    from models.clock import Clock

__all__ = [
    "ACCEPTED",
    "FRESH_FOR",
    "LARGEST_CALLBACK",
    "REFUSED",
    "UNAVAILABLE",
    "WechatPayKeys",
    "open_notification",
    "signer",
    "verify",
]

ACCEPTED = Acknowledgement(status=204, content_type=None, body=b"")
REFUSED = Acknowledgement(
    status=401, content_type="application/json", body=b'{"code":"FAIL","message":"refused"}'
)
"""For whatever is not to be believed, the provider's signature probes among them."""
UNAVAILABLE = Acknowledgement(
    status=503, content_type="application/json", body=b'{"code":"FAIL","message":"try again"}'
)
"""Nothing was stored; the provider sends it again."""

LARGEST_CALLBACK = 64 * 1024
"""Bytes; the largest real callback is a tenth of it."""
FRESH_FOR = 300
"""Seconds that a message's time may be away from ours, in either direction."""

_PROBE = "WECHATPAY/SIGNTEST/"
_SERIAL = re.compile(r"[0-9A-F]{8,64}|PUB_KEY_ID_[0-9A-Za-z]{4,64}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{10}", re.ASCII)
_WORD = re.compile(r"[!-~]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class WechatPayKeys:
    """What a merchant holds to believe WeChat Pay and to open its callbacks."""

    api_v3_keys: tuple[bytes, ...] = field(repr=False)
    """Each 32 ASCII characters; two while the key is being changed."""
    verifiers: Mapping[str, RSAPublicKey] = field(repr=False)
    """By ``Wechatpay-Serial``: a platform certificate's serial number in upper-case hexadecimal,
    or the ``PUB_KEY_ID_…`` of a WeChat Pay public key. Both kinds while migrating."""

    def __post_init__(self) -> None:
        if not self.api_v3_keys or not all(
            len(key) == 32 and key.isascii() for key in self.api_v3_keys
        ):
            raise ConfigurationError("each API v3 key of WeChat Pay has 32 ASCII characters")
        if not self.verifiers:
            raise ConfigurationError("WeChat Pay needs a platform certificate or a public key")
        if not all(_SERIAL.fullmatch(serial) for serial in self.verifiers):
            raise ConfigurationError("a key of WeChat Pay has a malformed serial")

    @property
    def public_key_id(self) -> str | None:
        """The ``PUB_KEY_ID_…`` that answers should be signed with, if one is held."""
        return next((each for each in self.verifiers if each.startswith("PUB_KEY_ID_")), None)

    @classmethod
    def load(
        cls,
        *,
        api_v3_keys: Iterable[str],
        platform_certificates: Iterable[str] = (),
        public_keys: Mapping[str, str] | None = None,
    ) -> Self:
        """Read keys from configuration.

        Args:
            api_v3_keys: Each 32 ASCII characters.
            platform_certificates: PEM; their serial numbers are read from them.
            public_keys: PEM by ``PUB_KEY_ID_…``.

        Raises:
            ConfigurationError: A key is not what it should be, or there is none of a kind.
        """
        verifiers: dict[str, RSAPublicKey] = {}
        try:
            for pem in platform_certificates:
                certificate = load_pem_x509_certificate(pem.encode())
                verifiers[f"{certificate.serial_number:X}"] = _rsa(certificate.public_key())
            for serial, pem in (public_keys or {}).items():
                verifiers[serial] = public_key(pem)
        except ValueError:
            raise ConfigurationError("a platform certificate of WeChat Pay is not PEM") from None
        return cls(api_v3_keys=tuple(key.encode() for key in api_v3_keys), verifiers=verifiers)


def verify(headers: Mapping[str, str], body: bytes, keys: WechatPayKeys, now: dt.datetime) -> None:
    """Believe a message of WeChat Pay, a callback or a reply, or refuse it.

    The key is the one that ``Wechatpay-Serial`` names. It is never found by trial, and never
    fetched because somebody unknown has named it.

    Args:
        headers: As they came; names in any case.
        body: The raw bytes.
        keys: The merchant's.
        now: The present, with a time zone.

    Raises:
        CallbackRefused: See its codes.
    """
    if len(body) > LARGEST_CALLBACK:
        raise CallbackRefused("callback.too_large")
    verify_message(headers, body, keys, now)


def verify_message(
    headers: Mapping[str, str], body: bytes, keys: WechatPayKeys, now: dt.datetime
) -> None:
    """:func:`verify` for a body whose size has been judged already."""
    given = {name.lower(): value for name, value in headers.items()}
    timestamp = given.get("wechatpay-timestamp", "")
    nonce = given.get("wechatpay-nonce", "")
    signature = given.get("wechatpay-signature", "")
    if not _TIMESTAMP.fullmatch(timestamp) or not _WORD.fullmatch(nonce):
        raise CallbackRefused("callback.malformed")
    if abs(now.timestamp() - int(timestamp)) > FRESH_FOR:
        raise CallbackRefused("callback.stale")
    key = keys.verifiers.get(given.get("wechatpay-serial", ""))
    if key is None:
        raise CallbackRefused("callback.unknown_key")
    if signature.startswith(_PROBE) or not _is_signed(timestamp, nonce, body, signature, key):
        raise CallbackRefused("callback.bad_signature")


def open_notification(body: bytes, keys: WechatPayKeys) -> Notification:
    """Decrypt and read the body of a callback that :func:`verify` has passed.

    Raises:
        CallbackRefused: ``callback.malformed``.
    """
    envelope = _object(body)
    resource = envelope.get("resource")
    if not isinstance(resource, dict) or resource.get("algorithm") != "AEAD_AES_256_GCM":
        _malformed()
    content = _object(_decrypt(resource, keys))
    event = _text(envelope, "event_type").partition(".")[0]
    read = {"TRANSACTION": _payment, "REFUND": _refund}.get(event, _other)
    return read(_text(envelope, "id"), content)


def signer(
    credentials: WechatPayCredentials,
    *,
    clock: Clock = utc_now,
    nonce: Callable[[], str] = lambda: secrets.token_hex(16),
) -> Signer:
    """Make the gate's signer for one merchant.

    A held WeChat Pay public key is named in ``Wechatpay-Serial``, so that replies are signed with
    it and not with a platform certificate.

    Args:
        credentials: Whose name the request bears.
        clock: The present.
        nonce: Makes a text that is never used twice.
    """

    def sign(request: UnsignedRequest) -> Mapping[str, str]:
        target = f"{request.path}?{request.query}" if request.query else request.path
        timestamp, once = str(int(clock().timestamp())), nonce()
        message = f"{request.method}\n{target}\n{timestamp}\n{once}\n{request.body.decode()}\n"
        fields = {
            "mchid": credentials.mchid,
            "nonce_str": once,
            "timestamp": timestamp,
            "serial_no": credentials.serial_no,
            "signature": rsa_sign(credentials.private_key, message),
        }
        listed = ",".join(f'{name}="{value}"' for name, value in fields.items())
        added = {"authorization": f"WECHATPAY2-SHA256-RSA2048 {listed}"}
        if credentials.keys.public_key_id is not None:
            added["wechatpay-serial"] = credentials.keys.public_key_id
        return added

    return sign


def _is_signed(timestamp: str, nonce: str, body: bytes, signature: str, key: RSAPublicKey) -> bool:
    # The library skips what is no Base64, so a signature would have many spellings.
    if not _is_base64(signature):
        return False
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return False
    genuine: bool = rsa_verify(timestamp, nonce, text, signature, key)
    return genuine


def _decrypt(resource: Mapping[str, Any], keys: WechatPayKeys) -> str:
    nonce, ciphertext = _text(resource, "nonce"), resource.get("ciphertext")
    # May be absent, which authenticates nothing.
    associated = resource.get("associated_data") or ""
    if len(nonce) != 12 or not isinstance(associated, str) or not _is_base64(ciphertext):
        _malformed()
    for key in keys.api_v3_keys:
        try:
            opened: str | None = aes_decrypt(nonce, ciphertext, associated, key.decode())
        except ValueError:
            _malformed()
        if opened is not None:
            return opened
    return _malformed()


def _is_base64(text: object) -> bool:
    """Whether it is Base64 in its one spelling."""
    try:
        return isinstance(text, str) and b64encode(b64decode(text, validate=True)).decode() == text
    except ValueError:
        return False


def _payment(notification_id: str, content: Mapping[str, Any]) -> Notification:
    states: dict[str, NotificationState] = {
        "SUCCESS": "paid",
        "REFUND": "refunding",
        "CLOSED": "closed",
        "REVOKED": "closed",
    }
    amount = _amounts(content)
    return Notification(
        channel="wechat_pay_v3",
        id=notification_id,
        kind="payment",
        merchant=_text(content, "mchid"),
        app=_text(content, "appid"),
        order_no=_text(content, "out_trade_no"),
        provider_no=_text(content, "transaction_id"),
        refund_no=None,
        amount=_fen(amount, "total"),
        refund_amount=None,
        currency=_text(amount, "currency"),
        state=states.get(_text(content, "trade_state"), "open"),
        at=_time(content.get("success_time")),
    )


def _refund(notification_id: str, content: Mapping[str, Any]) -> Notification:
    states: dict[str, NotificationState] = {
        "SUCCESS": "refunded",
        "CLOSED": "refund_failed",
        "ABNORMAL": "refund_failed",
        "PROCESSING": "refunding",
    }
    amount = _amounts(content)
    return Notification(
        channel="wechat_pay_v3",
        id=notification_id,
        kind="refund",
        merchant=_text(content, "mchid"),
        app=None,
        order_no=_text(content, "out_trade_no"),
        provider_no=_text(content, "transaction_id"),
        refund_no=_text(content, "out_refund_no"),
        amount=_fen(amount, "total"),
        refund_amount=_fen(amount, "refund"),
        # Refund callbacks name no currency; what is given back is in that of the order.
        currency=_word_or("CNY", amount.get("currency")),
        state=states.get(_text(content, "refund_status"), "refunding"),
        at=_time(content.get("success_time")),
    )


def _other(notification_id: str, content: Mapping[str, Any]) -> Notification:
    return Notification(
        channel="wechat_pay_v3",
        id=notification_id,
        kind="other",
        merchant=_word_or("", content.get("mchid")),
        app=None,
        order_no=_word_or("", content.get("out_trade_no")),
        provider_no=None,
        refund_no=None,
        amount=None,
        refund_amount=None,
        currency="CNY",
        state="open",
        at=None,
    )


def _malformed() -> NoReturn:
    raise CallbackRefused("callback.malformed") from None


def _object(data: bytes | str) -> dict[str, Any]:
    try:
        value = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        _malformed()
    return value if isinstance(value, dict) else _malformed()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError
    return names


def _text(values: Mapping[str, Any], name: str) -> str:
    """A number, an id or a code: one word of printable ASCII."""
    value = values.get(name)
    return value if isinstance(value, str) and _WORD.fullmatch(value) else _malformed()


def _word_or(default: str, value: object) -> str:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else default


def _amounts(content: Mapping[str, Any]) -> Mapping[str, Any]:
    amount = content.get("amount")
    return amount if isinstance(amount, dict) else _malformed()


def _fen(amount: Mapping[str, Any], name: str) -> int:
    value = amount.get(name)
    return value if type(value) is int and 0 <= value < 10**13 else _malformed()


def _time(value: object) -> dt.datetime | None:
    if value is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        _malformed()
    return moment if moment.tzinfo is not None else _malformed()


def _rsa(key: object) -> RSAPublicKey:
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError("a key of WeChat Pay is not RSA")
    return key
