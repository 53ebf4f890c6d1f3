"""Webhooks reach a real receiver: signed, in order, again and again, and nobody else."""

from __future__ import annotations

import datetime as dt
import json
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any

import pytest
from sqlalchemy import Engine

import zjj
from integrations.backend import BackendWebhooks
from integrations.destinations import OwnHosts
from integrations.gate import Gate, Timeouts
from integrations.policy import load_policy
from models.clock import utc_now
from models.database import migrate, open_database, writing
from models.group_commit import GroupCommit
from models.identifiers import new_id
from models.job_search import JobFilter
from models.jobs import JobView, find_job, insert_jobs
from models.ledger import LedgerWriter, SqlLedger
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer
from models.settlement import Settlement
from models.states import Event, State
from models.tables import jobs, metadata, webhook_endpoints
from models.webhooks import Endpoints, add_endpoint, find_endpoint, rotate_secret
from tasks.announcements import Announcement
from tasks.preparation import Preparation
from tasks.webhook import WEBHOOK
from tests.integrations.recording_server import RecordingServer, answer
from tests.servers import PostgresServer
from tests.workers.rows import KEYS, PSEUDONYM_KEY, read_job
from workers.circuits import Circuits
from workers.execution import Execution
from workers.maintenance import Reconciler
from workers.replays import Replays
from workers.webhooks import Announcer

PAID = Announcement(
    event="payment.paid",
    occurred_at=dt.datetime(2026, 11, 24, 8, 30, tzinfo=dt.timezone(dt.timedelta(hours=8))),
    ordering_key="order-000001",
    channel="alipay",
    order_no="order-000001",
    provider_no="42000000000000000001",
    state="paid",
    amount=19900,
    currency="CNY",
)
TAKEN = answer(b"", "204 No Content")


@dataclass
class _Context:
    """What the handler of webhooks needs of a context."""

    webhooks: BackendWebhooks


