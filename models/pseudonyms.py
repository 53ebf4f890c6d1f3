"""Keyed digests: equal things can be recognised, nothing can be read back.

Plain hashes of phone numbers are reversible by enumeration, so every digest here is an
HMAC-SHA256 under a key that never enters the database.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from models.keys import derive_key
from models.payloads import encode_payload
from models.pii import Personal, Phone, VerificationCode, reveal

__all__ = ["Pseudonyms"]


class Pseudonyms:
    """Digests for subjects, idempotency keys and payloads, each under its own key."""

    def __init__(self, key: bytes) -> None:
        self._subject = derive_key(key, "subject")
        self._idempotency = derive_key(key, "idempotency key")
        self._fingerprint = derive_key(key, "payload fingerprint")
        self._code = derive_key(key, "verification code")
        self._limit = derive_key(key, "limit")

    def subject(self, value: Personal) -> str:
        """The pseudonym under which a person's jobs and disclosures are found again."""
        return _digest(self._subject, f"{value.category}\n{reveal(value)}".encode())

    def user(self, backend: str, user: str) -> str:
        """The pseudonym of a backend's own id for a person; another backend's is another's."""
        return _digest(self._subject, f"user\n{backend}\n{user}".encode())

    def idempotency_key(self, backend: str, kind: str, key: str) -> str:
        """Digest of a caller's key, which might itself carry something personal."""
        return _digest(self._idempotency, f"{backend}\n{kind}\n{key}".encode())

    def fingerprint(self, kind: str, payload: Mapping[str, object]) -> str:
        """Digest of a payload: tells whether a repeated key came with the same content."""
        return _digest(self._fingerprint, kind.encode() + b"\n" + encode_payload(payload))

    def code_place(self, backend: str, scene: str, phone: Phone) -> str:
        """Where the one live code of a phone, scene and backend is found."""
        return _digest(self._code, f"place\n{backend}\n{scene}\n{reveal(phone)}".encode())

    def code(self, place: str, job_id: str, code: VerificationCode) -> str:
        """Digest of a code, good in its place and for its sending alone."""
        return _digest(self._code, f"code\n{place}\n{job_id}\n{reveal(code)}".encode())

    def limit(self, name: str, *parts: str) -> str:
        """The key of a limit; ``parts`` may be personal."""
        return _digest(self._limit, "\n".join((name, *parts)).encode())


def _digest(key: bytes, content: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()
