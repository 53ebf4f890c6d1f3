"""The roads of text messages, assembled from settings and checked before the first text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from integrations.aliyun import AliyunCredentials, AliyunSms, AliyunSmsAuth
from integrations.aliyun.wordings import check_promises, load_wordings, template_codes
from integrations.gate import Gate
from integrations.sandbox.config import GIFTED_TEMPLATES, SCENE_TEMPLATES, SandboxConfig
from models.errors import ConfigurationError
from tasks.sms_code import Scene
from workers.settings import Settings

__all__ = ["SmsRoads", "aliyun_credentials", "open_sms_roads"]


@dataclass(frozen=True, slots=True)
class SmsRoads:
    """What is configured, the preferred road first."""

    order: tuple[str, ...]
    aliyun_sms: AliyunSms | None
    aliyun_sms_auth: AliyunSmsAuth | None

    @property
    def sms(self) -> AliyunSms:
        """Raises ConfigurationError if it is not configured."""
        if self.aliyun_sms is None:
            raise ConfigurationError("ZJJ_SMS_ROADS does not name aliyun_sms")
        return self.aliyun_sms

    @property
    def auth(self) -> AliyunSmsAuth:
        """Raises ConfigurationError if it is not configured."""
        if self.aliyun_sms_auth is None:
            raise ConfigurationError("ZJJ_SMS_ROADS does not name aliyun_sms_auth")
        return self.aliyun_sms_auth


def open_sms_roads(gate: Gate, settings: Settings) -> SmsRoads:
    """Build the adapters of the roads that are in use.

    Raises:
        ConfigurationError: A credential, signature, template or wording is missing or wrong.
    """
    wordings = load_wordings(gate.policy, get_args(Scene), settings.sms_wordings)
    sandbox = SandboxConfig() if settings.uses_sandbox else None
    credentials = _credentials(settings, sandbox)
    signs = {
        "aliyun_sms": settings.aliyun_sms_sign_name,
        "aliyun_sms_auth": settings.aliyun_sms_auth_sign_name,
    }
    given = {
        "aliyun_sms": settings.aliyun_sms_templates,
        "aliyun_sms_auth": settings.aliyun_sms_auth_templates,
    }
    if sandbox is not None:
        # Templates and signatures of a sandboxed account are its own.
        signs = {
            "aliyun_sms": next(iter(sandbox.sign_names)),
            "aliyun_sms_auth": next(iter(sandbox.gifted_sign_names)),
        }
        given = {"aliyun_sms": SCENE_TEMPLATES, "aliyun_sms_auth": GIFTED_TEMPLATES}

    def built(road: str) -> tuple[str, dict[str, str]]:
        sign = signs[road]
        if sign is None:
            raise ConfigurationError(f"the road {road} needs ZJJ_{road.upper()}_SIGN_NAME")
        check_promises(gate.policy, road, wordings[road], settings.code_seconds)
        setting = f"ZJJ_{road.upper()}_TEMPLATES"
        return sign, template_codes(wordings[road], given[road], setting=setting)

    sms, auth = None, None
    if "aliyun_sms" in settings.sms_roads:
        sign, templates = built("aliyun_sms")
        sms = AliyunSms(gate, credentials, sign_name=sign, templates=templates)
    if "aliyun_sms_auth" in settings.sms_roads:
        sign, templates = built("aliyun_sms_auth")
        auth = AliyunSmsAuth(gate, credentials, sign_name=sign, templates=templates)
    return SmsRoads(settings.sms_roads, sms, auth)


def _credentials(settings: Settings, sandbox: SandboxConfig | None) -> AliyunCredentials:
    if sandbox is not None:
        key_id, key = next(iter(sandbox.access_keys.items()))
        return AliyunCredentials(key_id, key.secret)
    key_id, secret = settings.aliyun_access_key_id or "", settings.aliyun_access_key_secret
    if not key_id or secret is None:
        raise ConfigurationError(
            "Aliyun needs ZJJ_ALIYUN_ACCESS_KEY_ID and ZJJ_ALIYUN_ACCESS_KEY_SECRET together"
        )
    token = settings.aliyun_security_token
    return AliyunCredentials(
        key_id, secret.get_secret_value(), token.get_secret_value() if token else None
    )


def aliyun_credentials(settings: Settings) -> AliyunCredentials:
    """Of the configured account, or of the one that the sandbox knows.

    Raises:
        ConfigurationError: Half of them is missing.
    """
    return _credentials(settings, SandboxConfig() if settings.uses_sandbox else None)
