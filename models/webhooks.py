"""Endpoints of backends: where webhooks go, and the secrets that sign them.

A secret is encrypted with AES-256-GCM under a master key; endpoint, key id and the master key's
name are associated data, so it opens in its own place only.
"""

from __future__ import annotations

import base64
import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, RowMapping, bindparam, insert, select, update

from models.audits import Audit, write_audits
from models.clock import Clock, utc_now
from models.database import answering, writing
from models.errors import ConfigurationError, GiveUpError, NotFound
from models.identifiers import new_id
from models.keys import MasterKeys
from models.lanes import run_at_of_earlier
from models.tables import clipped, webhook_endpoints

__all__ = [
    "Endpoint",
    "Endpoints",
    "OpenEndpoint",
    "SigningKey",
    "add_endpoint",
    "change_endpoint",
    "disable_endpoint",
    "enable_endpoint",
    "find_endpoint",
    "list_endpoints",
    "rotate_secret",
    "signing_keys",
]

_SECRET_BYTES = 32
_PREFIX = "whsec_"
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a backend wants to be told."""

    id: str
    backend: str
    url: str
    events: tuple[str, ...]
    """Event types, or families as in ``payment.*``; ``*`` is all of them."""
    key_id: str
    previous_key_id: str | None
    previous_until: dt.datetime | None
    """Until then the secret before this one signs as well."""
    created_at: dt.datetime
    disabled_at: dt.datetime | None
    disabled_because: str | None

    def wants(self, event: str) -> bool:
        """Whether it is to hear of an event type."""
        family = f"{event.partition('.')[0]}.*"
        return not {"*", event, family}.isdisjoint(self.events)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An opened secret."""

    id: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenEndpoint:
    """Where to deliver, and what signs, the newest secret first."""

    url: str
    keys: tuple[SigningKey, ...]


class Endpoints:
    """What a worker needs to know while it delivers.

    Every method raises DatabaseUnavailable if the database does not answer.
    """

    def __init__(self, engine: Engine, master_keys: MasterKeys, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._master_keys = master_keys
        self._clock = clock

    def open(self, endpoint_id: str, *, backend: str) -> OpenEndpoint:
        """A backend's endpoint that is in use.

        Raises:
            GiveUpError: It is disabled, or the backend has none of that id.
            ConfigurationError: Its secret cannot be opened.
        """
        with answering(), self._engine.connect() as connection:
            endpoint = find_endpoint(connection, endpoint_id)
            if endpoint is None or endpoint.backend != backend or endpoint.disabled_at is not None:
                raise GiveUpError("the webhook endpoint is disabled", code="webhook.disabled")
            keys = signing_keys(connection, self._master_keys, endpoint_id, now=self._clock())
        return OpenEndpoint(endpoint.url, keys)

    def earlier(self, job_id: str) -> dt.datetime | None:
        """When the webhook is due that must be through before this one, if there is one."""
        with answering(), self._engine.connect() as connection:
            return run_at_of_earlier(connection, job_id)

    def disable(self, endpoint_id: str, because: str) -> None:
        """Deliver nothing there any more; a person may enable it again."""
        now = self._clock()
        with answering(), writing(self._engine) as connection:
            if disable_endpoint(connection, endpoint_id, because=because, now=now):
                audit = Audit(
                    at=now,
                    actor="worker",
                    action="webhook.disable",
                    target=endpoint_id,
                    reason=because,
                )
                write_audits(connection, audit)


def add_endpoint(
    connection: Connection,
    master_keys: MasterKeys,
    *,
    backend: str,
    url: str,
    events: Sequence[str],
    now: dt.datetime,
    endpoint_id: str | None = None,
) -> tuple[Endpoint, str]:
    """Store an endpoint; returns it and its secret, which nothing shows a second time."""
    endpoint_id = endpoint_id or new_id()
    values, secret = _new_secret(master_keys, endpoint_id)
    stored = connection.execute(
        insert(webhook_endpoints)
        .values(
            id=endpoint_id,
            backend=backend,
            url=url,
            events=list(events),
            created_at=now,
            **values,
        )
        .returning(*_SHOWN)
    )
    return _endpoint(stored.mappings().one()), secret


def change_endpoint(connection: Connection, endpoint_id: str, *, events: Sequence[str]) -> Endpoint:
    """Have an endpoint hear of these events and no others, and be in use; its secret stays.

    Raises:
        NotFound: There is no such endpoint.
    """
    changed = connection.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == endpoint_id)
        .values(events=list(events), disabled_at=None, disabled_because=None)
        .returning(*_SHOWN)
    )
    row = changed.mappings().one_or_none()
    if row is None:
        raise NotFound("there is no such webhook endpoint")
    return _endpoint(row)


