"""A shop between real books and the sandbox's tills: callbacks in, queries and refunds out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from integrations.payments import Channel
from integrations.sandbox.merchants import (
    ALIPAY_APP,
    APPID,
    MCHID,
    SELLER,
    alipay_credentials,
    wechat_pay_credentials,
    wechat_pay_v2_credentials,
)
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.database import writing
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.ledger import LedgerWriter, SqlLedger
from models.payments.mismatches import MismatchView, list_mismatches
from models.payments.views import PaymentView
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from models.states import State
from models.tables import jobs, metadata
from models.webhooks import add_endpoint
from tasks.preparation import Preparation
from tests.workers.rows import KEYS, PSEUDONYM_KEY
from workers.circuits import Circuits
from workers.dispatch import Dispatcher, connect_redis
from workers.execution import Execution
from workers.maintenance.payments import PaymentAsker
from workers.maintenance.reconciler import Reconciler
from workers.merchants import Merchant, Merchants
from workers.outlet import Integrations, open_outlet
from workers.payments import PaymentRequest, PaymentService, RefundRequest
from workers.settings import Settings
from workers.till import Till
from workers.webhooks import Announcer

__all__ = ["BACKEND", "CHANNELS", "MERCHANTS", "Shop", "number_of"]

BACKEND = "shop"
CHANNELS: tuple[Channel, ...] = ("wechat_pay_v3", "wechat_pay_v2", "alipay")


def MERCHANTS() -> Merchants:  # noqa: N802 - a constant, but for keys that take their time
    """The sandbox's merchant on all channels."""
    wechat = {"number": MCHID, "app": APPID, "backend": BACKEND}
    return Merchants(
        [
            Merchant(channel="wechat_pay_v3", credentials=wechat_pay_credentials(), **wechat),
            Merchant(channel="wechat_pay_v2", credentials=wechat_pay_v2_credentials(), **wechat),
            Merchant(
                channel="alipay",
                number=SELLER,
                app=ALIPAY_APP,
                backend=BACKEND,
                credentials=alipay_credentials(),
            ),
        ]
    )


def number_of(channel: str) -> str:
    """The merchant's number on a channel."""
    return SELLER if channel == "alipay" else MCHID


