"""Callbacks of payment providers: believed by their raw bytes, kept, and only then acknowledged.

No API key: the provider's signature over the body is what authenticates. A callback that is not to
be believed leaves nothing behind, neither a row nor a line of its content.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from integrations.payments import Acknowledgement, CallbackRefused, Channel
from models.errors import NotFound, RetryError
from workers.gateway.body import read_body
from workers.gateway.payments import LARGEST_CALLBACK, Payments
from workers.gateway.problems import Problem
from workers.logs import get_logger
from workers.merchants import answers_of
from workers.payments import PaymentService

__all__ = ["router"]

# Not for backends, so not in their description.
router = APIRouter(include_in_schema=False)

_log = get_logger()

_Merchant = Annotated[str, Path(pattern=r"^[0-9]{8,20}$")]


@router.post("/v1/callbacks/wechat-pay/{merchant}")
async def wechat_pay(merchant: _Merchant, payments: Payments, request: Request) -> Response:
    """A notification of WeChat Pay, API v3."""
    return await _take_in("wechat_pay_v3", merchant, payments, request)


@router.post("/v1/callbacks/wechat-pay-v2/{merchant}")
async def wechat_pay_v2(merchant: _Merchant, payments: Payments, request: Request) -> Response:
    """A notification of WeChat Pay, API v2."""
    return await _take_in("wechat_pay_v2", merchant, payments, request)


@router.post("/v1/callbacks/alipay/{merchant}")
async def alipay(merchant: _Merchant, payments: Payments, request: Request) -> Response:
    """A notification of Alipay."""
    return await _take_in("alipay", merchant, payments, request)


async def _take_in(
    channel: Channel, merchant: str, payments: PaymentService, request: Request
) -> Response:
    answers = answers_of(channel)
    try:
        body = await read_body(request, limit=LARGEST_CALLBACK)
        await payments.receive_async(channel, merchant, request.headers, body)
    except Problem:
        return _answer(answers.refused, status=413)
    except NotFound:
        return _answer(answers.refused, status=404)
    except CallbackRefused as error:
        _log.info("callback.refused", channel=channel, code=error.code)
        return _answer(answers.refused)
    except RetryError as error:
        _log.warning("callback.not_kept", channel=channel, code=error.code)
        return _answer(answers.unavailable)
    return _answer(answers.accepted)


def _answer(answer: Acknowledgement, *, status: int | None = None) -> Response:
    headers = {} if answer.content_type is None else {"Content-Type": answer.content_type}
    return Response(answer.body, status or answer.status, headers=headers)
