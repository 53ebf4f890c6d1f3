"""The way in, assembled: what a process needs to accept jobs, and nothing of the way out."""

from __future__ import annotations

import atexit
import datetime as dt
import os
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Engine

from models.database import open_database
from models.group_commit import GroupCommit
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from tasks.face_verification import FACE_KINDS
from tasks.preparation import Preparation
from workers.codes import CodeService
from workers.consents import Consents
from workers.desk import Desk
from workers.dispatch import Dispatcher, connect_redis
from workers.erasure import Erasure
from workers.limits import Limiter, Shield
from workers.login_phones import LoginPhones
from workers.published import open_policy
from workers.replays import Replays
from workers.service import JobService
from workers.settings import Settings, load_settings
from workers.sms_limits import SmsLimits

__all__ = ["Entrance", "open_entrance", "shared_entrance"]

_SHIELD_SECONDS = 0.2
"""Longer than that a refusal that Redis remembers is not worth waiting for."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """An open way in; close it so that nothing handed in is left behind."""

    engine: Engine
    commits: GroupCommit
    sealer: Sealer
    pseudonyms: Pseudonyms
    dispatcher: Dispatcher
    preparation: Preparation
    service: JobService
    consents: Consents
    erasure: Erasure
    codes: CodeService
    limiter: Limiter
    shield: Shield
    phones: LoginPhones
    desk: Desk

    def close(self) -> None:
        """Store and dispatch what was handed in, then let go of the connections."""
        self.commits.close()
        self.dispatcher.close()
        self.shield.close()
        self.engine.dispose()


def open_entrance(settings: Settings) -> Entrance:
    """Open database and dispatcher; nothing is connected before it is needed.

    Raises:
        ConfigurationError: A setting or the policy is wrong.
    """
    policy = open_policy(settings)
    engine = open_database(settings.database)
    sealer = Sealer(engine, settings.keys)
    pseudonyms = Pseudonyms(settings.pseudonym)
    commits = GroupCommit(engine)
    dispatcher = Dispatcher(connect_redis(settings.redis), engine)
    shield = Shield(connect_redis(settings.redis, answer_seconds=_SHIELD_SECONDS))
    preparation = Preparation(
        sealer,
        pseudonyms,
        policy_version=policy.version,
        closed=() if settings.face_verification else FACE_KINDS,
    )
    limits = SmsLimits.from_settings(settings, pseudonyms)
    service = JobService(engine, commits, preparation, dispatcher, limits=limits, shield=shield)
    return Entrance(
        engine=engine,
        commits=commits,
        sealer=sealer,
        pseudonyms=pseudonyms,
        dispatcher=dispatcher,
        preparation=preparation,
        consents=Consents(engine, pseudonyms, policy),
        erasure=Erasure(engine, policy),
        service=service,
        codes=CodeService(
            service,
            commits,
            pseudonyms,
            lifetime=dt.timedelta(seconds=settings.code_seconds),
            attempts=settings.code_attempts,
        ),
        limiter=Limiter(commits, pseudonyms, shield),
        shield=shield,
        phones=LoginPhones(engine, sealer),
        desk=Desk(
            engine, pseudonyms, Replays(engine, sealer, policy, roads=settings.sms_roads), policy
        ),
    )


def shared_entrance() -> Entrance:
    """This process's own entrance, by the environment: opened when first asked for, closed at exit.

    Raises:
        ConfigurationError: A setting or the policy is wrong.
    """
    return _entrance_of(os.getpid())


@cache
def _entrance_of(_pid: int) -> Entrance:
    """Another one after a fork, which threads and connections do not survive."""
    entrance = open_entrance(load_settings())
    atexit.register(entrance.close)
    return entrance
