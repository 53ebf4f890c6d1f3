"""Real-name checks with a memory: what is known already is answered without a disclosure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from integrations.aliyun import AliyunIdentity, CheckedIdentity, IdentityVerdict
from integrations.aliyun.identity_codes import PERSON_THROTTLED
from models.clock import Clock, utc_now
from models.consents import obstacle
from models.database import answering, writing
from models.errors import GiveUpError, WaitError
from models.identities import (
    IdentityRecord,
    KeepVerdict,
    Questions,
    find_verdict,
    questions_about,
)
from models.pii import IdNumber
from models.pseudonyms import Pseudonyms
from models.turns import take_turn
from tasks.face_verification import FACE_VERIFICATION
from tasks.identity_check import IDENTITY_CHECK, is_child
from workers.settings import Settings
from workers.sms_outlet import aliyun_credentials

if TYPE_CHECKING:
    from integrations.gate import Gate
    from models.attempts import Attempt
    from models.disclosures import Disclosure

__all__ = ["IdentityChecks", "IdentityRules", "PersonLimit", "open_identity_checks"]

_DAY = dt.timedelta(days=1)
_COUNTED = (
    "aliyun.identity.two_factor",
    "aliyun.identity.three_factor",
    "aliyun.face.begin",
)
_ASKING = (IDENTITY_CHECK.kind, FACE_VERIFICATION.kind)
_FACTORS = ("name", "id_number")
_TURN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """What the company has decided about real-name checks."""

    valid: dt.timedelta
    """For so long a verdict answers the same question again."""
    daily: int
    """Disclosures about one person in any 24 hours."""


class PersonLimit:
    """How often one person may be asked about, whoever asks and in whichever way.

    One job at a time: who counts in its turn, or looks for a verdict, sees all of those before.

    Args:
        daily: Disclosures about one person in any 24 hours.
    """

    def __init__(self, engine: Engine, daily: int, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._daily = daily
        self._clock = clock

    def take_turn(self, attempt: Attempt) -> None:
        """Pass if no other job is asking about the person; until its settle none will.

        Raises:
            WaitError: Another one is, or the claim is lost.
            DatabaseUnavailable: Nobody knows.
        """
        with answering(), writing(self._engine) as connection:
            taken = take_turn(
                connection,
                attempt.job_id,
                fence=attempt.fence,
                subject=attempt.subject or "",
                kinds=_ASKING,
            )
        if not taken:
            raise WaitError(
                "another job is asking about this person",
                code="identity.in_progress",
                retry_after=_TURN_SECONDS,
            )

    def check(self, attempt: Attempt) -> None:
        """Pass if the person of an attempt, whose turn it is, may be asked about once more.

        Raises:
            GiveUpError: Enough was asked about this person today, by us or in Aliyun's eyes.
            DatabaseUnavailable: Nobody knows.
        """
        questions = self._questions(attempt.subject or "")
        if questions.answered_with:
            raise GiveUpError(
                "Aliyun wants to hear nothing more about this person today",
                code="identity.person_throttled",
            )
        if questions.asked >= self._daily:
            raise GiveUpError("this person was checked often enough", code="identity.daily_limit")

    def _questions(self, subject: str) -> Questions:
        with answering(), self._engine.connect() as connection:
            return questions_about(
                connection,
                subject,
                _COUNTED,
                code=PERSON_THROTTLED,
                since=self._clock() - _DAY,
            )


class IdentityChecks:
    """Asks Aliyun, unless the answer is on record or the person was asked about too often."""

    def __init__(
        self,
        provider: AliyunIdentity,
        engine: Engine,
        pseudonyms: Pseudonyms,
        rules: IdentityRules,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._provider = provider
        self._limit = PersonLimit(engine, rules.daily, clock=clock)
        self._engine = engine
        self._pseudonyms = pseudonyms
        self._rules = rules
        self._clock = clock

    def remembered(self, attempt: Attempt, *, with_phone: bool) -> IdentityRecord | None:
        """The verdict on record for exactly these fields, if it is still valid.

        None also where a disclosure would be withheld: without a consent that stands, no answer.
        After None it is this job's turn to ask.

        Raises:
            DeniedError: A disclosure would be denied now.
            WaitError: Another job is asking about the person, and maybe the same.
            DatabaseUnavailable: Nobody knows; nothing was sent.
        """
        permitted = self._provider.permit(attempt, with_phone=with_phone)
        fingerprint = self._fingerprint(attempt, with_phone=with_phone)
        record = self._look_up(permitted, fingerprint)
        if record is None:
            self._limit.take_turn(attempt)
            record = self._look_up(permitted, fingerprint)
        return record

    def _look_up(self, permitted: Disclosure, fingerprint: str) -> IdentityRecord | None:
        with answering(), self._engine.connect() as connection:
            reason = obstacle(
                connection,
                permitted.demands,
                job_id=permitted.job_id,
                subject=permitted.subject,
                purpose=permitted.purpose,
                policy_version=permitted.policy_version,
            )
            if reason is not None:
                # The gate will refuse for the same reason, and put that on record.
                return None
            now = self._clock()
            record = find_verdict(connection, fingerprint, since=now - self._rules.valid)
        return record if record is not None and self._holds(record, now) else None

    def _holds(self, record: IdentityRecord, now: dt.datetime) -> bool:
        # Who is in no record today may be in one tomorrow, and asking has cost nothing.
        return record.verdict != IdentityVerdict.NO_RECORD or record.at >= now - _DAY

    def check(self, attempt: Attempt, *, with_phone: bool) -> CheckedIdentity:
        """Ask Aliyun once; :meth:`remembered` has taken the turn.

        Raises:
            GiveUpError: Enough was asked about this person today, by us or in Aliyun's eyes.
            ZjjError: As :meth:`integrations.aliyun.AliyunIdentity.check`.
        """
        self._limit.check(attempt)
        return self._provider.check(attempt, with_phone=with_phone)

    def keep(self, attempt: Attempt, checked: CheckedIdentity, *, with_phone: bool) -> KeepVerdict:
        """What of a verdict stays, to be stored with the settle."""
        return KeepVerdict(
            IdentityRecord(
                fingerprint=self._fingerprint(attempt, with_phone=with_phone),
                verdict=checked.verdict,
                at=self._clock(),
                subject=attempt.subject or "",
                backend=attempt.backend,
                consent_ref=attempt.consent_ref or "",
                guardian_ref=self._guardian_of(attempt),
                provider_request_id=checked.provider_request_id,
                job_id=attempt.job_id,
            )
        )

    def _guardian_of(self, attempt: Attempt) -> str | None:
        """The guardian's consent that a check has rested on."""
        number = attempt.held["id_number"]
        needed = isinstance(number, IdNumber) and is_child(number, self._clock())
        return attempt.guardian_ref if needed else None

    def _fingerprint(self, attempt: Attempt, *, with_phone: bool) -> str:
        factors = (*_FACTORS, "phone") if with_phone else _FACTORS
        held = {name: attempt.held[name] for name in factors}
        return self._pseudonyms.fingerprint("identity verdict", held)


def open_identity_checks(gate: Gate, engine: Engine, settings: Settings) -> IdentityChecks:
    """Assemble them from settings.

    Raises:
        ConfigurationError: A credential is missing, or the policy lacks the operations.
    """
    return IdentityChecks(
        AliyunIdentity(gate, aliyun_credentials(settings)),
        engine,
        Pseudonyms(settings.pseudonym),
        IdentityRules(
            valid=dt.timedelta(days=settings.identity_valid_days),
            daily=settings.identity_daily_limit,
        ),
    )
