"""API keys of web backends: shown once, kept as digests, good for some things and not for others."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Engine, insert, select, update

from models.clock import Clock, utc_now
from models.database import answering
from models.errors import InvalidValue
from models.identifiers import new_id
from models.tables import api_keys

__all__ = [
    "ORDINARY_SCOPES",
    "ApiKey",
    "ApiKeys",
    "Scope",
    "checked_backend",
    "create_api_key",
    "list_api_keys",
    "revoke_api_key",
]

_REMEMBERED_SECONDS = 5.0
_REMEMBERED_KEYS = 1024


class Scope(StrEnum):
    """What a key may be used for; all but the last concern its own backend only."""

    ENQUEUE = "enqueue"
    """Hand something in."""
    READ = "read"
    """See and search jobs."""
    REPLAY = "replay"
    """Send settled jobs on their way again."""
    CANCEL = "cancel"
    """Cancel jobs that wait."""
    WEBHOOKS = "webhooks"
    """Say where the backend is told, and make the secrets that sign it."""
    OPERATE = "operate"
    """See, pause and resume queues and recipients, which all backends share."""


ORDINARY_SCOPES = frozenset({Scope.ENQUEUE, Scope.READ})
"""What a key may do unless more is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it may be shown: without its secret."""

    id: str
    backend: str
    scopes: frozenset[Scope]
    created_at: dt.datetime
    revoked_at: dt.datetime | None


def checked_backend(backend: str) -> str:
    """A name fit for a backend.

    Raises:
        InvalidValue: It is not 1 to 64 letters, digits, ``_``, ``.`` or ``-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", backend):
        raise InvalidValue("backend must be 1 to 64 letters, digits, '_', '.' or '-'")
    return backend


def create_api_key(
    connection: Connection,
    backend: str,
    *,
    scopes: Collection[Scope] = ORDINARY_SCOPES,
    clock: Clock = utc_now,
) -> str:
    """Make a key for a backend and return it; it cannot be shown again.

    Raises:
        InvalidValue: ``backend`` is not a name of 1 to 64 letters, digits, ``_``, ``.`` or ``-``,
            or there is no scope.
    """
    checked_backend(backend)
    if not scopes:
        raise InvalidValue("scopes: at least one is needed")
    key = f"zjj_{secrets.token_urlsafe(32)}"
    connection.execute(
        insert(api_keys).values(
            id=new_id(),
            backend=backend,
            digest=_digest(key),
            scopes=" ".join(scope for scope in Scope if scope in scopes),
            created_at=clock(),
        )
    )
    return key


def list_api_keys(connection: Connection) -> list[ApiKey]:
    """All keys, revoked ones too, oldest first."""
    rows = connection.execute(select(*_SHOWN).order_by(api_keys.c.id)).mappings()
    return [ApiKey(**{**row, "scopes": _scopes(row["scopes"])}) for row in rows]


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
        self._seen: dict[str, tuple[float, ApiKey | None]] = {}

    def find(self, key: str) -> ApiKey | None:
        """The key that this secret opens, or None.

        The look-up is by digest of a 256-bit secret, so its timing tells nothing.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        digest = _digest(key)
        known = self._seen.get(digest)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        found = self._look_up(digest)
        if len(self._seen) >= _REMEMBERED_KEYS:
            self._seen.clear()
        self._seen[digest] = (time.monotonic() + _REMEMBERED_SECONDS, found)
        return found

    def _look_up(self, digest: str) -> ApiKey | None:
        query = select(*_SHOWN).where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
        with answering(), self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else ApiKey(**{**row, "scopes": _scopes(row["scopes"])})


_SHOWN = tuple(api_keys.c[name] for name in ApiKey.__slots__)


def _scopes(text: str) -> frozenset[Scope]:
    """What was stored, as far as this release knows it."""
    return frozenset(scope for scope in Scope if scope in text.split())


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
