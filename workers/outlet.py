"""The way out, assembled: policy, gate and adapters, as tasks are handed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from integrations.aliyun import AliyunCredentials, AliyunSms
from integrations.gate import Gate
from integrations.policy import Policy
from integrations.sandbox.config import SCENE_TEMPLATES, SandboxConfig
from models.disclosures import Ledger
from models.errors import ConfigurationError
from tasks.sms_code import Scene
from workers.published import open_policy
from workers.settings import Settings

__all__ = ["Integrations", "open_outlet"]


@dataclass(frozen=True, slots=True)
class Integrations:
    """What a handler finds in its context."""

    sms: AliyunSms
    gate: Gate

    def close(self) -> None:
        """Drop the connections to providers."""
        self.gate.close()


def open_outlet(settings: Settings, ledger: Ledger) -> Integrations:
    """Build the gate and the adapters behind it.

    Raises:
        ConfigurationError: The policy is malformed, or a provider's settings are incomplete.
    """
    policy = open_policy(settings)
    gate = Gate(policy, ledger, dial=_dial(settings, policy), environment=settings.env)
    sms = _sandbox_sms(gate) if settings.uses_sandbox else _sms(gate, settings)
    return Integrations(sms=sms, gate=gate)


def _dial(settings: Settings, policy: Policy) -> dict[str, str]:
    """Where to connect instead of the real hosts: to the sandbox, or nowhere else."""
    if not settings.uses_sandbox:
        return {}
    if settings.sandbox_url is None:
        raise ConfigurationError(
            "No provider is configured: set ZJJ_ALIYUN_ACCESS_KEY_ID and its companions "
            "(see .env.example), or ZJJ_SANDBOX_URL for the sandbox; `zjj run` starts one."
        )
    return {
        host: settings.sandbox_url
        for recipient in policy.recipients.values()
        for host in recipient.hosts
    }


def _sandbox_sms(gate: Gate) -> AliyunSms:
    """The account that the sandbox knows."""
    config = SandboxConfig()
    key_id, key = next(iter(config.access_keys.items()))
    return AliyunSms(
        gate,
        AliyunCredentials(key_id, key.secret),
        sign_name=next(iter(config.sign_names)),
        templates=SCENE_TEMPLATES,
    )


def _sms(gate: Gate, settings: Settings) -> AliyunSms:
    key_id, secret = settings.aliyun_access_key_id, settings.aliyun_access_key_secret
    if key_id is None or secret is None or settings.aliyun_sms_sign_name is None:
        raise ConfigurationError(
            "Aliyun SMS needs ZJJ_ALIYUN_ACCESS_KEY_ID, ZJJ_ALIYUN_ACCESS_KEY_SECRET and "
            "ZJJ_ALIYUN_SMS_SIGN_NAME together"
        )
    templates = dict(settings.aliyun_sms_templates)
    default = templates.pop("default", None)
    complete = {scene: templates.get(scene, default) for scene in get_args(Scene)}
    missing = [scene for scene, template in complete.items() if template is None]
    if missing:
        raise ConfigurationError(
            f"ZJJ_ALIYUN_SMS_TEMPLATES names no template for {', '.join(missing)}, and no default"
        )
    token = settings.aliyun_security_token
    return AliyunSms(
        gate,
        AliyunCredentials(
            key_id, secret.get_secret_value(), token.get_secret_value() if token else None
        ),
        sign_name=settings.aliyun_sms_sign_name,
        templates={scene: template for scene, template in complete.items() if template},
    )
