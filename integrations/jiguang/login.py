"""One-click login through Jiguang: a token goes out, an encrypted phone number comes back.

docs.jiguang.cn, loginTokenVerify: HTTP Basic with the application's key and secret, JSON both ways.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from integrations.jiguang.codes import login_fault
from models.errors import ConfigurationError, UnknownOutcomeError
from models.pii import Phone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from integrations.gate import Gate, Signer, UnsignedRequest
    from integrations.jiguang.decryption import PhoneCipher
    from models.attempts import Attempt

__all__ = ["JiguangCredentials", "JiguangLogin", "basic_signer"]


@dataclass(frozen=True, slots=True)
class JiguangCredentials:
    """An application's key and secret; ``repr`` shows the public half only.

    Raises:
        ConfigurationError: One of them has a character that HTTP Basic cannot carry.
    """

    app_key: str
    master_secret: str = field(repr=False)

    def __post_init__(self) -> None:
        for half in (self.app_key, self.master_secret):
            if not re.fullmatch(r"[A-Za-z0-9_-]{8,64}", half):
                raise ConfigurationError("Jiguang's application key or master secret is malformed")


def basic_signer(credentials: JiguangCredentials) -> Signer:
    """Authenticates with HTTP Basic (RFC 7617)."""
    pair = f"{credentials.app_key}:{credentials.master_secret}".encode()
    headers = {"authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def sign(_request: UnsignedRequest) -> Mapping[str, str]:
        return headers

    return sign


class JiguangLogin:
    """Jiguang's one-click login behind the gate.

    Args:
        gate: The way out.
        credentials: Of the application whose SDK made the tokens.
        cipher: Opens the numbers.

    Raises:
        ConfigurationError: The policy lacks the operation.
    """

    def __init__(self, gate: Gate, credentials: JiguangCredentials, cipher: PhoneCipher) -> None:
        self._gate = gate
        self._sign = basic_signer(credentials)
        self._operation = gate.policy.operation("jiguang.login.phone")
        self._cipher = cipher

    def phone_of(self, attempt: Attempt) -> Phone:
        """Spend the token that a job holds.

        Args:
            attempt: Holds ``login_token``.

        Raises:
            RetryError: Jiguang was not reached.
            WaitError: Jiguang asks for fewer requests.
            GiveUpError: Jiguang refuses the token, or the application.
            UnknownOutcomeError: The token may be spent, and no readable number came.
            DeniedError: The policy does not let it out.
        """
        request = self._operation.minimize(attempt.held, {})
        reply = self._gate.send(request, sign=self._sign, attempt=attempt, decrypt=self._cipher)
        if error := login_fault(reply.status, reply.code):
            raise error
        phone = reply.personal.get("phone")
        if not isinstance(phone, Phone):
            raise UnknownOutcomeError(
                "Jiguang's answer holds no phone number that can be read.",
                code="provider.phone_unreadable",
                provider_code=reply.code,
            )
        return phone
