"""Pushes delivery receipts as Aliyun does: after a while, in batches, and again if need be.

SmsReport (help.aliyun.com, HTTP push of receipts): a POST with a JSON array; whatever is not
answered with HTTP 200 and ``{"code": 0}`` comes again after 1, 5 and 10 minutes, then never.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

import orjson

__all__ = ["ReceiptPusher"]

_AGAIN_SECONDS = (60.0, 300.0, 600.0)
_GATHERING_SECONDS = 0.05
"""What falls due so close together travels in one batch."""
_SOONEST_SECONDS = 0.05
_ANSWER_SECONDS = 5.0


class ReceiptPusher:
    """One customer's receipts, on the event loop that calls it.

    Args:
        url: Where they go, on this machine; None pushes nothing.
        repeats: How often a batch that was taken comes again all the same.
        scale: Shortens the pauses between tries; 1 is as in reality.
    """

    def __init__(self, url: str | None, *, repeats: int = 0, scale: float = 1.0) -> None:
        self.url, self.repeats, self.scale = url, repeats, scale
        self.pushed = 0
        self.taken = 0
        self._due: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, receipt: dict[str, Any], *, seconds: float) -> None:
        """Push a receipt when its text has arrived, after so many seconds."""
        if self.url is not None:
            self._start(self._gather(receipt, max(_SOONEST_SECONDS, seconds)))

    def clear(self) -> None:
        """Forget what is under way, and the counts."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._due.clear()
        self.pushed = self.taken = 0

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _gather(self, receipt: dict[str, Any], delay: float) -> None:
        await asyncio.sleep(delay)
        self._due.append(receipt)
        if len(self._due) > 1:
            return
        await asyncio.sleep(_GATHERING_SECONDS)
        batch, self._due = self._due, []
        await self._push(batch)

    async def _push(self, batch: list[dict[str, Any]]) -> None:
        repeats = self.repeats
        for pause in (*_AGAIN_SECONDS, None):
            self.pushed += 1
            if await self._post(orjson.dumps(batch)):
                self.taken += 1
                if not repeats:
                    return
                repeats -= 1
                continue
            if pause is None:
                return
            await asyncio.sleep(pause * self.scale)

    async def _post(self, body: bytes) -> bool:
        """Whether it was taken."""
        parts = urlsplit(self.url or "")
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(  # noqa: TID251 - plays somebody outside
                    parts.hostname, parts.port
                )
                head = (
                    f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                    f"Content-Type: application/json;charset=UTF-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + body)
                answer = await reader.read()
        except (OSError, TimeoutError):
            return False
        finally:
            if writer is not None:
                writer.close()
        status, _, content = answer.partition(b"\r\n\r\n")
        with contextlib.suppress(orjson.JSONDecodeError):
            return b" 200 " in status.split(b"\r\n")[0] and orjson.loads(content)["code"] == 0
        return False
