"""Text messages through Aliyun: send a code, and ask later what became of it.

SendSms is not idempotent (help.aliyun.com, "Idempotence" of the Short Message Service), so an
unclear answer is never followed by a second request. Instead each text bears its job's reference
as OutId, by which QuerySendDetails finds it again.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from integrations.aliyun.codes import fault
from integrations.aliyun.receipts import journey, reason_of
from integrations.aliyun.signing import AliyunCredentials, signer
from integrations.receipt import Receipt
from models.errors import ConfigurationError, RetryError, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from integrations.gate import Gate
    from integrations.policy import Operation
    from integrations.reply import Reply
    from models.attempts import Attempt

__all__ = ["AliyunSms", "Delivery", "DeliveryState", "check_configured"]

_PAGE_SIZE = 50
_MOST_PAGES = 4
_ROWS = "SmsSendDetailDTOs.SmsSendDetailDTO"


class DeliveryState(enum.StrEnum):
    """What Aliyun knows of a text."""

    DELIVERED = "delivered"
    FAILED = "failed"
    WAITING = "waiting"
    """Accepted; the carrier has not reported yet."""
    NOT_FOUND = "not_found"
    """Aliyun shows no such text. Shortly after sending that proves nothing, because Aliyun does
    not say how soon a text shows."""


# Aliyun's SendStatus, in the order in which one row of several with the same OutId decides.
_BY_STATUS = {
    "3": DeliveryState.DELIVERED,
    "1": DeliveryState.WAITING,
    "2": DeliveryState.FAILED,
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a job's text."""

    state: DeliveryState
    provider_code: str | None = None
    """The carrier's code, such as ``DELIVERED`` or ``MOBILE_NOT_ON_SERVICE``."""
    seconds: float | None = None
    """From sending to the carrier's report."""

    @property
    def reason(self) -> str | None:
        """Why a failed text did not arrive, in our words."""
        return reason_of(self.provider_code) if self.state is DeliveryState.FAILED else None


class AliyunSms:
    """Aliyun's Short Message Service behind the gate.

    Args:
        gate: The way out.
        credentials: Of an account that may call SendSms and QuerySendDetails.
        sign_name: The approved signature that stands before each text.
        templates: The approved template for each scene; its only variable is ``code``.

    Raises:
        ConfigurationError: The policy lacks the operations, or would refuse the signature or a
            template code.
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
        self._send = gate.policy.operation("aliyun.sms.send")
        self._query = gate.policy.operation("aliyun.sms.query")
        self._sign_name = sign_name
        self._templates = dict(templates)
        check_configured(self._send, "SignName", [sign_name])
        check_configured(self._send, "TemplateCode", self._templates.values())

    def send_code(self, attempt: Attempt) -> Receipt:
        """Send the code that a job holds to the phone that it holds.

        Args:
            attempt: Holds ``phone``, ``code`` and ``scene``.

        Returns:
            The receipt of an accepted text (not yet a delivered one), with ``biz_id``.

        Raises:
            RetryError: Nothing was sent, and sending may succeed later.
            WaitError: A limit; nothing was sent. ``retry_after`` says when it ends.
            GiveUpError: Aliyun refuses the number, the text, the template or the account.
            UnknownOutcomeError: It may have been sent: ask :meth:`query_send`.
            DeniedError: The policy does not let it out.
            ConfigurationError: The scene has no template.
        """
        template = self._templates.get(str(attempt.held.get("scene")))
        if template is None:
            raise ConfigurationError("no template is configured for the job's scene")
        configured = {
            "sign_name": self._sign_name,
            "template_code": template,
            "out_id": attempt.reference,
        }
        reply = self._ask(self._send, configured, attempt)
        biz_id = reply.fields.get("BizId")
        return Receipt(
            recipient=self._send.recipient,
            operation=self._send.name,
            provider_code=reply.code or "",
            provider_request_id=reply.request_id,
            fields={} if biz_id is None else {"biz_id": str(biz_id)},
        )

    def query_send(
        self, attempt: Attempt, sent_on: dt.date, *, reference: str | None = None
    ) -> Delivery:
        """Ask what became of a job's text.

        Args:
            attempt: Holds ``phone``.
            reference: Of the text; default: the attempt's own.
            sent_on: The day in Beijing on which it was sent, at most 30 days
                ago. A text sent around midnight there may stand under either day.

        Raises:
            RetryError: Aliyun gave no clear answer; asking again is harmless.
            WaitError: Aliyun asks for fewer requests.
            GiveUpError: Aliyun refuses the account or the question.
            DeniedError: The policy does not let it out.
        """
        found: dict[DeliveryState, Delivery] = {}
        for row in self._rows(attempt, sent_on):
            state = _BY_STATUS.get(str(row.get("SendStatus")))
            if row.get("OutId") == (reference or attempt.reference) and state is not None:
                code = row.get("ErrCode")
                seconds = journey(row.get("SendDate"), row.get("ReceiveDate"))
                told = Delivery(state, None if code is None else str(code), seconds)
                found.setdefault(state, told)
        decisive = (found[state] for state in _BY_STATUS.values() if state in found)
        return next(decisive, Delivery(DeliveryState.NOT_FOUND))

    def _rows(self, attempt: Attempt, sent_on: dt.date) -> Iterator[Mapping[str, object]]:
        for page in range(1, _MOST_PAGES + 1):
            configured = {"send_date": sent_on.strftime("%Y%m%d"), "current_page": str(page)}
            try:
                reply = self._ask(self._query, configured, attempt)
            except UnknownOutcomeError as unclear:
                raise RetryError(
                    "Aliyun did not say what became of the text.",
                    code="provider.no_answer",
                    provider_code=unclear.provider_code,
                ) from None
            yield from reply.fields.get(_ROWS, ())
            total = str(reply.fields.get("TotalCount"))
            if not total.isdecimal() or int(total) <= page * _PAGE_SIZE:
                return

    def _ask(self, operation: Operation, configured: dict[str, str], attempt: Attempt) -> Reply:
        request = operation.minimize(attempt.held, configured)
        reply = self._gate.send(request, sign=self._sign, attempt=attempt)
        error = fault(
            reply.status,
            reply.code,
            message=reply.fields.get("Message"),
            retry_after=reply.headers.get("x-acs-retry-after"),
        )
        if error is not None:
            raise error
        return reply


def check_configured(operation: Operation, field: str, values: Iterable[str]) -> None:
    """Find at start what the gate would refuse at each text.

    Raises:
        ConfigurationError: A value has not the form that the policy allows.
    """
    entry = operation.fields[field]
    for value in values:
        too_long = entry.max is not None and len(value) > entry.max
        if too_long or entry.pattern is None or not entry.pattern.fullmatch(value):
            raise ConfigurationError(f"{operation.name}: the policy does not allow this {field}")