class Shop:
    """One process that takes callbacks in and works through what follows."""

    def __init__(
        self, engine: Engine, server: SandboxServer, folder: Path, *, confirm_from: int
    ) -> None:
        self.engine = engine
        self.tills = server.sandbox.tills
        ledger = LedgerWriter(PSEUDONYM_KEY)
        self._commits = GroupCommit(engine)
        sealer = Sealer(engine, KEYS)
        outlet = open_outlet(
            Settings(data=folder, sandbox_url=server.url), SqlLedger(self._commits, ledger), engine
        )
        merchants = MERCHANTS()
        self.till = Till(outlet.payments.books, merchants, outlet.gate, confirm_from)
        self._outlet = Integrations(
            sms_roads=outlet.sms_roads,
            webhooks=outlet.webhooks,
            identities=outlet.identities,
            logins=outlet.logins,
            payments=self.till,
            pushes=outlet.pushes,
            gate=outlet.gate,
        )
        preparation = Preparation(
            sealer, Pseudonyms(PSEUDONYM_KEY), policy_version=outlet.gate.policy.version
        )
        self._dispatcher = Dispatcher(connect_redis("redis://127.0.0.1:1/0"), engine)
        self.service = PaymentService(
            engine, self._commits, preparation, self._dispatcher, merchants
        )
        self.execution = Execution(
            worker_id=new_id(),
            commits=self._commits,
            ledger=ledger,
            sealer=sealer,
            context=self._outlet,
            circuits=Circuits(engine, self._commits, outlet.gate.policy),
            announcer=Announcer(engine, preparation),
        )
        self.asker = PaymentAsker(
            engine,
            preparation,
            self._dispatcher,
            pause=dt.timedelta(seconds=30),
            clock=lambda: self.now,
        )
        self.ahead = dt.timedelta()
        with engine.begin() as connection:
            add_endpoint(
                connection,
                KEYS,
                backend=BACKEND,
                url="http://127.0.0.1:1/hook",
                events=["*"],
                now=utc_now(),
            )

    @property
    def now(self) -> dt.datetime:
        """The present, as the calendar of questions sees it."""
        return utc_now() + self.ahead

    @classmethod
    @contextmanager
    def open(
        cls, engine: Engine, server: SandboxServer, folder: Path, *, confirm_from: int = 10**6
    ) -> Iterator[Shop]:
        """A shop that is closed afterwards."""
        shop = cls(engine, server, folder, confirm_from=confirm_from)
        try:
            yield shop
        finally:
            shop._outlet.close()
            shop._commits.close()
            shop._dispatcher.close()

    def expect(self, channel: Channel, order_no: str, amount: int = 12900) -> PaymentView:
        """Register an order that can be paid for half an hour."""
        return self.service.expect(
            PaymentRequest(
                channel=channel,
                merchant=number_of(channel),
                order_no=order_no,
                amount=amount,
                expires_at=utc_now() + dt.timedelta(minutes=30),
            ),
            backend=BACKEND,
        )

    def pay(
        self, channel: Channel, order_no: str, amount: int = 12900
    ) -> tuple[Mapping[str, str], bytes]:
        """The buyer pays; returns the callback that the provider writes."""
        order = self.tills.book(channel).pay(order_no, amount)
        return self.tills.messages.paid(channel, order).sign(False)

    def hear(self, channel: Channel, callback: tuple[Mapping[str, str], bytes]) -> bool:
        """The callback comes in."""
        headers, body = callback
        return self.service.receive(channel, number_of(channel), headers, body)

    def refund(self, channel: Channel, order_no: str, refund_no: str, amount: int) -> None:
        """The backend wants money to go back."""
        self.service.refund(
            RefundRequest(
                channel=channel,
                merchant=number_of(channel),
                order_no=order_no,
                refund_no=refund_no,
                amount=amount,
                reason="customer_request",
            ),
            backend=BACKEND,
        )

    def work(self) -> None:
        """Do everything that is due, but tell nobody."""
        while self.asker.round() or self._waiting():
            for job_id in self._waiting():
                self.execution.run(job_id)

    def reconciler(self) -> Reconciler:
        """What finds out what became of jobs whose worker died."""
        return Reconciler(
            self.engine,
            self._commits,
            LedgerWriter(PSEUDONYM_KEY),
            Sealer(self.engine, KEYS),
            self._outlet,
            Circuits(self.engine, self._commits, self._outlet.gate.policy),
            worker_id=new_id(),
            policy_version=self._outlet.gate.policy.version,
        )

    def wake(self, job_id: str) -> None:
        """Let a job that waits for its next attempt be due."""
        with writing(self.engine) as connection:
            due = {"state": State.QUEUED, "run_at": utc_now()}
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(**due))

    def _waiting(self) -> list[str]:
        # Who notes that Redis is away has the rows in hand, and a claim leaves such a job alone.
        self._dispatcher.drain()
        with self.engine.connect() as connection:
            return list(
                connection.scalars(
                    select(jobs.c.id)
                    .where(
                        jobs.c.kind != "webhook",
                        jobs.c.state == State.QUEUED,
                    )
                    .order_by(jobs.c.id)
                )
            )

    def payment(self, channel: Channel, order_no: str) -> PaymentView:
        """The payment as it stands."""
        found = self.service.books.payment(channel, number_of(channel), order_no)
        assert found is not None
        return found

    def told(self) -> int:
        """How many webhooks wait to be sent."""
        with self.engine.connect() as connection:
            return len(connection.execute(select(jobs.c.id).where(jobs.c.kind == "webhook")).all())

    def mismatches(self) -> list[MismatchView]:
        """What waits for a person."""
        with self.engine.connect() as connection:
            return list_mismatches(connection)

    def rows(self, table: str) -> list[Any]:
        """Everything in a table."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(metadata.tables[table])))
