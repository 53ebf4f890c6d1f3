"""Pushes, each under one cid of its own: fetched once, kept with the job, never used after its day.

docs.jiguang.cn, JPush, "REST API v3", 推送 API, cid: valid for one day; a repeated push under it gets
the first success again.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, get_args

from sqlalchemy import Engine

from integrations.jiguang import JiguangCredentials, JPush, load_notices
from integrations.jiguang.push import CID_WAITS
from models.clock import Clock, utc_now
from models.database import answering, writing
from models.errors import ConfigurationError, UnknownOutcomeError
from models.push_cids import CIDS_KEPT, PushCid, find_cid, keep_cid, was_ever_unclear
from tasks.push import Notice
from workers.settings import Settings

if TYPE_CHECKING:
    from integrations.gate import Gate
    from integrations.receipt import Receipt
    from models.attempts import Attempt

__all__ = ["CID_EXPIRED", "Pushes", "open_pushes"]

CID_EXPIRED = "push.cid_expired"
"""Reason code: nobody can repeat the push without risking a second one; a person decides."""

_DAY = dt.timedelta(days=1)
_USABLE = _DAY - dt.timedelta(minutes=10)
"""Clocks differ, and a request takes its time."""


class Pushes:
    """Pushes through Jiguang.

    Args:
        provider: None if it is not configured.
        engine: Where cids are kept.
    """

    def __init__(self, provider: JPush | None, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._provider = provider
        self._engine = engine
        self._clock = clock

    def push(self, attempt: Attempt) -> Receipt:
        """Push the attempt's notice, as often as it is called under one and the same cid.

        A push of which it is certain that it has not been made, and that had to wait longer than
        its cid protects, gets another.

        Raises:
            UnknownOutcomeError: Among the provider's own reasons, the cid is past its day.
            ConfigurationError: Jiguang is not configured.
            DatabaseUnavailable: The cid could not be kept; nothing was pushed.
            ZjjError: As :meth:`integrations.jiguang.JPush.push` and ``new_cid``.
        """
        provider = self._configured()
        kept = self._find(attempt.reference)
        if kept is not None and self._is_spent(kept):
            with answering(), self._engine.connect() as connection:
                if was_ever_unclear(connection, attempt.job_id):
                    raise _expired()
            kept = None
        kept = kept or self._keep(provider, attempt)
        return provider.push(attempt, kept.cid)

    def push_again(self, attempt: Attempt, sent_at: dt.datetime) -> Receipt | None:
        """Repeat a push that may have left, under its cid; None if it cannot have left.

        Args:
            sent_at: When the job disclosed something last.

        Raises:
            ZjjError: As :meth:`push`.
        """
        provider = self._configured()
        if kept := self._find(attempt.reference):
            if self._is_spent(kept):
                raise _expired()
            return provider.push(attempt, kept.cid)
        if self._clock() - sent_at >= CIDS_KEPT - _DAY:
            # It may have had one that is forgotten.
            raise _expired()
        return None

    def _configured(self) -> JPush:
        if self._provider is None:
            raise ConfigurationError("ZJJ_JPUSH_APP_KEY is not set", code="push.not_configured")
        return self._provider

    def _is_spent(self, kept: PushCid) -> bool:
        return self._clock() - kept.issued_at >= _USABLE

    def _find(self, reference: str) -> PushCid | None:
        with answering(), self._engine.connect() as connection:
            return find_cid(connection, reference)

    def _keep(self, provider: JPush, attempt: Attempt) -> PushCid:
        # A pooled one may be so old already.
        issued_at = self._clock() - dt.timedelta(seconds=CID_WAITS)
        cid = provider.new_cid(attempt)
        made = PushCid(
            reference=attempt.reference, job_id=attempt.job_id, cid=cid, issued_at=issued_at
        )
        with answering(), writing(self._engine) as connection:
            return keep_cid(connection, made, spent_before=self._clock() - _USABLE)


def _expired() -> UnknownOutcomeError:
    return UnknownOutcomeError(
        "the push may have left under a key that protects no longer", code=CID_EXPIRED
    )


def open_pushes(gate: Gate, engine: Engine, settings: Settings) -> Pushes:
    """Assemble them from settings.

    Raises:
        ConfigurationError: A credential is missing or malformed, or a wording is not allowed.
    """
    notices = load_notices(gate.policy, get_args(Notice))
    credentials = _credentials(settings)
    provider = None if credentials is None else JPush(gate, credentials, notices)
    return Pushes(provider, engine)


def _credentials(settings: Settings) -> JiguangCredentials | None:
    if settings.uses_sandbox:
        from integrations.sandbox import jiguang_key

        return JiguangCredentials(jiguang_key.APP_KEY, jiguang_key.MASTER_SECRET)
    key, secret = settings.jpush_app_key, settings.jpush_master_secret
    if key is None and secret is None:
        return None
    if key is None or secret is None:
        raise ConfigurationError("JPush needs ZJJ_JPUSH_APP_KEY and ZJJ_JPUSH_MASTER_SECRET")
    return JiguangCredentials(key, secret.get_secret_value())
