"""Erasing one person: what waits is cancelled, and whatever may be forgotten is."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, Engine

from integrations.policy import Policy
from models.audits import Audit, write_audits
from models.clock import Clock, utc_now
from models.database import WRITES, answering
from models.identifiers import new_id
from models.job_search import JobFilter
from models.people import Forgotten, forget_person
from models.replays import cancel_jobs
from workers.consents import duties
from workers.replays import checked_reason

__all__ = ["Erasure"]

_ERASED = "erased"


class Erasure:
    """Answers whoever wants to be forgotten (PIPL 47).

    Args:
        policy: Tells legal duties, which are not cancelled, from the rest.
    """

    def __init__(self, engine: Engine, policy: Policy, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._policy = policy
        self._clock = clock

    def erase(self, person: str, *, actor: str, reason: str, dry_run: bool = False) -> Forgotten:
        """Forget a person, with an audit that does not say whom.

        Args:
            person: A pseudonym.
            dry_run: Only tell what it would come to.

        Raises:
            InvalidValue: The reason is empty, too long, or holds something personal.
            DatabaseUnavailable: Nothing is erased.
        """
        reason = checked_reason(reason)
        with answering(), self._engine.connect().execution_options(**WRITES) as connection:
            erased = self._erase(connection, person, actor, reason)
            if not dry_run:
                connection.commit()
        return erased

    def _erase(self, connection: Connection, person: str, actor: str, reason: str) -> Forgotten:
        now = self._clock()
        while cancel_jobs(
            connection,
            JobFilter(subject=person),
            actor=actor,
            reason=reason,
            now=now,
            code=_ERASED,
            spared=duties(self._policy),
        ):
            pass
        erased = forget_person(connection, person, now=now)
        write_audits(
            connection,
            Audit(
                at=now,
                actor=actor,
                action="person.erase",
                target=new_id(),
                reason=reason,
                detail=asdict(erased),
            ),
        )
        return erased
