"""What a backend is told by webhook: ids, enums and amounts, never anything of a person."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from models.states import State
from tasks.payload import Payload

__all__ = ["Announcement", "EventType", "Id", "PaymentState", "VerdictName"]

EventType = Literal[
    "job.settled",
    "payment.paid",
    "payment.closed",
    "payment.mismatch",
    "payment.refunded",
    "refund.succeeded",
    "refund.failed",
    "webhook.test",
]
"""What can be announced; the part before the dot is the event's family."""

VerdictName = Literal["match", "mismatch", "no_record", "unavailable"]
PaymentState = Literal[
    "open",
    "paid",
    "closed",
    "refunding",
    "partially_refunded",
    "refunded",
    "refund_failed",
    "mismatch",
]

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,159}$")]
_OurNumber = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_\-|*]{6,64}$")]
_TheirNumber = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,64}$")]
_Fen = Annotated[int, Field(ge=0, le=10**12)]


class Announcement(Payload):
    """Something that has happened; which fields are set depends on the event."""

    event: EventType
    occurred_at: Annotated[
        AwareDatetime, AfterValidator(lambda moment: moment.astimezone(dt.UTC))
    ] = Field(examples=[dt.datetime(2026, 11, 24, tzinfo=dt.UTC)])
    ordering_key: Annotated[str | None, StringConstraints(pattern=r"^[A-Za-z0-9_.:|*-]{1,64}$")] = (
        Field(
            default=None,
            examples=["order-0000000000001"],
            description="Announcements of one key reach an endpoint in order; say, an order number.",
        )
    )
    job_id: Id | None = Field(default=None, examples=["0" * 31 + "1"])
    kind: _Name | None = Field(default=None, examples=["identity_check"])
    status: State | None = Field(default=None, examples=[State.SUCCEEDED])
    reason_code: _Code | None = Field(default=None, examples=["expired"])
    verdict: VerdictName | None = None
    channel: Literal["wechat_pay_v3", "wechat_pay_v2", "alipay"] | None = None
    order_no: _OurNumber | None = Field(default=None, examples=["order-0000000000001"])
    provider_no: _TheirNumber | None = Field(default=None, examples=["42000000000000000001"])
    refund_no: _OurNumber | None = Field(default=None, examples=["refund-0000000000001"])
    state: PaymentState | None = None
    amount: _Fen | None = Field(default=None, description="The order's total in fen.")
    refund_amount: _Fen | None = Field(default=None, description="Given back, in fen.")
    currency: Annotated[str | None, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(
        default=None, examples=["CNY"]
    )