class House:
    """A worker, and a backend that listens on loopback."""

    def __init__(self, engine: Engine, server: RecordingServer) -> None:
        self.engine = engine
        self.server = server
        self.ahead = dt.timedelta(0)
        self.hosts = OwnHosts(production=False)
        ledger, self._commits = LedgerWriter(PSEUDONYM_KEY), GroupCommit(engine)
        self._gate = Gate(
            load_policy(),
            SqlLedger(self._commits, ledger),
            timeouts=Timeouts(connect=0.5, reconnect=0.1, answer=0.3),
            own_hosts=self.hosts,
        )
        book = Endpoints(engine, KEYS, clock=self.now)
        adapter = BackendWebhooks(self._gate, book, self.hosts, clock=self.now)
        context: Any = _Context(adapter)
        sealer = Sealer(engine, KEYS)
        circuits = Circuits(engine, self._commits, self._gate.policy, moment=0.0)
        version = self._gate.policy.version
        self.announcer = Announcer(
            engine, Preparation(sealer, Pseudonyms(PSEUDONYM_KEY), policy_version=version)
        )
        self._worker = Execution(
            worker_id=new_id(),
            commits=self._commits,
            ledger=ledger,
            sealer=sealer,
            context=context,
            circuits=circuits,
            clock=self.now,
        )
        self.reconciler = Reconciler(
            engine,
            self._commits,
            ledger,
            sealer,
            context,
            circuits,
            worker_id=new_id(),
            policy_version=version,
            clock=self.now,
        )
        self._ledger = ledger
        with writing(engine) as connection:
            self.endpoint, self.secret = add_endpoint(
                connection,
                KEYS,
                backend="shop",
                url=f"{server.url}/hook",
                events=["*"],
                now=self.now(),
            )

    def now(self) -> dt.datetime:
        """The worker's clock."""
        return utc_now() + self.ahead

    def announce(self, announcement: Announcement = PAID) -> str:
        """Have the backend told; returns the webhook's id."""
        with writing(self.engine) as connection:
            webhooks = self.announcer.prepare("shop", announcement, connection)
            insert_jobs(connection, webhooks)
        (webhook,) = webhooks
        return webhook.id

    def deliver(self, webhook_id: str) -> JobView:
        """One attempt, whenever the next one was planned for."""
        with writing(self.engine) as connection:
            connection.execute(
                jobs.update()
                .where(jobs.c.id == webhook_id, jobs.c.state == State.RETRYING)
                .values(run_at=self.now() - dt.timedelta(seconds=1))
            )
        self._worker.run(webhook_id)
        return self.find(webhook_id)

    def find(self, webhook_id: str) -> JobView:
        """The webhook's job."""
        with self.engine.connect() as connection:
            job = find_job(connection, webhook_id)
        assert job is not None
        return job

    def lose(self, webhook_id: str) -> None:
        """A worker that has begun to deliver dies, and the rescuer finds out."""
        with writing(self.engine) as connection:
            connection.execute(
                jobs.update().where(jobs.c.id == webhook_id).values(state=State.RUNNING, fence=1)
            )
        lost = Settlement(
            job_id=webhook_id,
            fence=1,
            number=1,
            worker_id="a" * 32,
            event=Event.LOSE,
            started_at=self.now(),
            at=self.now(),
            milliseconds=1.0,
            code="worker.lost",
            run_at=self.now(),
            rescued=True,
        )
        assert self._commits.run(self._ledger.write_settlements, lost)

    def close(self) -> None:
        """Let go of everything."""
        self._commits.close()
        self._gate.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def migrated(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('webhooks') / 'zjj.db'}"
    if request.param == "postgres":
        url = postgres_server.url(postgres_server.create_database())
    engine = open_database(url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(migrated: Engine) -> Engine:
    """Once for each kind of database, and empty."""
    with writing(migrated) as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
    return migrated


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with RecordingServer(TAKEN) as running:
        yield running


@pytest.fixture
def house(engine: Engine, server: RecordingServer) -> Iterator[House]:
    house = House(engine, server)
    yield house
    house.close()


def _read(request: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines), body


def test_a_webhook_arrives_signed_and_says_what_was_announced(house: House) -> None:
    webhook_id = house.announce()
    job = house.deliver(webhook_id)

    assert (job.state, job.provider_code) == (State.SUCCEEDED, "204")
    (request,) = house.server.requests
    headers, body = _read(request)
    assert request.startswith(b"POST /hook HTTP/1.1\r\n")
    assert zjj.verify_webhook(headers, body, house.secret) == webhook_id
    assert headers["webhook-key-id"] == house.endpoint.key_id
    assert headers["user-agent"] == "Zhongjiujiu-Webhooks/1"
    assert json.loads(body) == {
        "type": "payment.paid",
        "occurred_at": "2026-11-24T00:30:00Z",
        "data": {
            "channel": "alipay",
            "order_no": "order-000001",
            "provider_no": "42000000000000000001",
            "state": "paid",
            "amount": 19900,
            "currency": "CNY",
        },
    }


def test_its_disclosure_names_no_category_of_a_person(house: House) -> None:
    (disclosure,) = house.deliver(house.announce()).disclosures
    assert disclosure.recipient == "own_backend"
    assert disclosure.categories == ("system.operations",)
    assert disclosure.stripped == ("endpoint", "ordering_key")
    assert disclosure.host == f"127.0.0.1:{house.server.port}"
    assert disclosure.http_status == 204


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
    for _ in range(10):
        connection.sendall(b".")
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (answer(b"", "500 Internal Server Error"), "webhook.not_taken"),
        (answer(b"<html>", "502 Bad Gateway"), "webhook.not_taken"),
        (answer(b"", "429 Too Many Requests"), "webhook.not_taken"),
        (answer(b"", "404 Not Found"), "webhook.not_taken"),
        (answer(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"), "webhook.not_taken"),
        (lambda _: time.sleep(0.6), "webhook.no_answer"),
        (_reset, "webhook.no_answer"),
        (_trickle, "webhook.no_answer"),
    ],
    ids=["500", "502", "429", "404", "redirect", "silence", "reset", "slow"],
)
def test_what_is_not_taken_is_delivered_again_under_the_same_id(
    house: House, reply: bytes | Callable[[socket.socket], None], code: str
) -> None:
    house.server.reply = reply
    webhook_id = house.announce()
    job = house.deliver(webhook_id)
    assert (job.state, job.reason) == (State.RETRYING, code)

    house.server.reply = TAKEN
    assert house.deliver(webhook_id).state is State.SUCCEEDED
    ids = {_read(request)[0]["webhook-id"] for request in house.server.requests}
    assert ids == {webhook_id}


def test_a_backend_that_is_down_is_tried_again(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with writing(house.engine) as connection:
        url = f"http://127.0.0.1:{port}/hook"
        connection.execute(webhook_endpoints.update().values(url=url))
    job = house.deliver(house.announce())
    assert (job.state, job.reason) == (State.RETRYING, "provider.unreachable")


def test_each_delivery_bears_its_own_time(house: House) -> None:
    house.server.reply = answer(b"", "503 Service Unavailable")
    webhook_id = house.announce()
    house.deliver(webhook_id)
    house.ahead = dt.timedelta(minutes=10)
    house.deliver(webhook_id)
    first, second = (
        int(_read(request)[0]["webhook-timestamp"]) for request in house.server.requests
    )
    assert second - first >= 600


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("written", ["seconds", "date"])
def test_a_backend_may_say_when_to_come_again(house: House, status: str, written: str) -> None:
    moment = house.now() + dt.timedelta(seconds=1000)
    asked = "1000" if written == "seconds" else format_datetime(moment, usegmt=True)
    house.server.reply = answer(b"", status, f"Retry-After: {asked}\r\n")
    job = house.deliver(house.announce())
    assert 990 <= (job.run_at - job.created_at).total_seconds() <= 1100


@pytest.mark.parametrize(("asked", "least", "most"), [("999999999999", 7200, 7210), ("soon", 0, 2)])
def test_but_not_for_ever_and_not_in_riddles(
    house: House, asked: str, least: float, most: float
) -> None:
    house.server.reply = answer(b"", "503 Service Unavailable", f"Retry-After: {asked}\r\n")
    job = house.deliver(house.announce())
    assert least <= (job.run_at - job.created_at).total_seconds() <= most


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "301 Moved"])
def test_a_refusal_is_believed_after_some_attempts(house: House, status: str) -> None:
    house.server.reply = answer(b"", status, "Location: http://127.0.0.1:1/\r\n")
    webhook_id = house.announce()
    states = [house.deliver(webhook_id).state for _ in range(8)]
    assert states == [*[State.RETRYING] * 7, State.FAILED]
    job = house.find(webhook_id)
    assert (job.reason, job.provider_code) == ("webhook.refused", status[:3])


