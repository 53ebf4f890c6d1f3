"""procrastinate on PostgreSQL: jobs are rows, workers are event loops; aiohttp."""

from __future__ import annotations

import os

import aiohttp
import procrastinate

from benchmarks.request import DATABASE, HEADERS, PROVIDER, body_of

__all__ = ["app", "send"]

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ[DATABASE]))

_provider = os.environ[PROVIDER]
_sessions: list[aiohttp.ClientSession] = []


@app.task(name="send")
async def send(job_id: str, phone: str, code: str) -> None:
    """The HTTP call."""
    if not _sessions:
        _sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    body = body_of(job_id, phone, code)
    async with _sessions[0].post(_provider, data=body, headers=HEADERS) as reply:
        reply.raise_for_status()
        await reply.read()
