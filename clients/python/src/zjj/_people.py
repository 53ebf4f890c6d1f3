"""What else there is about people: masks for a profile page, and face verification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from zjj._conversation import Conversation, Request, exchange, reader, verify_face
from zjj._jobs import Job
from zjj._run import AsyncRun, Run

__all__ = [
    "AsyncFaceVerifications",
    "AsyncMasks",
    "FaceVerifications",
    "Masked",
    "Masks",
]


@dataclass(frozen=True)
class Masked:
    """What a profile page may show; None for what was not given."""

    phone: str | None
    id_number: str | None
    name: str | None


class Masks:
    """``client.masks``."""

    def __init__(self, run: Run, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    def show(
        self, *, phone: str | None = None, id_number: str | None = None, name: str | None = None
    ) -> Masked:
        """Mask values for showing: ``164****1234``, ``9****************X``, ``张*``.

        Raises:
            InvalidRequestError: A value is none, or none is given.
            AuthenticationError: The API key is not accepted.
            RetryError: The gateway cannot be reached.
        """
        return self._run(_mask(phone, id_number, name, self._attempts))


class FaceVerifications:
    """``client.face_verifications``; the gateway knows them only where its policy permits them."""

    def __init__(self, run: Run, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    def start(
        self,
        *,
        name: str,
        id_number: str,
        meta_info: str,
        consent_ref: str,
        user: str,
        guardian_ref: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Begin to verify a face.

        Once the job has succeeded, ``job.result["certify_id"]`` is for the app's SDK, and the
        verdict will stand in the result of the job ``job.result["verdict_job"]``.

        Args:
            name: As on the identity card.
            id_number: 18 characters.
            meta_info: What Aliyun's SDK in the app says about the phone, as it is.
            consent_ref: The separate consent that you have recorded.
            user: Your own opaque id for the person; never leaves the company.
            guardian_ref: A guardian's consent, for a person under 14.
            idempotency_key: As for :meth:`SmsCodes.send`.

        Raises:
            InvalidRequestError: A field is wrong; nothing was stored.
            UnexpectedReplyError: The gateway verifies no faces, so it has no such address.
            ConflictError: The key was used for something else.
            AuthenticationError: The API key is not accepted.
            RetryError: Not accepted now; ``error.idempotency_key`` is the key to use again.
        """
        body = {
            "name": name,
            "id_number": id_number,
            "meta_info": meta_info,
            "consent_ref": consent_ref,
            "user": user,
            "guardian_ref": guardian_ref,
        }
        return self._run(
            verify_face(body, idempotency_key=idempotency_key, attempts=self._attempts)
        )


class AsyncMasks:
    """``client.masks``."""

    def __init__(self, run: AsyncRun, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    async def show(
        self, *, phone: str | None = None, id_number: str | None = None, name: str | None = None
    ) -> Masked:
        """As :meth:`Masks.show`."""
        return await self._run(_mask(phone, id_number, name, self._attempts))


class AsyncFaceVerifications:
    """``client.face_verifications``."""

    def __init__(self, run: AsyncRun, attempts: int) -> None:
        self._run = run
        self._attempts = attempts

    async def start(
        self,
        *,
        name: str,
        id_number: str,
        meta_info: str,
        consent_ref: str,
        user: str,
        guardian_ref: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """As :meth:`FaceVerifications.start`."""
        body = {
            "name": name,
            "id_number": id_number,
            "meta_info": meta_info,
            "consent_ref": consent_ref,
            "user": user,
            "guardian_ref": guardian_ref,
        }
        return await self._run(
            verify_face(body, idempotency_key=idempotency_key, attempts=self._attempts)
        )


def _mask(
    phone: str | None, id_number: str | None, name: str | None, attempts: int
) -> Conversation[Masked]:
    given = {"phone": phone, "id_number": id_number, "name": name}
    body = {field: text for field, text in given.items() if text is not None}
    request = Request(
        method="POST",
        path="/v1/masks",
        headers={"Content-Type": "application/json"},
        content=json.dumps(body).encode("ascii"),
    )
    return exchange(request, attempts, reader(_masked))


def _masked(document: Mapping[str, object]) -> Masked:
    texts = [document[name] for name in ("phone", "id_number", "name")]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise TypeError("no mask")
    return Masked(*(None if text is None else str(text) for text in texts))
