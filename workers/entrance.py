"""The way in, assembled: what a process needs to accept jobs, and nothing of the way out."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from models.database import open_database
from models.group_commit import GroupCommit
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from tasks.preparation import Preparation
from workers.consents import Consents
from workers.dispatch import Dispatcher, connect_redis
from workers.published import open_policy
from workers.service import JobService
from workers.settings import Settings

__all__ = ["Entrance", "open_entrance"]


@dataclass(frozen=True, slots=True)
class Entrance:
    """An open way in; close it so that nothing handed in is left behind."""

    engine: Engine
    commits: GroupCommit
    sealer: Sealer
    pseudonyms: Pseudonyms
    dispatcher: Dispatcher
    service: JobService
    consents: Consents

    def close(self) -> None:
        """Store and dispatch what was handed in, then let go of the connections."""
        self.commits.close()
        self.dispatcher.close()
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
    preparation = Preparation(sealer, pseudonyms, policy_version=policy.version)
    return Entrance(
        engine=engine,
        commits=commits,
        sealer=sealer,
        pseudonyms=pseudonyms,
        dispatcher=dispatcher,
        service=JobService(engine, commits, preparation, dispatcher),
        consents=Consents(engine, pseudonyms, policy),
    )
