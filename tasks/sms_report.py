"""Ask what became of a text whose delivery nobody reported."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from models.clock import utc_now
from models.deliveries import ASKING_ENDS, Report
from models.errors import RetryError
from models.pii import Phone
from tasks.outcomes import Outcome, succeeded
from tasks.payload import Payload
from tasks.retries import RetryRule
from tasks.sms_code import days_of
from tasks.task import Context, Task

if TYPE_CHECKING:
    from models.attempts import Attempt

__all__ = ["SMS_REPORT", "SmsReport"]

_PAUSES = (300.0, 900.0, 1800.0)
"""Seconds from one question to the next; there is one question more than there are pauses."""


class SmsReport(Payload):
    """A text that a provider has accepted."""

    phone: Phone
    reference: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] = Field(
        examples=["0" * 31 + "1"], description="What the provider calls the text by."
    )
    accepted_at: AwareDatetime = Field(examples=[dt.datetime(2026, 11, 24, tzinfo=dt.UTC)])


def _ask(payload: SmsReport, attempt: Attempt, context: Context) -> Outcome:
    for day in days_of(payload.accepted_at):
        found = context.sms.query_send(attempt, day, reference=payload.reference)
        if found.state in {"delivered", "failed"}:
            report = Report(
                reference=payload.reference,
                subject=attempt.subject or "",
                biz_id=None,
                delivered=found.state == "delivered",
                reason=found.reason,
                provider_code=found.provider_code,
                seconds=found.seconds,
                source="query",
                at=utc_now(),
            )
            done = succeeded(provider_code=found.provider_code, delivery=found.state)
            return replace(done, change=report)
    if attempt.number > len(_PAUSES):
        return succeeded(delivery="unreported")
    raise RetryError(
        "the carrier has not reported yet",
        code="delivery.waiting",
        retry_after=_PAUSES[attempt.number - 1],
    )


SMS_REPORT = Task(
    kind="sms_report",
    payload=SmsReport,
    queue="bulk",
    handle=_ask,
    retry=RetryRule(attempts=len(_PAUSES) + 1, base=1, cap=10),
    lifetime=ASKING_ENDS,
    retention=ASKING_ENDS,
    subject=lambda payload: payload.phone,
    operations=("aliyun.sms.query",),
)