def test_an_outage_is_not_taken_for_a_refusal(house: House) -> None:
    house.server.reply = answer(b"", "503 Service Unavailable")
    webhook_id = house.announce()
    assert {house.deliver(webhook_id).state for _ in range(9)} == {State.RETRYING}


def test_an_endpoint_that_is_gone_is_left_alone_until_a_person_says_otherwise(house: House) -> None:
    house.server.reply = answer(b"", "410 Gone")
    first, second = house.announce(), house.announce()
    assert house.deliver(first).reason == "webhook.gone"
    job = house.deliver(second)
    assert (job.state, job.reason) == (State.FAILED, "webhook.disabled")
    assert len(house.server.requests) == 1
    with house.engine.connect() as connection:
        endpoint = find_endpoint(connection, house.endpoint.id)
        assert endpoint is not None
        assert endpoint.disabled_because == "webhook.gone"
        assert house.announcer.prepare("shop", PAID, connection) == []


def test_a_replayed_webhook_is_the_same_one_at_another_time(house: House) -> None:
    """So a backend that took it the first time knows its id, and one that did not takes it now."""
    house.server.reply = answer(b"", "400 Bad Request")
    webhook_id = house.announce()
    for _ in range(8):
        house.deliver(webhook_id)
    assert house.find(webhook_id).state is State.FAILED
    house.server.reply = TAKEN
    house.ahead = dt.timedelta(hours=30)
    replays = Replays(house.engine, Sealer(house.engine, KEYS), load_policy())
    wanted = JobFilter(kind="webhook", states=(State.FAILED,))
    batch = replays.begin(wanted, actor="test", reason="the shop is back")
    assert replays.run(batch, per_second=10_000) == {"replayed": 1}
    assert house.deliver(webhook_id).state is State.SUCCEEDED
    (before, old), *_, (headers, body) = map(_read, house.server.requests)
    assert (headers["webhook-id"], body) == (before["webhook-id"], old)
    assert headers["webhook-id"] == webhook_id
    hours = (int(headers["webhook-timestamp"]) - int(before["webhook-timestamp"])) / 3600
    assert hours == pytest.approx(30, abs=0.1)
    assert (
        zjj.verify_webhook(headers, body, house.secret, now=int(headers["webhook-timestamp"]))
        == webhook_id
    )


