"""One-click login and number checks through Aliyun's number authentication (Dypnsapi 2017-05-25).

GetMobile takes the token that the phone's SDK was given and returns the number; VerifyMobile tells
whether a number is the phone's own. A token works once and lives for minutes (help.aliyun.com:
China Telecom 10, China Unicom 30, China Mobile 2), so nothing here is ever sent twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.aliyun.codes import SMS_AUTH_REMEDIES, fault
from integrations.aliyun.signing import AliyunCredentials, signer
from integrations.remedy import Remedy
from models.errors import GiveUpError, UnknownOutcomeError
from models.pii import Phone

if TYPE_CHECKING:
    from integrations.gate import Gate
    from integrations.policy import Operation
    from integrations.reply import Reply
    from models.attempts import Attempt

__all__ = ["NUMBER_AUTH_REMEDIES", "AliyunNumberAuth"]

_MOBILE = "GetMobileResultDTO.Mobile"
_VERDICT = "GateVerifyResultDTO.VerifyResult"

_TOKEN = Remedy(
    GiveUpError, "provider.token_refused", "Aliyun refuses the token; a new one is needed."
)

NUMBER_AUTH_REMEDIES: dict[str, Remedy] = {
    "isv.TOKEN_INVALID": _TOKEN,
    "isv.TOKEN_UNAUTHORIZED_USED": _TOKEN,
    "isv.PARAMETERS_MISMATCH": _TOKEN,
}
"""Codes about tokens; the others are those of the product (``SMS_AUTH_REMEDIES``)."""

_REMEDIES = {**SMS_AUTH_REMEDIES, **NUMBER_AUTH_REMEDIES}


class AliyunNumberAuth:
    """GetMobile and VerifyMobile behind the gate.

    Args:
        gate: The way out.
        credentials: Of an account that may call both.

    Raises:
        ConfigurationError: The policy lacks the operations.
    """

    def __init__(self, gate: Gate, credentials: AliyunCredentials) -> None:
        self._gate = gate
        self._sign = signer(credentials)
        self._phone = gate.policy.operation("aliyun.login.phone")
        self._verify = gate.policy.operation("aliyun.login.verify")

    def phone_of(self, attempt: Attempt) -> Phone:
        """Spend the token that a job holds.

        Args:
            attempt: Holds ``login_token``.

        Raises:
            RetryError: Aliyun was not reached.
            WaitError: Aliyun asks for fewer requests.
            GiveUpError: Aliyun refuses the token, or the account.
            UnknownOutcomeError: The token may be spent, and no readable number came.
            DeniedError: The policy does not let it out.
        """
        reply = self._ask(self._phone, attempt)
        phone = reply.personal.get(_MOBILE)
        if not isinstance(phone, Phone):
            raise UnknownOutcomeError(
                "Aliyun's answer holds no phone number that can be read.",
                code="provider.phone_unreadable",
                provider_code=reply.code,
            )
        return phone

    def is_own(self, attempt: Attempt) -> bool | None:
        """Whether the phone that a job holds is the one whose SDK made its token.

        Args:
            attempt: Holds ``login_token`` and ``phone``.

        Returns:
            None if Aliyun cannot tell.

        Raises:
            ZjjError: As :meth:`phone_of`.
        """
        reply = self._ask(self._verify, attempt)
        return {"PASS": True, "REJECT": False}.get(str(reply.fields.get(_VERDICT)))

    def _ask(self, operation: Operation, attempt: Attempt) -> Reply:
        request = operation.minimize(attempt.held, {})
        reply = self._gate.send(request, sign=self._sign, attempt=attempt)
        error = fault(
            reply.status,
            reply.code,
            retry_after=reply.headers.get("x-acs-retry-after"),
            remedies=_REMEDIES,
        )
        if error is not None:
            raise error
        return reply
