"""dramatiq as it comes, on Redis: httpx, one client per thread, one TLS context for all."""

from __future__ import annotations

import os
import ssl
import threading

import dramatiq
import httpx
from dramatiq.brokers.redis import RedisBroker

from benchmarks.request import HEADERS, PROVIDER, REDIS, body_of

__all__ = ["broker", "send"]

broker = RedisBroker(url=os.environ[REDIS])  # type: ignore[no-untyped-call]
dramatiq.set_broker(broker)

_provider = os.environ[PROVIDER]
_tls = ssl.create_default_context()
_thread = threading.local()


@dramatiq.actor(max_retries=0)
def send(job_id: str, phone: str, code: str) -> None:
    """The HTTP call."""
    client: httpx.Client | None = getattr(_thread, "client", None)
    if client is None:
        client = _thread.client = httpx.Client(verify=_tls, trust_env=False)
    reply = client.post(_provider, content=body_of(job_id, phone, code), headers=HEADERS)
    reply.raise_for_status()
