"""Settings: environment variables that begin with ``ZJJ_``, and defaults that are safe.

Whatever is not given on a development machine is made once and kept in the data folder
(``ZJJ_DATA``), readable by its owner only. Production gets no default secret.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.errors import ConfigurationError
from models.keys import MasterKeys, decode_key, generate_key
from models.limits import parse_rules

__all__ = ["Settings", "load_settings"]

SmsRoad = Literal["aliyun_sms", "aliyun_sms_auth"]

_SOCKET_PATH_LIMIT = 100
"""Bytes; sockaddr_un holds 108 on Linux and 104 on macOS."""


class Settings(BaseSettings):
    """Everything that can be set from outside."""

    model_config = SettingsConfigDict(
        env_prefix="ZJJ_", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    env: Literal["development", "production"] = Field(
        default="development", description="production refuses the sandbox and generated secrets"
    )
    data: Path = Field(default=Path(".zjj"), description="folder of the embedded default")
    database_url: str | None = Field(
        default=None, description="sqlite:///path or postgresql://…; default: a file in ZJJ_DATA"
    )
    redis_url: str | None = Field(
        default=None, description="redis://…, rediss://… or unix://…; default: the bundled server"
    )
    master_keys: SecretStr | None = Field(
        default=None, description="name:base64[,name:base64…]; the first one seals new payloads"
    )
    pseudonym_key: SecretStr | None = Field(
        default=None, description="base64 of 32 bytes; must stay the same for the ledger's term"
    )
    policy_file: Path | None = Field(default=None, description="another shop's policy")
    sandbox_url: str | None = Field(
        default=None, description="http://127.0.0.1:port of the provider sandbox"
    )
    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65535)] = 8000
    worker_threads: Annotated[int, Field(ge=1, le=512)] = Field(
        default=8, description="jobs at once in each process; they share one interpreter"
    )
    grace_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=20.0, description="how long running jobs may take to settle after SIGTERM"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="shop.example.com,hooks.example.com:8443: where webhooks may be sent",
    )
    webhook_private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="the same for hosts that live at private addresses, as in a VPC",
    )
    aliyun_access_key_id: str | None = None
    aliyun_access_key_secret: SecretStr | None = None
    aliyun_security_token: SecretStr | None = Field(default=None, description="STS only")
    aliyun_sms_sign_name: str | None = None
    aliyun_sms_templates: dict[str, str] = Field(
        default_factory=dict,
        description='JSON: {"register": "SMS_…", …}; "default" serves the rest',
    )
    sms_roads: Annotated[tuple[SmsRoad, ...], NoDecode, Field(min_length=1)] = Field(
        default=("aliyun_sms",),
        description="roads of codes, the preferred one first: aliyun_sms,aliyun_sms_auth",
    )
    aliyun_sms_auth_sign_name: str | None = Field(default=None, description="lent by Aliyun")
    aliyun_sms_auth_templates: dict[str, str] = Field(
        default_factory=dict, description="as ZJJ_ALIYUN_SMS_TEMPLATES, for number authentication"
    )
    sms_wordings: Path | None = Field(default=None, description="another file of reviewed wordings")
    aliyun_sms_receipt_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="the last part of the address to which Aliyun reports deliveries",
    )
    jiguang_app_key: str | None = None
    jiguang_master_secret: SecretStr | None = None
    jiguang_private_key_file: Path | None = Field(
        default=None, description="PEM; its public half stands in Jiguang's console"
    )
    jpush_app_key: str | None = None
    jpush_master_secret: SecretStr | None = None
    china_mobile_road: Literal["aliyun", "jiguang"] = Field(
        default="aliyun", description="whose SDK brings China Mobile's login tokens"
    )
    face_verification: bool = Field(
        default=False, description="needs a clause in the policy file; the packaged one has none"
    )
    aliyun_face_scene_id: str | None = Field(
        default=None, pattern=r"^[0-9]{1,20}$", description="the scene of face verification"
    )
    face_callback_url: str | None = Field(
        default=None,
        pattern=r"^https://[a-z0-9.-]{4,100}/[A-Za-z0-9/_-]{1,60}[A-Za-z0-9_-]$",
        description="https://…/v1/callbacks/aliyun-face at the gateway's public address",
    )
    identity_valid_days: Annotated[int, Field(ge=0, le=365)] = Field(
        default=30, description="for so long a verdict answers the same real-name check again"
    )
    identity_daily_limit: Annotated[int, Field(ge=1, le=100)] = Field(
        default=5, description="real-name checks that leave about one person in any 24 hours"
    )

    @field_validator("sms_roads", mode="before")
    @classmethod
    def _roads_are_listed(cls, value: object) -> object:
        names = value.split(",") if isinstance(value, str) else value
        if isinstance(names, list | tuple):
            names = [name.strip() if isinstance(name, str) else name for name in names]
            if len(set(names)) < len(names):
                raise ValueError("names a road twice")
        return names

    @field_validator("webhook_hosts", "webhook_private_hosts", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        return tuple(value.replace(" ", "").split(",")) if isinstance(value, str) else value

    code_seconds: Annotated[int, Field(ge=60, le=600)] = Field(
        default=300, description="how long a code that we make can be verified"
    )
    code_attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        default=5, description="guesses that such a code allows"
    )
    sms_limits: bool = Field(
        default=True, description="false only outside production, for load tests"
    )
    sms_limit_phone_scene: str = "1/minute 5/hour 10/day"
    sms_limit_phone: str = "40/day"
    sms_limit_backend: str = "300/minute 5000/hour 20000/day"
    sms_limit_client: str = Field(
        default="5/minute 20/hour 50/day", description="for each client that a backend names"
    )
    sms_alarm_backend: str = Field(
        default="100/10minutes", description="more new phones of one backend raise its alarm"
    )
    sms_alarm_all: str = Field(default="300/10minutes", description="the same over all backends")
    sms_alarm_pace: str = Field(
        default="10/minute", description="new phones that may pass while an alarm is on"
    )
    sms_alarm_hold_seconds: Annotated[int, Field(ge=60, le=86400)] = Field(
        default=900, description="an alarm ends after so long without a refused new phone"
    )

    @field_validator(
        "sms_limit_phone_scene",
        "sms_limit_phone",
        "sms_limit_backend",
        "sms_limit_client",
        "sms_alarm_backend",
        "sms_alarm_all",
        "sms_alarm_pace",
    )
    @classmethod
    def _is_rules(cls, text: str, info: ValidationInfo) -> str:
        rules = parse_rules(text)
        name = info.field_name or ""
        if name.startswith("sms_alarm") and len(rules) > 1:
            raise ValueError("must be one rule")
        if name in ("sms_alarm_pace", "sms_limit_phone") and not rules:
            raise ValueError("must not be none: the alarms need it")
        return text

    merchants: Path | None = Field(
        default=None, description="JSON or TOML file of the merchants we are paid as"
    )
    payment_confirm_from: Annotated[int, Field(ge=1)] = Field(
        default=1_000_000,
        description="fen; so large a payment is confirmed by a query before anybody is told",
    )
    payment_query_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=30.0,
        description="pause before a provider is asked about an open order; it doubles, up to 120 "
        "times this",
    )

    @model_validator(mode="after")
    def _production_is_explicit(self) -> Self:
        if self.env != "production":
            return self
        for name in ("database_url", "redis_url", "master_keys", "pseudonym_key"):
            if getattr(self, name) is None:
                raise ValueError(f"ZJJ_{name.upper()} must be set when ZJJ_ENV=production")
        if not self.sms_limits:
            raise ValueError("ZJJ_SMS_LIMITS must not be false when ZJJ_ENV=production")
        if self.sandbox_url is not None:
            raise ValueError("ZJJ_SANDBOX_URL must not be set when ZJJ_ENV=production")
        return self

    @model_validator(mode="after")
    def _sandbox_or_providers(self) -> Self:
        # Whoever sets both expects no text to reach a real phone, or expects one: no guess is safe.
        if self.sandbox_url is not None and self.aliyun_access_key_id is not None:
            raise ValueError(
                "ZJJ_SANDBOX_URL must not be set beside ZJJ_ALIYUN_ACCESS_KEY_ID: unset the one "
                "that is not meant"
            )
        return self

    @cached_property
    def database(self) -> str:
        """The database's URL."""
        if self.database_url is not None:
            return self.database_url
        self._make_data_folder()
        return f"sqlite:///{self.data.absolute() / 'zjj.db'}"

    @cached_property
    def redis_socket(self) -> Path:
        """Where the bundled Redis listens: in the data folder, or near it if the path is long."""
        self._make_data_folder()
        path = self.data.absolute() / "redis.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            return path
        name = hashlib.sha256(os.fsencode(self.data.absolute())).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"zjj-{os.getuid()}-{name}"
        return folder / "redis.sock"

    @cached_property
    def redis(self) -> str:
        """The Redis URL."""
        return self.redis_url or f"unix://{quote(str(self.redis_socket))}"

    @cached_property
    def keys(self) -> MasterKeys:
        """The master keys, made on first use outside production."""
        given = self.master_keys
        text = given.get_secret_value() if given else self._generated("master_keys", "local:")
        return MasterKeys.parse(text)

    @cached_property
    def pseudonym(self) -> bytes:
        """The pseudonym key, made on first use outside production."""
        given = self.pseudonym_key
        text = given.get_secret_value() if given else self._generated("pseudonym_key")
        return decode_key(text, name="ZJJ_PSEUDONYM_KEY")

    @property
    def uses_sandbox(self) -> bool:
        """Whether no real provider is configured, so that the sandbox plays it."""
        return self.env != "production" and self.aliyun_access_key_id is None

    def _make_data_folder(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _generated(self, name: str, prefix: str = "") -> str:
        """A secret of the data folder; whoever comes first makes it."""
        self._make_data_folder()
        path = self.data / f"{name}.secret"
        if not path.exists():
            # Linked into place whole, so that two starting processes agree on one of them.
            with tempfile.NamedTemporaryFile("w", dir=self.data, delete=False) as draft:
                draft.write(prefix + generate_key())
            try:
                os.link(draft.name, path)
            except FileExistsError:
                pass
            finally:
                Path(draft.name).unlink()
        return path.read_text().strip()


def load_settings(**overrides: object) -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: A setting is missing or wrong; the message names it, not its value.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = "ZJJ_" + "_".join(str(part) for part in first["loc"]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(reason if not first["loc"] else f"{field}: {reason}") from None
