"""Receipts come from anybody who knows the address, and count only where they fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from integrations.sandbox.app import create_sandbox
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.server import SandboxServer
from models.clock import utc_now
from models.database import writing
from models.deliveries import NewDelivery, write_deliveries
from models.group_commit import Transaction
from models.identifiers import new_id
from models.pii import Phone
from models.tables import deliveries
from tests.integrations.sandbox.calling import Caller
from tests.workers.gateway.serving import PSEUDONYMS, RECEIPT_SECRET, Gateway, requests_in

PATH = f"/v1/callbacks/aliyun-sms/{RECEIPT_SECRET}"
PHONE = "16400001234"


def accepted(gateway: Gateway, phone: str = PHONE, **columns: Any) -> str:
    """A text that a provider has accepted; returns its reference."""
    reference = new_id()
    delivery = NewDelivery(
        reference=reference,
        job_id=reference,
        backend="shop",
        road="aliyun_sms",
        scene="login",
        subject=PSEUDONYMS.subject(Phone(phone)),
        biz_id=None,
        accepted_at=utc_now(),
        sealed=None,
        bucket=None,
        ask_at=None,
    )
    with writing(gateway.engine) as connection:
        write_deliveries(Transaction(connection), [delivery])
        if columns:
            connection.execute(
                deliveries.update().where(deliveries.c.reference == reference).values(**columns)
            )
    return reference


def stored(gateway: Gateway, reference: str) -> Any:
    with gateway.engine.connect() as connection:
        return connection.execute(
            select(deliveries).where(deliveries.c.reference == reference)
        ).one()


def receipt(reference: str, **changes: Any) -> dict[str, Any]:
    return {
        "phone_number": PHONE,
        "send_time": "2026-11-24 10:00:00",
        "report_time": "2026-11-24 10:00:04",
        "success": True,
        "err_code": "DELIVERED",
        "biz_id": "7^0",
        "out_id": reference,
        **changes,
    }


@pytest.fixture
def aliyun(gateway: Gateway) -> Iterator[httpx.Client]:
    """Somebody without an API key."""
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as client:
        yield client


def test_a_receipt_is_noted_and_answered_as_aliyun_wants_it(
    aliyun: httpx.Client, gateway: Gateway
) -> None:
    reference = accepted(gateway, biz_id="7^0")
    reply = aliyun.post(PATH, json=[receipt(reference), receipt(reference), receipt(new_id())])
    assert (reply.status_code, reply.json()) == (200, {"code": 0, "msg": "ok"})
    row = stored(gateway, reference)
    assert (row.state, row.seconds) == ("delivered", 4.0)


def test_a_text_that_did_not_arrive_has_a_reason(aliyun: httpx.Client, gateway: Gateway) -> None:
    reference = accepted(gateway)
    failed = receipt(reference, success=False, err_code="MOBILE_NOT_ON_SERVICE")
    assert aliyun.post(PATH, json=[failed]).status_code == 200
    row = stored(gateway, reference)
    assert (row.state, row.reason) == ("undelivered", "number.out_of_service")


@pytest.mark.parametrize("secret", ["wrong", RECEIPT_SECRET[:-1], RECEIPT_SECRET + "r"])
def test_another_address_is_nobodys(aliyun: httpx.Client, gateway: Gateway, secret: str) -> None:
    reference = accepted(gateway)
    reply = aliyun.post(f"/v1/callbacks/aliyun-sms/{secret}", json=[receipt(reference)])
    assert reply.status_code == 404
    assert stored(gateway, reference).state == "accepted"


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"null", b"\xff"])
def test_what_is_no_batch_is_refused(aliyun: httpx.Client, body: bytes) -> None:
    assert aliyun.post(PATH, content=body).json() == {"code": 1, "msg": "malformed"}


def test_a_body_beyond_the_cap_is_refused(aliyun: httpx.Client) -> None:
    reply = aliyun.post(PATH, content=b"[" + b" " * 1024 * 1024 + b"]")
    assert reply.status_code == 422


def test_while_the_database_is_away_aliyun_is_asked_to_come_back(
    aliyun: httpx.Client, gateway: Gateway
) -> None:
    reference = accepted(gateway)
    with gateway.engine.connect() as connection:
        connection.execute(text("ALTER TABLE deliveries RENAME TO elsewhere"))
        connection.commit()
    try:
        reply = aliyun.post(PATH, json=[receipt(reference)])
        assert reply.status_code >= 500
    finally:
        with gateway.engine.connect() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO deliveries"))
            connection.commit()
    assert aliyun.post(PATH, json=[receipt(reference)]).status_code == 200
    assert stored(gateway, reference).state == "delivered"


def test_the_address_stays_out_of_the_log(aliyun: httpx.Client, lines: list[Any]) -> None:
    aliyun.post(PATH, json=[receipt(new_id())])
    [line] = requests_in(lines, 1)
    assert line["route"] == "/v1/callbacks/aliyun-sms/{secret}"
    said = repr(lines)
    assert RECEIPT_SECRET not in said
    assert PHONE not in said


@pytest.fixture
def sandbox(gateway: Gateway) -> Iterator[Caller]:
    config = SandboxConfig(
        limits=False, receipt_url=gateway.url + PATH, receipt_repeats=1, receipt_scale=0.001
    )
    with SandboxServer(create_sandbox(config)) as server:
        caller = Caller(server.url)
        with caller.http:
            yield caller


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_sandbox_reports_its_texts_in_batches_and_more_than_once(
    gateway: Gateway, sandbox: Caller
) -> None:
    phones = [f"1640000{n:04}" for n in range(3)]
    references = [accepted(gateway, phone) for phone in phones]
    sandbox.fault(kind="undelivered", code="MOBILE_IN_BLACK", times=1)
    for phone, reference in zip(phones, references, strict=True):
        assert sandbox.send(PhoneNumbers=phone, OutId=reference)["Code"] == "OK"
    until(lambda: all(stored(gateway, each).state != "accepted" for each in references))
    states = [stored(gateway, reference).state for reference in references]
    assert states == ["undelivered", "delivered", "delivered"]
    counts: dict[str, int] = {}

    def told_twice() -> bool:
        counts.update(sandbox.http.get("/_sandbox/receipts").json())
        return counts["taken"] == counts["pushed"] >= 2

    until(told_twice)
    assert counts["pushed"] <= 2 * len(phones)


def test_the_sandbox_comes_back_until_it_is_understood(gateway: Gateway, sandbox: Caller) -> None:
    wrong = gateway.url + "/v1/callbacks/aliyun-sms/elsewhere"
    sandbox.http.patch("/_sandbox/settings", json={"receipt_url": wrong, "receipt_repeats": 0})
    sandbox.send(OutId=accepted(gateway))
    until(lambda: sandbox.http.get("/_sandbox/receipts").json()["pushed"] == 4)
    assert sandbox.http.get("/_sandbox/receipts").json()["taken"] == 0