def rotate_secret(
    connection: Connection,
    master_keys: MasterKeys,
    endpoint_id: str,
    *,
    previous_until: dt.datetime,
) -> tuple[Endpoint, str]:
    """Give an endpoint a new secret; the one before goes on signing beside it for a while.

    Raises:
        NotFound: There is no such endpoint.
    """
    values, secret = _new_secret(master_keys, endpoint_id)
    columns = webhook_endpoints.c
    changed = connection.execute(
        update(webhook_endpoints)
        .where(columns.id == endpoint_id)
        .values(
            previous_key_id=columns.key_id,
            previous_secret=columns.secret,
            previous_master_key=columns.master_key,
            previous_until=previous_until,
            **values,
        )
        .returning(*_SHOWN)
    )
    row = changed.mappings().one_or_none()
    if row is None:
        raise NotFound("there is no such webhook endpoint")
    return _endpoint(row), secret


def disable_endpoint(
    connection: Connection, endpoint_id: str, *, because: str, now: dt.datetime
) -> bool:
    """Send nothing there any more; False if there is no such endpoint, or it was disabled."""
    columns = webhook_endpoints.c
    return bool(
        connection.execute(
            update(webhook_endpoints)
            .where(columns.id == endpoint_id, columns.disabled_at.is_(None))
            .values(disabled_at=now, disabled_because=clipped(because))
        ).rowcount
    )


def enable_endpoint(connection: Connection, endpoint_id: str) -> bool:
    """Send there again; False if there is no such endpoint, or it was not disabled."""
    columns = webhook_endpoints.c
    return bool(
        connection.execute(
            update(webhook_endpoints)
            .where(columns.id == endpoint_id, columns.disabled_at.is_not(None))
            .values(disabled_at=None, disabled_because=None)
        ).rowcount
    )


def find_endpoint(connection: Connection, endpoint_id: str) -> Endpoint | None:
    """An endpoint by its id, also a disabled one."""
    found = connection.execute(select(*_SHOWN).where(webhook_endpoints.c.id == endpoint_id))
    row = found.mappings().one_or_none()
    return None if row is None else _endpoint(row)


def list_endpoints(connection: Connection, *, backend: str | None = None) -> list[Endpoint]:
    """Every endpoint, or one backend's, oldest first."""
    if backend is None:
        found = connection.execute(_ALL)
    else:
        found = connection.execute(_OF_BACKEND, {"backend": backend})
    return [_endpoint(row) for row in found.mappings()]


def signing_keys(
    connection: Connection, master_keys: MasterKeys, endpoint_id: str, *, now: dt.datetime
) -> tuple[SigningKey, ...]:
    """The secrets that sign for an endpoint now, the newest first.

    Raises:
        NotFound: There is no such endpoint.
        ConfigurationError: A master key is missing, or is not the one that sealed the secret.
    """
    row = connection.execute(
        select(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id)
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such webhook endpoint")
    keys = [(row.key_id, row.secret, row.master_key)]
    if row.previous_until is not None and row.previous_until > now:
        keys.append((row.previous_key_id, row.previous_secret, row.previous_master_key))
    return tuple(
        SigningKey(key_id, _open(master_keys, endpoint_id, key_id, sealed, master_key))
        for key_id, sealed, master_key in keys
    )


_SHOWN = tuple(
    webhook_endpoints.c[name]
    for name in (
        "id",
        "backend",
        "url",
        "events",
        "key_id",
        "previous_key_id",
        "previous_until",
        "created_at",
        "disabled_at",
        "disabled_because",
    )
)
_ALL = select(*_SHOWN).order_by(webhook_endpoints.c.created_at, webhook_endpoints.c.id)
_OF_BACKEND = _ALL.where(webhook_endpoints.c.backend == bindparam("backend"))


def _endpoint(row: RowMapping) -> Endpoint:
    return Endpoint(**{**row, "events": tuple(row["events"])})


def _new_secret(master_keys: MasterKeys, endpoint_id: str) -> tuple[dict[str, object], str]:
    """Columns of a fresh secret, and the secret as it is shown once."""
    key, key_id = secrets.token_bytes(_SECRET_BYTES), secrets.token_hex(4)
    master_key, nonce = master_keys.first, secrets.token_bytes(_NONCE_BYTES)
    identity = _identity(endpoint_id, key_id, master_key)
    sealed = nonce + AESGCM(master_keys.keys[master_key]).encrypt(nonce, key, identity)
    columns: dict[str, object] = {"key_id": key_id, "secret": sealed, "master_key": master_key}
    return columns, _PREFIX + base64.b64encode(key).decode()


def _open(
    master_keys: MasterKeys, endpoint_id: str, key_id: str, sealed: bytes, master_key: str
) -> bytes:
    key = master_keys.keys.get(master_key)
    if key is None:
        raise ConfigurationError(f"ZJJ_MASTER_KEYS lacks the key named {master_key!r}")
    identity = _identity(endpoint_id, key_id, master_key)
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], identity)
    except InvalidTag:
        raise ConfigurationError(
            f"the master key named {master_key!r} is not the one that sealed the webhook's secret"
        ) from None


def _identity(endpoint_id: str, key_id: str, master_key: str) -> bytes:
    return orjson.dumps(["webhook secret", endpoint_id, key_id, master_key])
