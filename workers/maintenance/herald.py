"""Tells backends how their jobs have ended."""

from __future__ import annotations

import re
from typing import get_args

from sqlalchemy import Engine

from models.database import writing
from models.endings import Ending, any_unannounced, take_unannounced
from models.jobs import insert_jobs
from tasks.announcements import Announcement, VerdictName
from tasks.registry import told
from workers.dispatch import Dispatcher
from workers.webhooks import Announcer

__all__ = ["Herald"]

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,159}", re.ASCII)
_VERDICTS: frozenset[str] = frozenset(get_args(VerdictName))


class Herald:
    """Makes webhooks of ends that have not been told, in the transaction that counts them as told.

    Also ``unknown`` is an end, until its outcome is known: the backend hears of both, in order.
    """

    name = "herald"
    interval = 0.5

    def __init__(self, engine: Engine, announcer: Announcer, dispatcher: Dispatcher) -> None:
        self._engine = engine
        self._announcer = announcer
        self._dispatcher = dispatcher

    def round(self) -> int:
        """Announce a batch; returns how many jobs it told of."""
        with self._engine.connect() as connection:
            if not any_unannounced(connection):
                return 0
        with writing(self._engine) as connection:
            endings = take_unannounced(connection)
            webhooks = [
                webhook
                for ending in endings
                for webhook in self._announcer.prepare(
                    ending.backend, _announcement(ending), connection
                )
            ]
            if webhooks:
                insert_jobs(connection, webhooks)
        for webhook in webhooks:
            self._dispatcher.ring(webhook.id, webhook.queue)
        return len(endings)


def _announcement(ending: Ending) -> Announcement:
    reason = ending.reason
    if reason is not None and not _CODE.fullmatch(reason):
        reason = "other"
    known = {} if ending.verdict is None else {"verdict": ending.verdict}
    verdict = told(ending.kind, ending.state, known).get("verdict")
    return Announcement.model_validate(
        {
            "event": "job.settled",
            "occurred_at": ending.at,
            "ordering_key": ending.job_id,
            "job_id": ending.job_id,
            "kind": ending.kind,
            "status": ending.state,
            "reason_code": reason,
            "verdict": verdict if verdict in _VERDICTS else None,
        }
    )
