"""Calls the customer back when somebody has shown a face, as Aliyun does.

A GET to CallbackUrl with ``callbackToken``, ``certifyId`` and ``passed``, unsigned; whatever is not
answered with HTTP 200 comes twice more within 3 seconds (help.aliyun.com, InitFaceVerify).
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode, urlsplit

__all__ = ["FaceCaller"]

_AGAIN_SECONDS = (1.0, 1.5)
_SOONEST_SECONDS = 0.05
_ANSWER_SECONDS = 5.0


class FaceCaller:
    """Delivers callbacks on the event loop that calls it.

    Args:
        url: A server on this machine that stands for the one that CallbackUrl names; None calls
            nobody.
    """

    def __init__(self, url: str | None) -> None:
        self._place = None if url is None else urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, callback_url: str, answer: dict[str, str], *, seconds: float) -> None:
        """Call after so many seconds."""
        if self._place is None:
            return
        target = f"{urlsplit(callback_url).path}?{urlencode(answer)}"
        task = asyncio.ensure_future(self._call(target, max(_SOONEST_SECONDS, seconds)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def clear(self) -> None:
        """Forget what is under way."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def _call(self, target: str, seconds: float) -> None:
        for pause in (seconds, *_AGAIN_SECONDS):
            await asyncio.sleep(pause)
            if await self._get(target):
                return

    async def _get(self, target: str) -> bool:
        """Whether it was answered with 200."""
        assert self._place is not None  # noqa: S101 - nothing is added without one
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(  # noqa: TID251 - plays somebody outside
                    self._place.hostname, self._place.port
                )
                head = (
                    f"GET {target} HTTP/1.1\r\nHost: {self._place.netloc}\r\nConnection: close\r\n"
                )
                writer.write(f"{head}\r\n".encode())
                return (await reader.read()).split(b" ", 2)[1:2] == [b"200"]
        except (OSError, TimeoutError):
            return False
        finally:
            if writer is not None:
                writer.close()
