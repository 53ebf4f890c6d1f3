"""The one job that everybody does: send a verification code to a phone."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from models.identifiers import new_id

__all__ = [
    "DATABASE",
    "HEADERS",
    "PROVIDER",
    "REDIS",
    "body_of",
    "code_of",
    "new_id",
    "phone_of",
    "provider_address",
]

PROVIDER = "BENCH_PROVIDER"
REDIS = "BENCH_REDIS"
DATABASE = "BENCH_DATABASE"
"""Environment variables that tell a peer's processes where things are."""

HEADERS = {"content-type": "application/x-www-form-urlencoded"}


def phone_of(number: int) -> str:
    """A phone in a range that no carrier has, another one for each job."""
    return f"164{number % 100_000_000:08d}"


def code_of(number: int) -> str:
    """A code of six digits."""
    return f"{number * 7919 % 1_000_000:06d}"


def body_of(job_id: str, phone: str, code: str) -> str:
    """What our adapter sends, to the byte; the responder reads the id."""
    return (
        f"PhoneNumbers={phone}&SignName=%E9%92%9F%E4%B9%85%E4%B9%85&TemplateCode=SMS_164000001"
        f"&TemplateParam=%7B%22code%22%3A%22{code}%22%7D&OutId={job_id}"
    )


def provider_address() -> tuple[str, int]:
    """Host and port of the responder."""
    parts = urlsplit(os.environ[PROVIDER])
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port
