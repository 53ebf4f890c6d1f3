"""The merchants we are paid as, from the file that ``ZJJ_MERCHANTS`` names, in JSON or TOML.

Keys stay in files of their own, which the file names by paths relative to itself. Everything is
read and checked at the start; an error names the merchant and the field, never a key.
"""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, assert_never

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from integrations.alipay import notify
from integrations.alipay.credentials import AlipayCredentials
from integrations.payments import Acknowledgement, CallbackRefused, Channel, Notification
from integrations.wechat_pay import v2, v3
from integrations.wechat_pay.credentials import WechatPayCredentials, WechatPayV2Credentials
from models.errors import ConfigurationError
from tasks.payment_callback import MerchantNo
from workers.settings import Settings

__all__ = [
    "Answers",
    "Credentials",
    "Merchant",
    "Merchants",
    "answers_of",
    "load_merchants",
    "open_merchants",
]

Credentials: TypeAlias = WechatPayCredentials | WechatPayV2Credentials | AlipayCredentials


@dataclass(frozen=True, slots=True)
class Answers:
    """What a provider is told about its callback, byte for byte."""

    accepted: Acknowledgement
    refused: Acknowledgement
    unavailable: Acknowledgement


_ANSWERS: Mapping[Channel, Answers] = {
    "wechat_pay_v3": Answers(v3.ACCEPTED, v3.REFUSED, v3.UNAVAILABLE),
    "wechat_pay_v2": Answers(v2.ACCEPTED, v2.REFUSED, v2.UNAVAILABLE),
    "alipay": Answers(notify.ACCEPTED, notify.REFUSED, notify.UNAVAILABLE),
}


