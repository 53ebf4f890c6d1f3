"""A web backend of the company's own, as the receiver of webhooks.

It checks what ``docs/webhooks.md`` asks of a receiver: signature, time, and whether it has seen the
webhook's id before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from integrations.sandbox.exchange import Answer, Call, Request

if TYPE_CHECKING:
    from integrations.sandbox.config import SandboxConfig

__all__ = ["BACKEND_HOST", "BackendProvider"]

BACKEND_HOST = "backend.example.com"

_TOLERANCE_SECONDS = 300


class BackendProvider:
    """Receives webhooks.

    Args:
        config: Names the secret that it shares with us.
        clock: Returns seconds since 1970.
    """

    name = "backend"
    hosts = frozenset({BACKEND_HOST})

    def __init__(self, config: SandboxConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._configured = config.webhook_secret
        self.secrets = {config.webhook_secret}
        """As they were shown on registration, ``whsec_…``."""
        self._seen: set[str] = set()

    def serves(self, request: Request) -> bool:
        """Nothing but a webhook has an id in this header."""
        return request.header("webhook-id") is not None

    def read(self, request: Request) -> Call:
        """The names in the body; the webhook's id is the reference."""
        try:
            body = json.loads(request.body)
        except ValueError:
            body = {}
        parameters = {name: str(value) for name, value in body.items() if name != "data"}
        parameters |= {f"data.{name}": str(value) for name, value in body.get("data", {}).items()}
        return Call(
            request=request,
            action=parameters.get("type", "-"),
            parameters=parameters,
            reference=request.header("webhook-id"),
        )

    def answer(self, call: Call, *, undelivered: str | None = None) -> Answer:  # noqa: ARG002
        """Take it, once."""
        webhook_id = call.request.header("webhook-id") or ""
        if not self._is_signed(call.request):
            return Answer(401, "bad_signature", b"")
        new = webhook_id not in self._seen
        self._seen.add(webhook_id)
        return Answer(204, "taken" if new else "known", b"", accepted=new)

    def refusal(self, call: Call, code: str, *, status: int | None, message: str | None) -> Answer:  # noqa: ARG002
        """A status of its own."""
        return Answer(status or 400, code, (message or "").encode())

    def reset(self) -> None:
        """Forget what was received, and secrets beyond the configured one."""
        self._seen.clear()
        self.secrets = {self._configured}

    def _is_signed(self, request: Request) -> bool:
        webhook_id, sent_at = request.header("webhook-id"), request.header("webhook-timestamp")
        if not sent_at or not sent_at.isdecimal():
            return False
        if abs(self._clock() - int(sent_at)) > _TOLERANCE_SECONDS:
            return False
        content = f"{webhook_id}.{sent_at}.".encode() + request.body
        expected = {
            "v1," + base64.b64encode(hmac.digest(_key(secret), content, hashlib.sha256)).decode()
            for secret in self.secrets
        }
        return not expected.isdisjoint((request.header("webhook-signature") or "").split(" "))


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))
