"""Face verification through Aliyun, for a policy that has a clause for it; the packaged one has none.

The images pass between the phone and Aliyun alone. Begin (InitFaceVerify) gives the app's SDK its
number; a callback without signature says that something has happened; only DescribeFaceVerify,
asked after the callback's token was compared, says what (help.aliyun.com, Cloudauth 2019-03-07).
"""

from __future__ import annotations

import enum
import hmac
from typing import TYPE_CHECKING

from integrations.aliyun.identity_codes import identity_fault
from integrations.aliyun.signing import AliyunCredentials, signer
from models.errors import DeniedError, UnknownOutcomeError

if TYPE_CHECKING:
    from integrations.gate import Gate
    from integrations.policy import Operation
    from integrations.reply import Reply
    from models.attempts import Attempt

__all__ = ["AliyunFace", "FaceVerdict"]

_CERTIFY_ID = "ResultObject.CertifyId"
_PASSED = "ResultObject.Passed"
_NOT_FINISHED = frozenset({"403", "424"})


class FaceVerdict(enum.StrEnum):
    """What came of a face verification."""

    PASSED = "passed"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    """The person has not shown a face yet; ask again with the same number."""


class AliyunFace:
    """InitFaceVerify and DescribeFaceVerify behind the gate.

    Args:
        gate: Its policy must have the clause (``annex_face_verification.toml``).
        credentials: Of an account that may call both.
        scene_id: The scene that the console gave.
        callback_url: Ours, without a query: a callback must say nothing of a person in a log.

    Raises:
        ConfigurationError: The policy lacks the operations.
    """

    def __init__(
        self, gate: Gate, credentials: AliyunCredentials, *, scene_id: str, callback_url: str
    ) -> None:
        self._gate = gate
        self._sign = signer(credentials)
        self._begin = gate.policy.operation("aliyun.face.begin")
        self._describe = gate.policy.operation("aliyun.face.describe")
        self._scene_id = scene_id
        self._callback_url = callback_url

    def begin(self, attempt: Attempt, *, callback_token: str) -> str:
        """Open a verification; returns Aliyun's number for it, which the app's SDK needs.

        Args:
            attempt: Holds ``name``, ``id_number`` and ``meta_info``.
            callback_token: 32 random hexadecimal digits, new for each one.

        Raises:
            ZjjError: As :meth:`integrations.aliyun.AliyunIdentity.check`.
        """
        configured = {
            "scene_id": self._scene_id,
            "order_no": attempt.reference,
            "callback_url": self._callback_url,
            "callback_token": callback_token,
        }
        reply = self._ask(self._begin, configured, attempt)
        _raise_fault(reply)
        certify_id = reply.fields.get(_CERTIFY_ID)
        if not isinstance(certify_id, str):
            raise UnknownOutcomeError("Aliyun's answer names no verification.")
        return certify_id

    def confirm(
        self, attempt: Attempt, certify_id: str, *, expected_token: str, received_token: str
    ) -> FaceVerdict:
        """What came of it, after a callback.

        Args:
            attempt: On whose behalf.
            certify_id: From :meth:`begin`, as we stored it; the callback's own is not believed.
            expected_token: From :meth:`begin`.
            received_token: From the callback.

        Raises:
            DeniedError: The callback bears another token, so Aliyun is not asked.
            ZjjError: As :meth:`begin`.
        """
        if not hmac.compare_digest(expected_token.encode(), received_token.encode()):
            raise DeniedError("the callback bears another token", code="callback.bad_token")
        return self.verdict(attempt, certify_id)

    def verdict(self, attempt: Attempt, certify_id: str) -> FaceVerdict:
        """What came of it, asked without a callback."""
        configured = {"scene_id": self._scene_id, "certify_id": certify_id}
        reply = self._ask(self._describe, configured, attempt)
        if reply.status == 200 and reply.code in _NOT_FINISHED:
            return FaceVerdict.UNFINISHED
        _raise_fault(reply)
        passed = reply.fields.get(_PASSED)
        return FaceVerdict.PASSED if passed == "T" else FaceVerdict.FAILED

    def _ask(self, operation: Operation, configured: dict[str, str], attempt: Attempt) -> Reply:
        request = operation.minimize(attempt.held, configured)
        return self._gate.send(request, sign=self._sign, attempt=attempt)


def _raise_fault(reply: Reply) -> None:
    error = identity_fault(
        reply.status, reply.code, retry_after=reply.headers.get("x-acs-retry-after")
    )
    if error is not None:
        raise error