def test_retries_go_on_for_a_day_and_not_much_longer() -> None:
    now = utc_now()
    for seed in range(50):
        draw, at, attempts = random.Random(seed), now, 1
        while following := WEBHOOK.retry.next_run(
            attempts, at, expires_at=now + dt.timedelta(days=7), draw=draw
        ):
            at, attempts = following, attempts + 1
        assert dt.timedelta(hours=25) <= at - now <= dt.timedelta(hours=33)


# Secrets.


def test_while_a_secret_is_rotated_both_verify_and_then_only_the_new_one(house: House) -> None:
    with writing(house.engine) as connection:
        until = house.now() + dt.timedelta(hours=1)
        endpoint, new = rotate_secret(connection, KEYS, house.endpoint.id, previous_until=until)
    house.deliver(house.announce())
    house.ahead = dt.timedelta(hours=1)
    house.deliver(house.announce())
    during, after = (_read(request) for request in house.server.requests)

    for secret in (house.secret, new):
        zjj.verify_webhook(*during, secret)
    assert during[0]["webhook-key-id"] == f"{endpoint.key_id} {house.endpoint.key_id}"
    later = (utc_now() + house.ahead).timestamp()
    zjj.verify_webhook(*after, new, now=later)
    with pytest.raises(zjj.InvalidWebhookError):
        zjj.verify_webhook(*after, house.secret, now=later)


# Order.


def test_a_webhook_waits_for_the_earlier_one_of_its_key_without_an_attempt(house: House) -> None:
    house.server.reply = answer(b"", "500 Internal Server Error")
    first, second = house.announce(), house.announce()
    for _ in range(2):
        assert house.deliver(second).reason == "webhook.turn"
    assert not any(attempt.counted for attempt in house.find(second).attempts)
    assert house.server.requests == []

    house.deliver(first)
    assert house.deliver(second).reason == "webhook.turn"
    house.server.reply = TAKEN
    house.deliver(first)
    assert house.deliver(second).state is State.SUCCEEDED
    ids = [_read(request)[0]["webhook-id"] for request in house.server.requests]
    assert ids == [first, first, second]


