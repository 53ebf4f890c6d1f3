"""Payloads at rest: sealed, bound to their job, and forgotten with their bucket's key.

A payload is encrypted with AES-256-GCM under the data key of its retention bucket (a UTC day);
job id, kind and policy version are associated data, so a sealed payload opens only in its own
place. Data keys are wrapped by a master key. Destroying a bucket's key forgets every payload of
that day, also in copies of the table that were made without the keys: keep ``data_keys`` out of
backups that outlive the bucket (``docs/operations.md``).
"""

from __future__ import annotations

import datetime as dt
import secrets
import threading
from collections.abc import Mapping
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, select, update

from models.batches import insert_into, picked_once
from models.clock import Clock, utc_now
from models.database import writing
from models.errors import ConfigurationError, SealBroken
from models.keys import MasterKeys
from models.payloads import encode_payload
from models.tables import data_keys, jobs

__all__ = ["Sealer", "bucket_of", "destroy_bucket", "seal_identity"]

_FORMAT = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_SHORTEST = len(_FORMAT) + _NONCE_BYTES + _TAG_BYTES


def bucket_of(moment: dt.datetime) -> str:
    """The retention bucket that may be forgotten once ``moment`` has passed: its UTC day."""
    return moment.astimezone(dt.UTC).date().isoformat()


def seal_identity(job_id: str, kind: str, policy_version: str) -> bytes:
    """What a payload is bound to, as associated data."""
    return orjson.dumps([job_id, kind, policy_version])


class Sealer:
    """Seals and opens payloads; unwrapped data keys stay in memory only."""

    def __init__(self, engine: Engine, master_keys: MasterKeys, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._master_keys = master_keys
        self._clock = clock
        self._ciphers: dict[str, AESGCM] = {}
        self._lock = threading.Lock()

    def seal(
        self,
        payload: Mapping[str, object],
        *,
        identity: bytes,
        bucket: str,
        connection: Connection | None = None,
    ) -> bytes:
        """Encrypt a payload.

        Args:
            identity: From :func:`seal_identity`.
            bucket: From :func:`bucket_of`.
            connection: The caller's own transaction, if the job is stored in it. SQLite, where
                nobody else can write meanwhile, stores a new data key in it too.
        """
        cipher = self._cipher(bucket, connection)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORMAT + nonce + cipher.encrypt(nonce, encode_payload(payload), identity)

    def open(self, sealed: bytes, *, identity: bytes, bucket: str) -> dict[str, Any]:
        """Decrypt a payload.

        Raises:
            SealBroken: Altered, moved to another job, or its key is destroyed or unknown.
        """
        cipher = self._existing_cipher(bucket)
        if cipher is None:
            raise SealBroken("the key of the payload's bucket was destroyed", code="seal.forgotten")
        if sealed[:1] != _FORMAT or len(sealed) < _SHORTEST:
            raise SealBroken("the payload has a form that this version does not know")
        nonce, content = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            plain = cipher.decrypt(nonce, content, identity)
        except InvalidTag:
            raise SealBroken("the payload was altered or belongs to another job") from None
        opened: dict[str, Any] = orjson.loads(plain)
        return opened

    def forget(self, bucket: str) -> None:
        """Drop the key from memory, after :func:`destroy_bucket`."""
        with self._lock:
            self._ciphers.pop(bucket, None)

    def _existing_cipher(self, bucket: str) -> AESGCM | None:
        if cipher := self._ciphers.get(bucket):
            return cipher
        with self._engine.connect() as connection:
            key = self._load(connection, bucket)
        return None if key is None else self._remember(bucket, key)

    def _cipher(self, bucket: str, connection: Connection | None) -> AESGCM:
        if cipher := self._existing_cipher(bucket):
            return cipher
        if connection is not None and connection.dialect.name == "sqlite":
            # It may yet be rolled back, so this key is not relied on.
            return AESGCM(self._create(connection, bucket))
        # Not in the caller's transaction: until that ended, nobody else could seal.
        with writing(self._engine) as own:
            return self._remember(bucket, self._create(own, bucket))

    def _create(self, connection: Connection, bucket: str) -> bytes:
        key = secrets.token_bytes(32)
        name = self._master_keys.first
        nonce = secrets.token_bytes(_NONCE_BYTES)
        wrapped = nonce + AESGCM(self._master_keys.keys[name]).encrypt(
            nonce, key, _wrap_identity(bucket, name)
        )
        connection.execute(
            insert_into(connection.dialect.name, data_keys)
            .values(bucket=bucket, wrapped=wrapped, master_key=name, created_at=self._clock())
            .on_conflict_do_nothing()
        )
        stored = self._load(connection, bucket)
        if stored is None:
            raise SealBroken("the key of this bucket was already destroyed", code="seal.forgotten")
        return stored

    def _load(self, connection: Connection, bucket: str) -> bytes | None:
        row = connection.execute(
            select(data_keys.c.wrapped, data_keys.c.master_key).where(data_keys.c.bucket == bucket)
        ).one_or_none()
        if row is None or row.wrapped is None:
            return None
        master = self._master_keys.keys.get(row.master_key)
        if master is None:
            raise ConfigurationError(f"ZJJ_MASTER_KEYS lacks the key named {row.master_key!r}")
        nonce, content = row.wrapped[:_NONCE_BYTES], row.wrapped[_NONCE_BYTES:]
        try:
            return AESGCM(master).decrypt(nonce, content, _wrap_identity(bucket, row.master_key))
        except InvalidTag:
            raise ConfigurationError(
                f"the master key named {row.master_key!r} is not the one that wrapped the data keys"
            ) from None

    def _remember(self, bucket: str, key: bytes) -> AESGCM:
        today = bucket_of(self._clock())
        with self._lock:
            # Whoever destroys the key of a past day, it leaves this memory as well.
            for past in [known for known in self._ciphers if known < today]:
                del self._ciphers[past]
            return self._ciphers.setdefault(bucket, AESGCM(key))


def destroy_bucket(
    connection: Connection, bucket: str, *, now: dt.datetime, limit: int = 500
) -> int:
    """Destroy a bucket's data key at once, and the payloads under it in batches.

    Returns:
        How many payloads went. While that is ``limit`` there may be more; with the last batch the
        bucket is noted as destroyed.
    """
    unfinished = (data_keys.c.bucket == bucket) & data_keys.c.destroyed_at.is_(None)
    connection.execute(update(data_keys).where(unfinished).values(wrapped=None))
    held = select(jobs.c.id).where(jobs.c.bucket == bucket, jobs.c.sealed.is_not(None)).limit(limit)
    gone = connection.scalars(
        update(jobs)
        .where(picked_once(jobs.c.id, held))
        .values(sealed=None, updated_at=now)
        .returning(jobs.c.id)
    )
    erased = len(gone.all())
    if erased < limit:
        connection.execute(update(data_keys).where(unfinished).values(destroyed_at=now))
    return erased


def _wrap_identity(bucket: str, master_key: str) -> bytes:
    return orjson.dumps(["data key", bucket, master_key])
