"""What every payload has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Payload"]


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