def test_it_waits_until_the_earlier_one_is_tried_again_but_looks_in_between(house: House) -> None:
    first, second = house.announce(), house.announce()
    for ahead, least, most in ((3, 2.5, 4), (3000, 299, 301)):
        with writing(house.engine) as connection:
            connection.execute(
                jobs.update()
                .where(jobs.c.id == first)
                .values(state=State.RETRYING, run_at=house.now() + dt.timedelta(seconds=ahead))
            )
        before = house.now()
        run_at = house.deliver(second).run_at
        assert least <= (run_at - before).total_seconds() <= most


def test_what_has_failed_for_good_holds_nobody_up(house: House) -> None:
    house.server.reply = answer(b"", "400 Bad Request")
    first, second = house.announce(), house.announce()
    while house.deliver(first).state is not State.FAILED:
        pass
    house.server.reply = TAKEN
    assert house.deliver(second).state is State.SUCCEEDED


def test_other_keys_and_no_key_do_not_wait(house: House) -> None:
    house.announce()
    for key in ("order-000002", None):
        other = house.announce(PAID.model_copy(update={"ordering_key": key}))
        assert house.deliver(other).state is State.SUCCEEDED


def test_a_delivery_that_a_dying_worker_left_is_done_again_before_the_next(house: House) -> None:
    first, second = house.announce(), house.announce()
    house.lose(first)
    assert house.find(first).state is State.UNKNOWN
    assert house.deliver(second).reason == "webhook.turn"
    house.ahead = dt.timedelta(seconds=10)
    assert house.reconciler.round() == 1
    assert (house.find(first).state, house.find(first).settled_at) == (State.RETRYING, None)
    assert house.deliver(first).state is State.SUCCEEDED
    assert house.deliver(second).state is State.SUCCEEDED


# Whom it never reaches.


def test_an_endpoint_of_another_backend_gets_nothing(house: House) -> None:
    webhook_id = house.announce()
    with writing(house.engine) as connection:
        connection.execute(jobs.update().where(jobs.c.id == webhook_id).values(backend="another"))
    job = house.deliver(webhook_id)
    assert (job.state, job.reason) == (State.FAILED, "webhook.disabled")
    assert house.server.requests == []


def test_a_host_that_is_no_longer_listed_gets_nothing(house: House) -> None:
    with writing(house.engine) as connection:
        connection.execute(webhook_endpoints.update().values(url="https://old.example.com/"))
    job = house.deliver(house.announce())
    assert (job.state, job.disclosures) == (State.FAILED, ())


def test_a_backend_without_an_endpoint_is_not_told(house: House) -> None:
    assert house.announcer.prepare("another", PAID) == []


def test_only_events_that_are_wanted_are_sent(house: House) -> None:
    with writing(house.engine) as connection:
        add_endpoint(
            connection,
            KEYS,
            backend="shop",
            url=f"{house.server.url}/refunds",
            events=["refund.*"],
            now=house.now(),
        )
    assert len(house.announcer.prepare("shop", PAID)) == 1
    refunded = PAID.model_copy(update={"event": "refund.succeeded"})
    assert len(house.announcer.prepare("shop", refunded)) == 2


def test_an_outage_of_one_backend_does_not_open_the_circuit_of_all(house: House) -> None:
    house.server.reply = answer(b"", "500 Internal Server Error")
    for _ in range(12):
        house.deliver(house.announce(PAID.model_copy(update={"ordering_key": None})))
    house.server.reply = TAKEN
    webhook = house.announce(PAID.model_copy(update={"ordering_key": None}))
    assert house.deliver(webhook).state is State.SUCCEEDED


def test_an_announcement_stands_or_falls_with_its_transaction(house: House) -> None:
    with house.engine.connect() as connection:
        (webhook,) = house.announcer.prepare("shop", PAID, connection)
        insert_jobs(connection, [webhook])
        connection.rollback()
        assert find_job(connection, webhook.id) is None


def test_a_payload_keeps_all_that_it_says_under_its_seal(house: House) -> None:
    webhook_id = house.announce()
    assert b"order-000001" not in read_job(house.engine, webhook_id).sealed
