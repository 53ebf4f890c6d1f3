"""Codes by text through Aliyun's number authentication: it makes the code, texts it, checks it.

The code never enters our system: the template's variable is the placeholder ``##code##``, and the
policy fixes ``ReturnVerifyCode=false`` (alibabacloud-dypnsapi20170525 2.0.0). Neither call is
idempotent, and nobody can be asked what became of a text, so an unclear answer stays unclear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.aliyun.codes import SMS_AUTH_REMEDIES, fault
from integrations.aliyun.signing import AliyunCredentials, signer
from integrations.aliyun.sms import check_configured
from integrations.receipt import Receipt
from models.errors import ConfigurationError
from models.pii import VerificationCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from integrations.gate import Gate
    from integrations.policy import Operation
    from integrations.reply import Reply
    from models.attempts import Attempt

__all__ = ["AliyunSmsAuth"]

_NOT_VERIFIED = "isv.ValidateFail"
"""Comes with HTTP 400 for a wrong or old code: a verdict, not a fault."""


_DIGITS = 6


class AliyunSmsAuth:
    """SendSmsVerifyCode and CheckSmsVerifyCode behind the gate.

    Args:
        gate: The way out.
        credentials: Of an account that may call both.
        sign_name: One of the signatures that the product lends.
        templates: The product's own template for each scene; its variables are ``code`` and
            ``min``.

    Raises:
        ConfigurationError: The policy lacks the operations, or would refuse the signature, a
            template code or a scene.
    """

    def __init__(
        self,
        gate: Gate,
        credentials: AliyunCredentials,
        *,
        sign_name: str,
        templates: Mapping[str, str],
    ) -> None:
        self._gate = gate
        self._sign = signer(credentials)
        self._send = gate.policy.operation("aliyun.sms_auth.send")
        self._check = gate.policy.operation("aliyun.sms_auth.check")
        self._sign_name = sign_name
        self._templates = dict(templates)
        check_configured(self._send, "SignName", [sign_name])
        check_configured(self._send, "TemplateCode", self._templates.values())
        check_configured(self._send, "SchemeName", map(_scheme, self._templates))

    def send_code(self, attempt: Attempt) -> Receipt:
        """Have a code made and sent to the phone that a job holds.

        Args:
            attempt: Holds ``phone`` and ``scene``; of a code that it holds only the number of
                digits counts, for which the screen that waits has room.

        Returns:
            The receipt of an accepted text, with ``biz_id``.

        Raises:
            RetryError: Nothing was sent, and sending may succeed later.
            WaitError: A limit; nothing was sent.
            GiveUpError: Aliyun refuses the number, the template, the scheme or the account.
            UnknownOutcomeError: It may have been sent, and nobody can tell.
            DeniedError: The policy does not let it out.
            ConfigurationError: The scene has no template.
        """
        scene = str(attempt.held.get("scene"))
        template = self._templates.get(scene)
        if template is None:
            raise ConfigurationError("no template is configured for the job's scene")
        code = attempt.held.get("code")
        configured = {
            "sign_name": self._sign_name,
            "template_code": template,
            "code_length": str(code.length if isinstance(code, VerificationCode) else _DIGITS),
            "scheme": _scheme(scene),
            "out_id": attempt.reference,
        }
        reply = self._ask(self._send, configured, attempt)
        _raise_fault(reply)
        biz_id = reply.fields.get("Model.BizId")
        return Receipt(
            recipient=self._send.recipient,
            operation=self._send.name,
            provider_code=reply.code or "",
            provider_request_id=reply.request_id,
            fields={} if biz_id is None else {"biz_id": str(biz_id)},
        )

    def check_code(self, attempt: Attempt) -> bool:
        """Whether a typed code is the one that was sent to a phone for a scene.

        Args:
            attempt: Holds ``phone``, ``code`` and ``scene``.

        Raises:
            RetryError: The question did not leave.
            WaitError: A limit.
            GiveUpError: Aliyun refuses the account or the question.
            UnknownOutcomeError: No clear answer; a right code may be used up now.
            DeniedError: The policy does not let it out.
        """
        configured = {"scheme": _scheme(str(attempt.held.get("scene")))}
        reply = self._ask(self._check, configured, attempt)
        if reply.status == 400 and reply.code == _NOT_VERIFIED:
            return False
        _raise_fault(reply)
        # Success alone is no pass (help.aliyun.com, CheckSmsVerifyCode).
        return reply.fields.get("Model.VerifyResult") == "PASS"

    def _ask(self, operation: Operation, configured: dict[str, str], attempt: Attempt) -> Reply:
        request = operation.minimize(attempt.held, configured)
        return self._gate.send(request, sign=self._sign, attempt=attempt)


def _raise_fault(reply: Reply) -> None:
    error = fault(
        reply.status,
        reply.code,
        message=reply.fields.get("Message"),
        retry_after=reply.headers.get("x-acs-retry-after"),
        remedies=SMS_AUTH_REMEDIES,
    )
    if error is not None:
        raise error


def _scheme(scene: str) -> str:
    """A code is checked under the scheme it was sent under, so it is good for one scene only."""
    return f"zjj_{scene}"
