"""Check a real name (policy 一(1)2 goods that need one, 一(1)4 certification and query)."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from models.clock import BEIJING, utc_now
from models.pii import IdNumber, Phone, RealName
from tasks.outcomes import Outcome, succeeded
from tasks.payload import ConsentRef, Payload, UserId
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from models.attempts import Attempt

__all__ = [
    "GUARDIAN_CONSENT_REQUIRED",
    "IDENTITY_CHECK",
    "ORDER_MISMATCH",
    "IdentityCheck",
    "IdentityPurpose",
    "is_child",
]

IdentityPurpose = Literal["restricted_goods", "certification", "query"]

_Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
_NEEDED: dict[IdentityPurpose, tuple[str, ...]] = {
    "restricted_goods": ("product_ref",),
    "certification": ("order_no", "expected_order_no"),
    "query": ("order_no", "expected_order_no"),
}
_CONDITIONS: dict[str, Any] = {
    "allOf": [
        {
            "if": {"properties": {"purpose": {"const": purpose}}, "required": ["purpose"]},
            "then": {
                "properties": {name: {"type": "string"} for name in names},
                "required": list(names),
            },
        }
        for purpose, names in _NEEDED.items()
    ]
}


class IdentityCheck(Payload):
    """A name, a number and maybe a phone that shall belong together.

    Two factors are checked, unless a phone is given that nobody has verified yet: then it is the
    third. What the check is for stays inside, as do the product and the order.
    """

    model_config = ConfigDict(json_schema_extra=_CONDITIONS)

    name: RealName
    id_number: IdNumber
    phone: Phone | None = Field(
        default=None, description="Given where the purpose needs the phone to be this person's."
    )
    phone_verified: StrictBool = Field(
        default=False,
        description="True if a code or a login has shown whose phone it is; it then stays inside.",
    )
    purpose: IdentityPurpose
    product_ref: _Reference | None = Field(
        default=None, description="Needed for restricted_goods: which product demands a real name."
    )
    order_no: _Reference | None = Field(
        default=None,
        description="Needed for certification and query: as the person gave it; never leaves.",
    )
    expected_order_no: _Reference | None = Field(
        default=None,
        description="Needed for certification and query: the order's number as you have it on "
        "file; compared here, and never leaves.",
    )
    consent_ref: ConsentRef = Field(description="The person's separate consent, as recorded.")
    guardian_ref: ConsentRef | None = Field(
        default=None, description="A guardian's consent; needed for a person under 14."
    )
    user: UserId | None = Field(
        default=None, description="The backend's opaque id for the person; never leaves."
    )

    @model_validator(mode="after")
    def _has_what_its_purpose_needs(self) -> Self:
        for needed in _NEEDED[self.purpose]:
            if getattr(self, needed) is None:
                reason = f"needs {needed} for the purpose {self.purpose}"
                raise PydanticCustomError("invalid_value", "{reason}", {"reason": reason})
        return self

    @property
    def with_phone(self) -> bool:
        """Whether the phone is a factor."""
        return self.phone is not None and not self.phone_verified

    @property
    def names_its_order(self) -> bool:
        """Whether the order that the person named is the one on file, in capitals or not."""
        given, expected = (self.order_no or "", self.expected_order_no or "")
        return self.purpose == "restricted_goods" or given.casefold() == expected.casefold()


GUARDIAN_CONSENT_REQUIRED = "guardian_consent_required"
"""Reason code: the person is under 14 and no guardian has agreed."""

ORDER_MISMATCH = "order_mismatch"
"""Reason code: the order number that the person gave is not that of the order on file."""

_ADULT_ENOUGH = 14
"""Years; below, PIPL 31 and the policy's chapter 七 ask for a guardian."""
_RETRY = RetryRule(attempts=2, base=1.0, cap=5)


def is_child(id_number: IdNumber, now: dt.datetime) -> bool:
    """Whether the person is so young that a guardian must agree; days begin when they do in China."""
    return id_number.age_on(now.astimezone(BEIJING).date()) < _ADULT_ENOUGH


def _refuse(payload: IdentityCheck) -> str | None:
    if is_child(payload.id_number, utc_now()) and payload.guardian_ref is None:
        return GUARDIAN_CONSENT_REQUIRED
    return None if payload.names_its_order else ORDER_MISMATCH


def _check(payload: IdentityCheck, attempt: Attempt, context: Context) -> Outcome:
    desk, with_phone = context.identities, payload.with_phone
    if record := desk.remembered(attempt, with_phone=with_phone):
        at = record.at.isoformat(timespec="seconds")
        return succeeded(verdict=record.verdict, checked_at=at, answered_by="record")
    checked = desk.check(attempt, with_phone=with_phone)
    change = desk.keep(attempt, checked, with_phone=with_phone)
    at = change.record.at.isoformat(timespec="seconds")
    outcome = succeeded(
        provider_code=checked.provider_code,
        verdict=checked.verdict,
        checked_at=at,
        answered_by="provider",
    )
    return replace(outcome, change=change)


IDENTITY_CHECK = Task(
    kind="identity_check",
    payload=IdentityCheck,
    queue="urgent",
    handle=_check,
    refuse=_refuse,
    retry=_RETRY,
    lifetime=dt.timedelta(minutes=10),
    retention=dt.timedelta(minutes=10),
    subject=lambda payload: payload.id_number,
    operations=("aliyun.identity.two_factor", "aliyun.identity.three_factor"),
    announces=True,
    forgets=True,
    concludes=True,
)
