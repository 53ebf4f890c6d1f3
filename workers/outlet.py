"""The way out, assembled: policy, gate and adapters, as tasks are handed them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar, cast

from sqlalchemy import Engine

from integrations.aliyun import AliyunSms, AliyunSmsAuth
from integrations.backend import BackendWebhooks
from integrations.destinations import OwnHosts
from integrations.gate import Gate
from integrations.minimize import TRANSFORMS, Transforms
from integrations.policy import Policy, UnlistedOperation
from models.disclosures import Ledger
from models.errors import ConfigurationError
from models.payments.books import Books
from models.webhooks import Endpoints
from workers.faces import Faces, open_faces
from workers.identities import IdentityChecks, open_identity_checks
from workers.logins import LoginRoads, open_login_roads
from workers.merchants import open_merchants
from workers.published import open_policy
from workers.pushes import Pushes, open_pushes
from workers.settings import Settings
from workers.sms_outlet import SmsRoads, open_sms_roads
from workers.till import Till

__all__ = ["Integrations", "open_outlet", "open_own_hosts"]

_Adapter = TypeVar("_Adapter")


@dataclass(frozen=True, slots=True)
class Integrations:
    """What a handler finds in its context."""

    sms_roads: SmsRoads
    webhooks: BackendWebhooks
    identities: IdentityChecks
    logins: LoginRoads
    payments: Till
    pushes: Pushes
    gate: Gate
    faces_if_on: Faces | None = None

    @property
    def faces(self) -> Faces:
        """Face verification.

        Raises:
            ConfigurationError: It is switched off.
        """
        if self.faces_if_on is None:
            raise ConfigurationError("ZJJ_FACE_VERIFICATION is off", code="face.off")
        return self.faces_if_on

    @property
    def sms(self) -> AliyunSms:
        """Texts with codes of ours."""
        return self.sms_roads.sms

    @property
    def sms_auth(self) -> AliyunSmsAuth:
        """Texts with codes that the provider makes and checks."""
        return self.sms_roads.auth

    @property
    def roads(self) -> Sequence[str]:
        """The order of the roads, as configured."""
        return self.sms_roads.order

    def close(self) -> None:
        """Drop the connections to providers."""
        self.gate.close()


def open_outlet(settings: Settings, ledger: Ledger, engine: Engine) -> Integrations:
    """Build the gate and the adapters behind it.

    Args:
        engine: Where adapters find what is registered, such as the endpoints of backends.

    Raises:
        ConfigurationError: The policy is malformed, or a provider's settings are incomplete.
    """
    policy = open_policy(settings)
    own_hosts = open_own_hosts(settings)
    gate = Gate(
        policy,
        ledger,
        dial=_dial(settings, policy),
        environment=settings.env,
        own_hosts=own_hosts,
        transforms=_transforms(settings),
    )
    endpoints = Endpoints(engine, settings.keys)
    return Integrations(
        sms_roads=open_sms_roads(gate, settings),
        webhooks=_listed(lambda: BackendWebhooks(gate, endpoints, own_hosts)),
        identities=_listed(lambda: open_identity_checks(gate, engine, settings)),
        faces_if_on=open_faces(gate, engine, settings),
        logins=_listed(lambda: open_login_roads(gate, engine, settings)),
        payments=Till(Books(engine), open_merchants(settings), gate, settings.payment_confirm_from),
        pushes=_listed(lambda: open_pushes(gate, engine, settings)),
        gate=gate,
    )


def _listed(open_adapter: Callable[[], _Adapter]) -> _Adapter:
    """An adapter; where the policy lacks its operations, one that says so whenever it is used."""
    try:
        return open_adapter()
    except UnlistedOperation as error:
        return cast("_Adapter", _Unlisted(error))


class _Unlisted:
    __slots__ = ("_error",)

    def __init__(self, error: UnlistedOperation) -> None:
        self._error = error

    def __getattr__(self, _: str) -> NoReturn:
        raise UnlistedOperation(self._error.message)


def open_own_hosts(settings: Settings) -> OwnHosts:
    """Which of our own servers may be sent to.

    Raises:
        ConfigurationError: ``ZJJ_WEBHOOK_HOSTS`` holds what is no host.
    """
    return OwnHosts(
        settings.webhook_hosts,
        private=settings.webhook_private_hosts,
        production=settings.env == "production",
    )


def _transforms(settings: Settings) -> Transforms:
    """With Aliyun's key, or with the sandbox's, which cannot open what is meant for Aliyun."""
    if not settings.uses_sandbox:
        return TRANSFORMS
    from integrations.sandbox import sm2_key

    return sm2_key.TRANSFORMS


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
