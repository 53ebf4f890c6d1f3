"""``POST /v1/masks``: what a profile page may show of a phone, an identity number or a name."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from models.pii import IdNumber, Phone, RealName
from tasks.payload import Payload
from workers.gateway.authentication import Backend
from workers.gateway.body import json_body
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import Kind, problem_responses

__all__ = ["router"]

router = APIRouter(tags=["masks"])

_NOTHING = "needs phone, id_number or name"


class Shown(Payload):
    """What a person's own page is about to show."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("phone", "id_number", "name")
            ]
        }
    )

    phone: Phone | None = None
    id_number: IdNumber | None = None
    name: RealName | None = None

    @model_validator(mode="after")
    def _shows_something(self) -> Self:
        if not self.held():
            raise PydanticCustomError("invalid_value", "{reason}", {"reason": _NOTHING})
        return self


class Masks(BaseModel):
    """The same, masked; null for what was not given."""

    model_config = ConfigDict(extra="forbid")

    phone: str | None = Field(examples=["164****1234"])
    id_number: str | None = Field(examples=["9****************1"])
    name: str | None = Field(examples=["张*"])


@router.post(
    "/v1/masks",
    operation_id="mask",
    summary="Mask a phone, an identity number or a name for showing",
    response_model=Masks,
    responses=problem_responses(Kind.UNAUTHENTICATED, Kind.INVALID),
    openapi_extra=json_request_body(Shown),
)
async def mask(backend: Backend, shown: Annotated[Shown, Depends(json_body(Shown))]) -> Any:
    """Nothing is stored, and nothing but the answer says anything of it."""
    del backend
    return Masks(
        phone=shown.phone.mask() if shown.phone else None,
        id_number=shown.id_number.mask() if shown.id_number else None,
        name=shown.name.mask() if shown.name else None,
    )
