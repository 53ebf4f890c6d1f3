"""The sandbox's doors to its payment providers, below ``/_sandbox``.

===========================  =============================================================
GET   /_sandbox/merchants    the merchant's own keys and the providers' public ones
POST  /_sandbox/orders       open, pay or close an order; paying sends the callback
GET   /_sandbox/books        every order and refund as the provider of ``?channel=`` has it
POST  /_sandbox/refunds      send a refund's callback once more
PUT   /_sandbox/callbacks    where callbacks go and what befalls them
GET   /_sandbox/callbacks    how many were sent, doubled, lost, acknowledged, given up
===========================  =============================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from integrations.payments import Channel
from integrations.sandbox.callbacks import CallbackPlan
from integrations.sandbox.merchants import till_keys

if TYPE_CHECKING:
    from starlette.requests import Request

    from integrations.sandbox.tills import Tills

__all__ = ["till_routes"]


_CHANNEL: TypeAdapter[Channel] = TypeAdapter(Channel)


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    channel: Channel
    order_no: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-|*]{6,32}$")]
    total: Annotated[int, Field(ge=1)] | None = None
    action: Literal["open", "pay", "close"] = "pay"


class _Refund(BaseModel):
    model_config = ConfigDict(extra="forbid")

    channel: Channel
    refund_no: str


def till_routes(tills: Tills, prefix: str) -> list[Route]:
    """The routes over one sandbox's payment providers."""

    async def show_merchants(_: Request) -> Response:
        return JSONResponse(till_keys().shown())

    async def change_order(request: Request) -> Response:
        try:
            wanted = _Order.model_validate_json(await request.body())
            order = tills.change(wanted.channel, wanted.action, wanted.order_no, wanted.total)
        except ValidationError as error:
            return _refused(error)
        except KeyError:
            return JSONResponse({"error": "no such order; total is needed to make it"}, 404)
        return JSONResponse({"order_no": order.order_no, "provider_no": order.provider_no}, 201)

    async def show_books(request: Request) -> Response:
        try:
            channel = _CHANNEL.validate_python(request.query_params.get("channel"))
        except ValidationError as error:
            return _refused(error)
        return JSONResponse(tills.book(channel).shown())

    async def tell_refund(request: Request) -> Response:
        try:
            wanted = _Refund.model_validate_json(await request.body())
            tills.tell_refund(wanted.channel, wanted.refund_no)
        except ValidationError as error:
            return _refused(error)
        except KeyError:
            return JSONResponse({"error": "no such refund"}, 404)
        return Response(status_code=202)

    return [
        Route(f"{prefix}/merchants", show_merchants, methods=["GET"]),
        Route(f"{prefix}/orders", change_order, methods=["POST"]),
        Route(f"{prefix}/books", show_books, methods=["GET"]),
        Route(f"{prefix}/refunds", tell_refund, methods=["POST"]),
        *_callback_routes(tills, prefix),
    ]


def _callback_routes(tills: Tills, prefix: str) -> list[Route]:
    async def plan_callbacks(request: Request) -> Response:
        try:
            tills.courier.follow(CallbackPlan.model_validate_json(await request.body()))
        except ValidationError as error:
            return _refused(error)
        return Response(status_code=204)

    async def count_callbacks(_: Request) -> Response:
        return JSONResponse(tills.courier.counts())

    return [
        Route(f"{prefix}/callbacks", plan_callbacks, methods=["PUT"]),
        Route(f"{prefix}/callbacks", count_callbacks, methods=["GET"]),
    ]


def _refused(error: ValidationError) -> Response:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return JSONResponse({"errors": found}, 422)
