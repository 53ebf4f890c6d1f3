"""Work through one notification of a payment provider; nothing is sent by this kind of job."""

from __future__ import annotations

import base64
import datetime as dt
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from models.clock import utc_now
from models.payments.changes import Source
from models.states import Event
from tasks.outcomes import Outcome
from tasks.payload import Payload
from tasks.payment_decisions import Decision, Place
from tasks.payment_evidence import hear
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from models.attempts import Attempt

__all__ = ["PAYMENT_CALLBACK", "ChannelName", "MerchantNo", "PaymentCallback"]

ChannelName = Literal["wechat_pay_v3", "wechat_pay_v2", "alipay"]
MerchantNo = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{8,20}$"), Field(examples=["1900000001"])
]
"""A merchant's number at WeChat Pay, or a seller's id at Alipay."""


class PaymentCallback(Payload):
    """A notification as it came in, after its signature was believed.

    Whoever paid is named in the body; the body stays under the seal and goes with this job.
    """

    channel: ChannelName
    merchant: MerchantNo
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        examples=["0" * 64]
    )
    headers: dict[str, str] = Field(repr=False, examples=[{"content-type": "application/json"}])
    body: str = Field(repr=False, description="Base64 of the raw bytes.", examples=["e30="])


def _work_through(payload: PaymentCallback, attempt: Attempt, context: Context) -> Outcome:
    payments = context.payments
    heard = payments.read(
        payload.channel, payload.merchant, payload.headers, base64.b64decode(payload.body)
    )
    found = payments.books.payment(payload.channel, payload.merchant, heard.order_no)
    if found is None and heard.channel == "wechat_pay_v3" and heard.kind == "refund":
        # What was paid over API v2 goes back over v3, which tells of it in its own way.
        older = payments.books.payment("wechat_pay_v2", payload.merchant, heard.order_no)
        found = older if older is not None and older.backend == attempt.backend else None
    place = Place(
        backend=attempt.backend,
        channel=payload.channel if found is None else found.channel,
        merchant=payload.merchant,
        app=payments.app_of(payload.channel, payload.merchant),
    )
    decision = Decision(
        place,
        found,
        heard.order_no,
        source=Source.CALLBACK,
        now=utc_now(),
        unknown=payments.books.unknown_yet,
    )
    hear(decision, heard, place, confirm_from=payments.confirm_from)
    return Outcome(
        event=Event.SUCCEED,
        code=f"callback.{decision.outcome}",
        change=decision.change(notification=payload.digest),
        announcements=decision.announcements(),
    )


PAYMENT_CALLBACK = Task(
    kind="payment_callback",
    payload=PaymentCallback,
    queue="urgent",
    handle=_work_through,
    retry=RetryRule(attempts=12, base=1, cap=3600),
    lifetime=None,
    retention=dt.timedelta(days=7),
    subject=lambda _: None,
    operations=(),
)
