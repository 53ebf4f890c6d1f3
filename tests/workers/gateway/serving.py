"""A gateway on loopback: real server, real database, in a thread of the test process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from sqlalchemy import Engine

from integrations.destinations import OwnHosts
from integrations.policy import load_policy
from models.api_keys import ApiKeys, Scope, create_api_key
from models.database import WRITES, is_current, migrate, open_database
from models.group_commit import GroupCommit
from models.keys import MasterKeys, generate_key
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from tasks.preparation import Preparation
from workers.codes import CodeService
from workers.consents import Consents
from workers.deliveries import DeliveryReports
from workers.desk import Desk
from workers.dispatch import Dispatcher, connect_redis
from workers.endpoints import EndpointRegister
from workers.gateway import Dependency, create_gateway, gateway_server
from workers.gateway.logins import LoginDoor
from workers.gateway.sms_receipts import SmsReceipts
from workers.limits import Shield
from workers.login_phones import LoginPhones
from workers.merchants import Merchants
from workers.payments import PaymentService
from workers.replays import Replays
from workers.service import JobService
from workers.settings import Settings
from workers.sms_limits import SmsLimits

__all__ = [
    "NO_REDIS",
    "PSEUDONYMS",
    "RECEIPT_SECRET",
    "SHOP_HOST",
    "Gateway",
    "requests_in",
    "serve_gateway",
]

NO_REDIS = "redis://127.0.0.1:1/0"
"""Nobody listens on port 1."""
PSEUDONYMS = Pseudonyms(b"p" * 32)
RECEIPT_SECRET = "r" * 32
SHOP_HOST = "shop.example.com"
"""Where webhooks may be sent."""


_KEYS = MasterKeys.parse("test:" + generate_key())


@dataclass(frozen=True)
class Gateway:
    """A running gateway and what a test needs to look behind it."""

    url: str
    api_key: str
    other_api_key: str
    engine: Engine
    service: JobService
    consents: Consents
    codes: CodeService
    sealer: Sealer
    desk: Desk
    payments: PaymentService

    def http(self, api_key: str | None = None) -> httpx.Client:
        """A client of the ``shop`` backend, or of the one that owns ``api_key``."""
        headers = {"Authorization": f"Bearer {api_key or self.api_key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)


@contextmanager
def serve_gateway(
    database_url: str,
    redis_url: str = NO_REDIS,
    *,
    limits: Settings | None = None,
    merchants: Merchants | None = None,
) -> Iterator[Gateway]:
    """Serve with two backends, ``shop`` and ``forum``, and without limits unless some are given."""
    engine = open_database(database_url)
    migrate(engine)
    with engine.connect().execution_options(**WRITES) as connection, connection.begin():
        api_key = create_api_key(connection, "shop", scopes=list(Scope))
        other_api_key = create_api_key(connection, "forum", scopes=list(Scope))
    sealer = Sealer(engine, _KEYS)
    policy = load_policy()
    preparation = Preparation(sealer, PSEUDONYMS, policy_version=policy.version)
    redis = connect_redis(redis_url)
    commits, dispatcher = GroupCommit(engine), Dispatcher(redis, engine)
    shield = Shield(redis)
    service = JobService(
        engine,
        commits,
        preparation,
        dispatcher,
        limits=SmsLimits.from_settings(limits, PSEUDONYMS) if limits else None,
        shield=shield,
    )
    codes = CodeService(service, commits, PSEUDONYMS)
    consents = Consents(engine, PSEUDONYMS, policy)
    desk = Desk(engine, PSEUDONYMS, Replays(engine, sealer, policy), policy)
    payments = PaymentService(engine, commits, preparation, dispatcher, merchants or Merchants([]))
    app = create_gateway(
        service,
        ApiKeys(engine),
        codes=codes,
        consents=consents,
        desk=desk,
        login_door=LoginDoor(LoginPhones(engine, sealer), "jiguang"),
        payments=payments,
        dependencies=[
            Dependency("database", partial(is_current, engine), needed=True),
            Dependency("redis", redis.ping, needed=False),
        ],
        endpoints=EndpointRegister(engine, _KEYS, OwnHosts([SHOP_HOST])),
        sms_receipts=SmsReceipts(DeliveryReports(commits, PSEUDONYMS), RECEIPT_SECRET),
    )
    server = gateway_server(app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive(), "the gateway did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Gateway(
            f"http://127.0.0.1:{port}",
            api_key,
            other_api_key,
            engine,
            service,
            consents,
            codes,
            sealer,
            desk,
            payments,
        )
    finally:
        server.should_exit = True
        thread.join()
        commits.close()
        dispatcher.close()
        redis.close()
        engine.dispose()


def requests_in(lines: list[Any], count: int) -> list[Any]:
    """The gateway's own lines; a line is written just after its reply has left."""
    deadline = time.monotonic() + 5
    while True:
        found = [line for line in lines if line["event"].startswith("gateway.")]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.01)
