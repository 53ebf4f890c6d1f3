"""A payload as bytes, for the seal and the fingerprint only."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from models.pii import Personal, reveal

__all__ = ["encode_payload"]


def encode_payload(payload: Mapping[str, object]) -> bytes:
    """Canonical JSON (sorted keys) with personal values opened: never store or log it as it is."""
    return orjson.dumps(payload, default=_open, option=orjson.OPT_SORT_KEYS)


def _open(value: object) -> str:
    if isinstance(value, Personal):
        return reveal(value)
    raise TypeError(f"{type(value).__name__} has no place in a payload")
