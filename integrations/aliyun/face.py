"""Face verification through Aliyun, for a policy that has a clause for it; the packaged one has none.

The images pass between the phone and Aliyun alone. Begin (InitFaceVerify) gives the app's SDK its
number; a callback without signature says that something has happened; only DescribeFaceVerify says
what. Codes and sub codes: help.aliyun.com, the pages of both operations (Cloudauth 2019-03-07).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.aliyun.identity import CheckedIdentity, IdentityVerdict
from integrations.aliyun.identity_codes import identity_fault
from integrations.aliyun.signing import AliyunCredentials, signer
from models.errors import UnknownOutcomeError

if TYPE_CHECKING:
    from integrations.gate import Gate
    from integrations.policy import Operation
    from integrations.reply import Reply
    from models.attempts import Attempt

__all__ = ["AliyunFace"]

_CERTIFY_ID = "ResultObject.CertifyId"
_UNFINISHED = frozenset({"403", "424"})
_BY_ANSWER = {"T": IdentityVerdict.MATCH, "F": IdentityVerdict.MISMATCH}
"""Why somebody did not pass (SubCode 201 to 206: another face, no photo on file, …) is not kept: the
policy wants the conclusion alone."""


class AliyunFace:
    """InitFaceVerify and DescribeFaceVerify behind the gate.

    Args:
        gate: Its policy must have the clause (``annex_face_verification.toml``).
        credentials: Of an account that may call both.
        scene_id: The scene that the console gave.

    Raises:
        ConfigurationError: The policy lacks the operations.
    """

    def __init__(self, gate: Gate, credentials: AliyunCredentials, *, scene_id: str) -> None:
        self._gate = gate
        self._sign = signer(credentials)
        self._begin = gate.policy.operation("aliyun.face.begin")
        self._describe = gate.policy.operation("aliyun.face.describe")
        self._scene_id = scene_id

    def begin(
        self, attempt: Attempt, *, order_no: str, callback_url: str, callback_token: str
    ) -> str:
        """Open a verification; returns Aliyun's number for it, which the app's SDK needs.

        Args:
            attempt: Holds ``name``, ``id_number`` and ``meta_info``.
            order_no: 32 hexadecimal digits, others for each try: of those that Aliyun has seen,
                it does not say what a repetition means.
            callback_url: Ours, without a query: a callback must say nothing of a person in a log.
            callback_token: 32 hexadecimal digits that nobody can guess, others for each one.

        Raises:
            ZjjError: As :meth:`integrations.aliyun.AliyunIdentity.check`.
        """
        configured = {
            "scene_id": self._scene_id,
            "order_no": order_no,
            "callback_url": callback_url,
            "callback_token": callback_token,
        }
        reply = self._ask(self._begin, configured, attempt)
        _raise_fault(reply)
        certify_id = reply.fields.get(_CERTIFY_ID)
        if not isinstance(certify_id, str):
            raise UnknownOutcomeError("Aliyun's answer names no verification.")
        return certify_id

    def verdict(self, attempt: Attempt) -> CheckedIdentity | None:
        """What came of a verification; None while the person has not shown a face.

        Args:
            attempt: Holds ``certify_id``, from :meth:`begin` as we stored it.

        Raises:
            ZjjError: As :meth:`begin`.
        """
        reply = self._ask(self._describe, {"scene_id": self._scene_id}, attempt)
        if reply.status == 200 and reply.code in _UNFINISHED:
            return None
        _raise_fault(reply)
        verdict = _BY_ANSWER.get(str(reply.fields.get("ResultObject.Passed")))
        if verdict is None:
            raise UnknownOutcomeError(
                "Aliyun's answer holds no verdict that this version knows.",
                code="provider.outcome_unknown",
                provider_code=reply.code,
            )
        return CheckedIdentity(verdict, reply.request_id, reply.code or "")

    def _ask(self, operation: Operation, configured: dict[str, str], attempt: Attempt) -> Reply:
        request = operation.minimize(attempt.held, configured)
        return self._gate.send(request, sign=self._sign, attempt=attempt)


def _raise_fault(reply: Reply) -> None:
    error = identity_fault(
        reply.status, reply.code, retry_after=reply.headers.get("x-acs-retry-after")
    )
    if error is not None:
        raise error
