"""Real-name checks through Aliyun: do a name, an identity number and maybe a phone belong together?

Two factors (Id2MetaVerify) or three (Mobile3MetaSimpleVerify), as the task decides. Values are
encrypted with SM2 inside TLS, as the policy says of each field (docs/providers.md).

Nothing but the verdict is read: not which element differs (the Detail variants' SubCode), not the
carrier's name.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from integrations.aliyun.identity_codes import identity_fault
from integrations.aliyun.signing import AliyunCredentials, signer
from models.errors import UnknownOutcomeError

if TYPE_CHECKING:
    from integrations.gate import Gate
    from integrations.minimize import MinimizedRequest
    from integrations.policy import Operation
    from models.attempts import Attempt
    from models.disclosures import Disclosure

__all__ = ["AliyunIdentity", "CheckedIdentity", "IdentityVerdict"]


class IdentityVerdict(enum.StrEnum):
    """What the authoritative source says."""

    MATCH = "match"
    MISMATCH = "mismatch"
    NO_RECORD = "no_record"


_BY_BIZ_CODE = {
    "1": IdentityVerdict.MATCH,
    "2": IdentityVerdict.MISMATCH,
    "3": IdentityVerdict.NO_RECORD,
}


@dataclass(frozen=True, slots=True)
class CheckedIdentity:
    """A verdict, and Aliyun's name for the request that brought it."""

    verdict: IdentityVerdict
    provider_request_id: str | None
    provider_code: str


class AliyunIdentity:
    """Aliyun's identity verification behind the gate.

    Args:
        gate: The way out.
        credentials: Of an account that may call Id2MetaVerify and Mobile3MetaSimpleVerify.

    Raises:
        ConfigurationError: The policy lacks the operations.
    """

    def __init__(self, gate: Gate, credentials: AliyunCredentials) -> None:
        self._gate = gate
        self._sign = signer(credentials)
        self._operations = {
            False: gate.policy.operation("aliyun.identity.two_factor"),
            True: gate.policy.operation("aliyun.identity.three_factor"),
        }

    def permit(self, attempt: Attempt, *, with_phone: bool) -> Disclosure:
        """The disclosure that a check would be, if it may be made for the attempt; none is made.

        Raises:
            DeniedError: No, for the reason that the ledger records.
        """
        return self._gate.permit(self._minimized(attempt, with_phone=with_phone), attempt=attempt)

    def check(self, attempt: Attempt, *, with_phone: bool) -> CheckedIdentity:
        """Ask once.

        Args:
            attempt: Holds ``name`` and ``id_number``, and ``phone`` if that is checked as well.
            with_phone: Three factors instead of two.

        Raises:
            RetryError: Aliyun could not verify, or was not reached.
            WaitError: Aliyun asks for fewer requests.
            GiveUpError: Aliyun refuses this person's data, or the account.
            UnknownOutcomeError: A verdict may have been given and billed; nobody can ask for it.
            DeniedError: The policy does not let it out.
        """
        request = self._minimized(attempt, with_phone=with_phone)
        reply = self._gate.send(request, sign=self._sign, attempt=attempt)
        error = identity_fault(
            reply.status, reply.code, retry_after=reply.headers.get("x-acs-retry-after")
        )
        if error is not None:
            raise error
        verdict = _BY_BIZ_CODE.get(str(reply.fields.get("ResultObject.BizCode")))
        if verdict is None:
            raise UnknownOutcomeError(
                "Aliyun's answer holds no verdict that this version knows.",
                code="provider.outcome_unknown",
                provider_code=reply.code,
            )
        return CheckedIdentity(verdict, reply.request_id, reply.code or "")

    def _minimized(self, attempt: Attempt, *, with_phone: bool) -> MinimizedRequest:
        operation: Operation = self._operations[with_phone]
        return operation.minimize(attempt.held, {})