def answers_of(channel: Channel) -> Answers:
    """How a channel is answered."""
    return _ANSWERS[channel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchant:
    """One merchant on one channel; ``repr`` shows no key."""

    channel: Channel
    number: str
    app: str
    backend: str
    """Whose payments these are."""
    credentials: Credentials = field(repr=False)

    def believe(self, headers: Mapping[str, str], body: bytes, now: dt.datetime) -> str:
        """Believe a callback by its raw bytes; returns the notification's id.

        Raises:
            CallbackRefused: It is not to be believed.
        """
        match self.credentials:
            case WechatPayCredentials(keys=keys):
                v3.verify(headers, body, keys, now)
                return _envelope_id(body)
            case WechatPayV2Credentials() | AlipayCredentials():
                return self.read(headers, body).id
            case other:
                assert_never(other)

    def read(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Decrypt and read a callback.

        Raises:
            CallbackRefused: It cannot be read.
        """
        match self.credentials:
            case WechatPayCredentials(keys=keys):
                return v3.open_notification(body, keys)
            case WechatPayV2Credentials(key=key, algorithm=algorithm):
                if v2.is_refund(body):
                    return v2.open_refund(body, key)
                return v2.verify(body, key, algorithm)
            case AlipayCredentials(alipay_public_key=public_key):
                return notify.verify(body, headers.get("content-type"), public_key)
            case other:
                assert_never(other)


class Merchants:
    """All merchants, by channel and number."""

    def __init__(self, merchants: list[Merchant]) -> None:
        self._merchants: dict[tuple[str, str], Merchant] = {
            (each.channel, each.number): each for each in merchants
        }
        if len(self._merchants) < len(merchants):
            raise ConfigurationError("ZJJ_MERCHANTS names a merchant of one channel twice")

    def __iter__(self) -> Iterator[Merchant]:
        return iter(self._merchants.values())

    def find(self, channel: str, number: str) -> Merchant | None:
        """One merchant, or None."""
        return self._merchants.get((channel, number))


def open_merchants(settings: Settings) -> Merchants:
    """The merchants of the settings; none if no file is named.

    Raises:
        ConfigurationError: See :func:`load_merchants`.
    """
    return Merchants([]) if settings.merchants is None else load_merchants(settings.merchants)


def load_merchants(path: Path) -> Merchants:
    """Read the file and every key that it names.

    Raises:
        ConfigurationError: Something is missing or wrong; the message says what and where.
    """
    try:
        text = path.read_text()
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise ConfigurationError(f"ZJJ_MERCHANTS: {path.name}: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"ZJJ_MERCHANTS: {path.name} is neither JSON nor TOML") from None
    try:
        entries = _FILE.validate_python(content)["merchants"]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"ZJJ_MERCHANTS: {where}: {first['msg']}") from None
    return Merchants([_merchant(entry, path.parent) for entry in entries])


_Backend = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_App = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,32}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    merchant: MerchantNo
    app: _App
    backend: _Backend


class _V3(_Entry):
    channel: Literal["wechat_pay_v3"]
    serial_no: Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{8,64}$")]
    private_key_file: Path
    api_v3_key_files: Annotated[list[Path], Field(min_length=1, max_length=2)]
    platform_certificate_files: list[Path] = []
    public_key_files: dict[str, Path] = {}
    notify_url: Annotated[str, StringConstraints(pattern=r"^https://[^?#]{1,255}$")] | None = None


class _V2(_Entry):
    channel: Literal["wechat_pay_v2"]
    key_file: Path
    algorithm: v2.Algorithm = "HMAC-SHA256"


class _Alipay(_Entry):
    channel: Literal["alipay"]
    private_key_file: Path
    alipay_public_key_file: Path


_AnyEntry = Annotated[_V3 | _V2 | _Alipay, Field(discriminator="channel")]
_FILE: TypeAdapter[dict[Literal["merchants"], list[_AnyEntry]]] = TypeAdapter(
    dict[Literal["merchants"], list[_AnyEntry]]
)


def _merchant(entry: _V3 | _V2 | _Alipay, folder: Path) -> Merchant:
    try:
        credentials = _credentials(entry, folder)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"ZJJ_MERCHANTS: {entry.channel} {entry.merchant}: {error.message}"
        ) from None
    return Merchant(
        channel=entry.channel,
        number=entry.merchant,
        app=entry.app,
        backend=entry.backend,
        credentials=credentials,
    )


def _credentials(entry: _V3 | _V2 | _Alipay, folder: Path) -> Credentials:
    match entry:
        case _V3():
            keys = v3.WechatPayKeys.load(
                api_v3_keys=[_secret(folder, path) for path in entry.api_v3_key_files],
                platform_certificates=[
                    _secret(folder, path) for path in entry.platform_certificate_files
                ],
                public_keys={
                    name: _secret(folder, path) for name, path in entry.public_key_files.items()
                },
            )
            return WechatPayCredentials.load(
                mchid=entry.merchant,
                appid=entry.app,
                serial_no=entry.serial_no,
                private_key_pem=_secret(folder, entry.private_key_file),
                keys=keys,
                notify_url=entry.notify_url,
            )
        case _V2():
            return WechatPayV2Credentials(
                mchid=entry.merchant,
                appid=entry.app,
                key=_secret(folder, entry.key_file),
                algorithm=entry.algorithm,
            )
        case _Alipay():
            return AlipayCredentials.load(
                app_id=entry.app,
                seller_id=entry.merchant,
                private_key_text=_secret(folder, entry.private_key_file),
                alipay_public_key_text=_secret(folder, entry.alipay_public_key_file),
            )
        case other:
            assert_never(other)


def _secret(folder: Path, path: Path) -> str:
    try:
        return (folder / path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigurationError(f"the key file {path.name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the key file {path.name} is no text") from None


def _envelope_id(body: bytes) -> str:
    """The id of a v3 callback, which stands outside of what is encrypted."""
    try:
        envelope: Any = json.loads(body)
        found = envelope["id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CallbackRefused("callback.malformed") from None
    if not isinstance(found, str) or not 1 <= len(found) <= 128:
        raise CallbackRefused("callback.malformed")
    return found
