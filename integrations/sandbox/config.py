"""What the sandbox's providers know of their customer."""

from __future__ import annotations

import functools
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from integrations.sandbox.callbacks import CallbackPlan

__all__ = [
    "GIFTED_TEMPLATES",
    "LOOPBACK",
    "SCENE_TEMPLATES",
    "AccessKey",
    "SandboxConfig",
    "Template",
]

SCENE_TEMPLATES = {
    "register": "SMS_164000001",
    "login": "SMS_164000002",
    "reset_password": "SMS_164000003",
    "bind_phone": "SMS_164000004",
    "change_phone": "SMS_164000005",
}
"""The sandbox's own template for each scene of a code."""

LOOPBACK = r"^http://(?:127\.0\.0\.1|localhost):[0-9]{1,5}/[A-Za-z0-9/_-]*$"

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccessKey(_Part):
    """An Aliyun access key; a temporary one has a token."""

    secret: str = Field(repr=False)
    security_token: str | None = Field(default=None, repr=False)


class Template(_Part):
    """An approved text with ``${variables}``.

    Codes take 4 to 6 letters and digits for each variable, notices 1 to 35 characters.
    """

    text: str
    kind: Literal["code", "notice"] = "code"
    placeholders: frozenset[str] = frozenset()
    """Values that the provider itself replaces, such as ``##code##``."""

    @functools.cached_property
    def variables(self) -> frozenset[str]:
        """The names between the braces."""
        return frozenset(_VARIABLE.findall(self.text))

    def fill(self, values: dict[str, str]) -> str:
        """The text with every variable replaced."""
        return _VARIABLE.sub(lambda match: values[match[1]], self.text)


GIFTED_TEMPLATES = {
    "register": "100001",
    "login": "100001",
    "reset_password": "100003",
    "bind_phone": "100004",
    "change_phone": "100002",
}
"""Number authentication's own template for each scene; customers cannot bring theirs."""


def _gifted() -> dict[str, Template]:
    text = "您的验证码为${code},%s,${min}分钟内有效,请勿告诉他人。"
    uses = {
        "100001": "用于登录或注册",
        "100002": "用于更换手机",
        "100003": "用于重置密码",
        "100004": "用于绑定手机",
    }
    return {
        name: Template(text=text % use, kind="notice", placeholders=frozenset({"##code##"}))
        for name, use in uses.items()
    }


def _templates() -> dict[str, Template]:
    code = "您的验证码是${code},5分钟内有效,请勿告诉他人。"
    return {
        **{name: Template(text=code) for name in SCENE_TEMPLATES.values()},
        "SMS_164000009": Template(text="服务通知:事件编号${incident}。", kind="notice"),
    }


class SandboxConfig(_Part):
    """Everything that a real provider would have on file, with defaults that just work."""

    access_keys: dict[str, AccessKey] = {"sandbox": AccessKey(secret="sandbox-secret")}  # noqa: S106  # opens nothing but the sandbox
    sign_names: frozenset[str] = frozenset({"钟久久"})
    templates: dict[str, Template] = Field(default_factory=_templates)
    gifted_sign_names: frozenset[str] = frozenset({"速通互联验证码"})
    """Signatures that number authentication lends to this account."""
    gifted_templates: dict[str, Template] = Field(default_factory=_gifted)
    webhook_secret: str = Field(
        default="whsec_c2FuZGJveC1zYW5kYm94LXNhbmRib3gtc2FuZGJveCE=", repr=False
    )
    """Opens nothing but the sandbox; signs the webhooks that it receives."""
    limits: bool = True
    """Whether one number gets no more than Aliyun's codes (1 a minute, 5 an hour, 10 a day for one
    signature, 40 a day for all) and notices (50 a day for one signature and template)."""
    latency_ms: float = Field(default=0, ge=0)
    """Milliseconds from the last byte of a request to the first of its reply."""
    delivery_seconds: float = Field(default=0, ge=0)
    """What a text takes to arrive, about: from four fifths of it to eight."""
    receipt_url: str | None = Field(default=None, pattern=LOOPBACK)
    """Where delivery receipts are pushed to, on this machine."""
    receipt_repeats: int = Field(default=0, ge=0, le=3)
    """How often a batch that was taken comes again all the same."""
    receipt_scale: float = Field(default=1.0, gt=0, le=1)
    """Shortens the minutes between tries."""
    face_callback_url: str | None = Field(default=None, pattern=LOOPBACK)
    """A server on this machine that stands for whichever face verifications name."""
    face_seconds: float = Field(default=0, ge=0)
    """What a person takes to show a face."""
    callbacks: CallbackPlan = CallbackPlan()
    """Where the payment providers' callbacks go, and what befalls them."""
    journal_size: int = Field(default=100_000, ge=1)
    """Requests remembered in detail; they are counted without end."""
