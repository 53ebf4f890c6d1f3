"""Face verification: its two questions to Aliyun, and the callback between them."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from integrations.aliyun.face import AliyunFace
from models.clock import Clock, utc_now
from models.database import answering, writing
from models.errors import ConfigurationError
from models.face_verifications import BegunFace, hasten_verdict
from models.identifiers import new_id
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from tasks.face_verification import FIRST_QUESTION, FaceResult
from tasks.preparation import Preparation
from workers.identities import PersonLimit
from workers.settings import Settings
from workers.sms_outlet import aliyun_credentials

if TYPE_CHECKING:
    from integrations.aliyun.identity import CheckedIdentity
    from integrations.gate import Gate
    from models.attempts import Attempt

__all__ = ["FACE_CALLBACK", "FaceCallbacks", "Faces", "open_faces"]

FACE_CALLBACK = "/v1/callbacks/aliyun-face"


class Faces:
    """Begins verifications and asks what came of them.

    Args:
        callback_url: The gateway's public address of :data:`FACE_CALLBACK`.
        limit: How often one person may be asked about.
    """

    def __init__(
        self,
        provider: AliyunFace,
        preparation: Preparation,
        pseudonyms: Pseudonyms,
        limit: PersonLimit,
        *,
        callback_url: str,
        clock: Clock = utc_now,
    ) -> None:
        self._provider = provider
        self._preparation = preparation
        self._pseudonyms = pseudonyms
        self._limit = limit
        self._callback_url = callback_url
        self._clock = clock

    def begin(self, attempt: Attempt) -> BegunFace:
        """Open one at Aliyun, and prepare the job that asks for the verdict.

        Raises:
            GiveUpError: Enough was asked about this person today, by us or in Aliyun's eyes.
            WaitError: Another job is asking about the person.
            ZjjError: As :meth:`integrations.aliyun.face.AliyunFace.begin`.
        """
        self._limit.take_turn(attempt)
        self._limit.check(attempt)
        certify_id = self._provider.begin(
            attempt,
            order_no=new_id(),
            callback_url=f"{self._callback_url}/{attempt.job_id}",
            callback_token=_token(self._pseudonyms, attempt.job_id),
        )
        held = {name: attempt.held.get(name) for name in ("consent_ref", "guardian_ref", "user")}
        job = self._preparation.prepare(
            FaceResult.model_validate({"certify_id": certify_id, **held}),
            backend=attempt.backend,
            run_at=self._clock() + FIRST_QUESTION,
        )
        return BegunFace(certify_id, replace(job, subject=attempt.subject))

    def verdict(self, attempt: Attempt) -> CheckedIdentity | None:
        """See :meth:`integrations.aliyun.face.AliyunFace.verdict`."""
        return self._provider.verdict(attempt)


class FaceCallbacks:
    """Takes callbacks for what they are: hints that it is time to ask.

    They are not signed. Each verification has a token of its own, which only Aliyun is told and
    which is not stored: the key makes it again.
    """

    def __init__(self, engine: Engine, pseudonyms: Pseudonyms, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._pseudonyms = pseudonyms
        self._clock = clock

    def knows(self, job_id: str, token: str) -> bool:
        """Whether the token is that of the verification which a job began."""
        ours = _token(self._pseudonyms, job_id)
        return hmac.compare_digest(ours.encode(), token.encode())

    def hear(self, job_id: str) -> bool:
        """Have the verdict asked for now; False if the verification is not known yet.

        Raises:
            DatabaseUnavailable: Nothing was stored.
        """
        with answering(), writing(self._engine) as connection:
            return hasten_verdict(connection, job_id, now=self._clock())

    async def hear_async(self, job_id: str) -> bool:
        """:meth:`hear` for an event loop."""
        return await asyncio.to_thread(self.hear, job_id)


def open_faces(gate: Gate, engine: Engine, settings: Settings) -> Faces | None:
    """Assemble it from settings; None while it is switched off.

    Raises:
        ConfigurationError: A setting is missing, or the policy lacks the operations.
    """
    if not settings.face_verification:
        return None
    scene_id, url = settings.aliyun_face_scene_id, settings.face_callback_url
    if settings.uses_sandbox:
        from integrations.sandbox.cloudauth import SAMPLE_SCENE

        scene_id, url = scene_id or SAMPLE_SCENE, url or f"https://sandbox.example{FACE_CALLBACK}"
    if scene_id is None or url is None:
        raise ConfigurationError(
            "face verification needs ZJJ_ALIYUN_FACE_SCENE_ID and ZJJ_FACE_CALLBACK_URL"
        )
    pseudonyms = Pseudonyms(settings.pseudonym)
    sealer = Sealer(engine, settings.keys)
    return Faces(
        AliyunFace(gate, aliyun_credentials(settings), scene_id=scene_id),
        Preparation(sealer, pseudonyms, policy_version=gate.policy.version),
        pseudonyms,
        PersonLimit(engine, settings.identity_daily_limit),
        callback_url=url,
    )


def _token(pseudonyms: Pseudonyms, job_id: str) -> str:
    return pseudonyms.fingerprint("face callback", {"job_id": job_id})[:32]
