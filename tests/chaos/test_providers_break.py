"""A provider that times out, resets, lies, throttles or hangs gets each text at most once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from integrations.sandbox.faults import Fault
from models.clock import utc_now
from models.database import writing
from models.pauses import Scope, resume
from models.states import State
from tests.chaos.ground import Ground

_FULL = pytest.mark.full


@pytest.mark.parametrize(
    ("name", "fault", "expected"),
    [
        pytest.param("reset in mid-reply", Fault(kind="reset", times=4), State.SUCCEEDED),
        pytest.param(
            "reset before the reply", Fault(kind="drop", times=4), State.SUCCEEDED, marks=_FULL
        ),
        pytest.param(
            "reset, not carried out",
            Fault(kind="drop", times=4, processed=False),
            State.UNKNOWN,
            marks=_FULL,
        ),
        pytest.param("garbage", Fault(kind="garbage", times=4), State.SUCCEEDED, marks=_FULL),
        pytest.param("hang", Fault(kind="hang", seconds=30, times=4), State.SUCCEEDED, marks=_FULL),
        pytest.param(
            "429",
            Fault(kind="code", code="Throttling.User", retry_after=500, times=20),
            State.SUCCEEDED,
            marks=_FULL,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_the_provider_does_nobody_gets_two_texts(
    ground: Ground, figure: Callable[..., None], name: str, fault: Fault, expected: State
) -> None:
    fault.action = "SendSms"
    ground.faults.add(fault)
    ground.start_worker()
    ground.enqueue(40)
    ground.settle()
    if expected is State.SUCCEEDED:
        ground.until(lambda: ground.states()[State.UNKNOWN] == 0, "it is looked up")
    else:
        assert ground.states()[State.UNKNOWN] == 4, "not found is no proof, so nothing is repeated"
    figure(f"provider: {name}", **ground.audit())


@_FULL
def test_an_account_that_is_stopped_pauses_its_recipient_and_alerts_once(
    ground: Ground, figure: Callable[..., None]
) -> None:
    ground.faults.add(Fault(kind="code", code="isv.AMOUNT_NOT_ENOUGH", times=1, action="SendSms"))
    ground.start_worker()
    ground.ready()
    ground.enqueue(1)
    ground.until(lambda: '"event":"recipient.stopped"' in ground.log(), "the alarm is raised")
    time.sleep(1)
    ground.enqueue(20)
    ground.until(lambda: ground.states()[State.RETRYING] == 20, "the others wait")
    assert ground.journal.totals()["requests"] == 1
    with writing(ground.engine) as connection:
        resume(
            connection, Scope.RECIPIENT, "aliyun_sms", actor="test", reason="paid", now=utc_now()
        )
    ground.settle(20)
    alarms = ground.log().count('"event":"recipient.stopped"')
    figure("provider: account stopped", alarms=alarms, **ground.audit())
    assert alarms == 1
    assert ground.most_counted_attempts() == 1


def test_an_outage_opens_the_circuit_within_seconds(
    ground: Ground, figure: Callable[..., None]
) -> None:
    ground.faults.add(Fault(kind="status", status=503, processed=False))
    ground.start_worker()
    ground.ready()
    ground.enqueue(20)
    ground.until(lambda: '"event":"circuit.opened"' in ground.log(), "it opens", 5)
    ground.enqueue(100)
    time.sleep(2)
    called = ground.journal.totals()["requests"]
    assert called < 60, "the rest wait instead of being tried"
    ground.faults.clear()
    ground.until(lambda: '"event":"circuit.closed"' in ground.log(), "a probe closes it", 60)
    ground.settle()
    ground.until(lambda: ground.states()[State.UNKNOWN] <= 20, "it is looked up")
    figure("provider: 5xx storm", requests_while_open=called, **ground.audit())


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a push's answer lost", Fault(kind="reset", times=4)),
        pytest.param(
            "a push lost on its way", Fault(kind="drop", times=4, processed=False), marks=_FULL
        ),
        pytest.param("a push's worker, kill -9", Fault(kind="hang", seconds=60), marks=_FULL),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_happens_to_a_push_its_device_rings_once(
    ground: Ground, figure: Callable[..., None], name: str, fault: Fault
) -> None:
    fault.action = "push"
    ground.faults.add(fault)
    ids = ground.push(20)
    worker = ground.start_worker("standard")
    if fault.kind == "hang":
        ground.until(lambda: len(ground.cids()) >= 16, "they are under way")
        time.sleep(1)
        ground.kill(worker)
        ground.faults.clear()
        ground.start_worker("standard")
    ground.until(lambda: ground.states()[State.SUCCEEDED] == len(ids), "every push is made")
    rang = [ground.journal.accepted(cid) for cid in ground.cids()]
    arrived = sum(map(ground.journal.count, ground.cids()))
    figure(f"provider: {name}", pushes=len(ids), requests=arrived, rang_twice=sum(rang) - len(ids))
    assert rang == [1] * len(ids)
    assert arrived > len(ids)


@_FULL
def test_a_provider_that_does_not_prove_itself_by_tls_gets_nothing(
    ground: Ground, figure: Callable[..., None]
) -> None:
    # The sandbox speaks no TLS.
    address = ground.sandbox.url.replace("http:", "https:")
    misled = ground.start_worker(ZJJ_SANDBOX_URL=address)
    ids = ground.enqueue(20)
    ground.until(lambda: '"event":"circuit.opened"' in ground.log(), "it is left alone")
    assert ground.journal.totals()["requests"] == 0
    ground.terminate(misled)
    assert misled.wait(30) == 0
    ground.start_worker()
    ground.settle()
    assert ground.states() == {State.SUCCEEDED: len(ids)}
    figure("provider: TLS failure", **ground.audit())
