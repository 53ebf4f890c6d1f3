"""API keys of web backends: shown once, kept as digests."""

from __future__ import annotations

import hashlib
import re
import secrets
import time

from sqlalchemy import Connection, Engine, insert, select, update

from models.clock import Clock, utc_now
from models.errors import InvalidValue
from models.identifiers import new_id
from models.tables import api_keys

__all__ = ["ApiKeys", "create_api_key", "revoke_api_key"]

_REMEMBERED_SECONDS = 5.0
_REMEMBERED_KEYS = 1024


def create_api_key(connection: Connection, backend: str, *, clock: Clock = utc_now) -> str:
    """Make a key for a backend and return it; it cannot be shown again.

    Raises:
        InvalidValue: ``backend`` is not a name of 1 to 64 letters, digits, ``_``, ``.`` or ``-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", backend):
        raise InvalidValue("backend must be 1 to 64 letters, digits, '_', '.' or '-'")
    key = f"zjj_{secrets.token_urlsafe(32)}"
    connection.execute(
        insert(api_keys).values(
            id=new_id(), backend=backend, digest=_digest(key), created_at=clock()
        )
    )
    return key


def revoke_api_key(connection: Connection, key_id: str, *, clock: Clock = utc_now) -> bool:
    """Refuse a key from now on (running gateways notice within seconds)."""
    changed = connection.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=clock())
    )
    return changed.rowcount == 1


class ApiKeys:
    """Looks keys up, and remembers the answer for a few seconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[str, tuple[float, str | None]] = {}

    def backend_for(self, key: str) -> str | None:
        """The backend that a key belongs to, or None.

        The look-up is by digest of a 256-bit secret, so its timing tells nothing.

        Raises:
            sqlalchemy.exc.OperationalError: The database cannot be reached.
        """
        digest = _digest(key)
        known = self._seen.get(digest)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        with self._engine.connect() as connection:
            backend = connection.scalar(
                select(api_keys.c.backend).where(
                    api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None)
                )
            )
        if len(self._seen) >= _REMEMBERED_KEYS:
            self._seen.clear()
        self._seen[digest] = (time.monotonic() + _REMEMBERED_SECONDS, backend)
        return backend


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
