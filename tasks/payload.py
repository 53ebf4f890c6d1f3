"""What every payload has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

__all__ = ["WHOLE", "ConsentRef", "Payload", "UserId"]

_Opaque = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]

ConsentRef = _Opaque
"""The backend's own name for a consent that it recorded.

A payload names the consent that it relies on in a field ``consent_ref``, and for a child the
guardian's in ``guardian_ref``; the gate holds the job to them.
"""

UserId = _Opaque
"""The backend's own opaque id for a person; a payload has it in a field ``user``."""


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Goes with a strict whole number: JSON may write it 6.0 as well; its "6" is text."""


class Payload(BaseModel):
    """The data of one job: closed, immutable, and silent in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def held(self) -> dict[str, object]:
        """The fields that are set, personal values still in their types."""
        return {
            name: value
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
        }
