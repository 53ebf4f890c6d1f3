"""Celery on Redis: no results, no events, early acknowledgement (its default); urllib3, which
suits its pools best: its connection pool is cheap to share, also between greenlets.
"""

from __future__ import annotations

import os

import celery
import urllib3

from benchmarks.request import HEADERS, REDIS, body_of, provider_address

__all__ = ["app", "send"]

app = celery.Celery("bench", broker=os.environ[REDIS])
app.conf.update(
    task_ignore_result=True,
    worker_disable_rate_limits=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
    broker_connection_retry_on_startup=True,
)

_pool = urllib3.HTTPConnectionPool(*provider_address(), maxsize=256)


@app.task(name="send")  # type: ignore[untyped-decorator]  # ships no types
def send(job_id: str, phone: str, code: str) -> None:
    """The HTTP call."""
    reply = _pool.request("POST", "/", body=body_of(job_id, phone, code), headers=HEADERS)
    if reply.status != 200:
        raise RuntimeError("the provider refused")
