"""``POST /v1/callbacks/aliyun-sms/{secret}``: Aliyun reports what became of texts.

Receipts are not signed. Whoever knows the address may report, so its last part is a secret, and a
report counts only where number and ids fit a text of ours. Not part of the API for backends.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from integrations.aliyun.receipts import ACCEPTED, MOST_BYTES, read_receipts
from models.errors import DatabaseUnavailable, InvalidValue
from workers.deliveries import DeliveryReports
from workers.gateway.body import read_body
from workers.logs import get_logger

__all__ = ["SmsReceipts", "router"]

_log = get_logger()

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class SmsReceipts:
    """Where receipts go, and the secret that brings them there."""

    reports: DeliveryReports
    secret: str = field(repr=False)

    def opens(self, secret: str) -> bool:
        """Whether it is ours, told in the same time for every wrong one."""
        given, ours = (hashlib.sha256(text.encode()).digest() for text in (secret, self.secret))
        return hmac.compare_digest(given, ours)


@router.post("/v1/callbacks/aliyun-sms/{secret}")
async def take_receipts(secret: Annotated[str, Path(max_length=256)], request: Request) -> Response:
    """Answer as Aliyun wants it; anything else makes it come back after 1, 5 and 10 minutes."""
    receipts: SmsReceipts | None = request.app.state.sms_receipts
    if receipts is None or not receipts.opens(secret):
        return _answer(404, b'{"code":1,"msg":"unknown"}')
    body = await read_body(request, limit=MOST_BYTES)
    try:
        found = read_receipts(body)
        news = await asyncio.to_thread(receipts.reports.take, found)
    except InvalidValue:
        return _answer(400, b'{"code":1,"msg":"malformed"}')
    except DatabaseUnavailable:
        return _answer(503, b'{"code":1,"msg":"later"}')
    _log.info("receipts.taken", count=len(found), news=news)
    return _answer(200, ACCEPTED)


def _answer(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")
