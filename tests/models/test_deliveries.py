"""A report changes the figure of a text of ours, once, and nothing else."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, select

from models.database import writing
from models.deliveries import (
    ASKING_ENDS,
    NewDelivery,
    Report,
    any_silent,
    delivery_figures,
    end_deliveries,
    prune_deliveries,
    take_silent,
    write_deliveries,
    write_reports,
)
from models.group_commit import Transaction
from models.states import State
from models.tables import deliveries
from tests.models.rows import NOW, SECOND, a_job, change_job, job_row, store

TEXT = NewDelivery(
    reference="a" * 32,
    job_id="a" * 32,
    backend="shop",
    road="aliyun_sms",
    scene="login",
    subject="s" * 64,
    biz_id="7^0",
    accepted_at=NOW,
    sealed=b"sealed",
    bucket="2026-11-24",
    ask_at=NOW + 120 * SECOND,
)
REPORT = Report(
    reference=TEXT.reference,
    subject=TEXT.subject,
    biz_id=TEXT.biz_id,
    delivered=True,
    reason=None,
    provider_code="DELIVERED",
    seconds=4.0,
    source="receipt",
    at=NOW + 5 * SECOND,
)


def accept(engine: Engine, *texts: NewDelivery) -> None:
    with writing(engine) as connection:
        write_deliveries(Transaction(connection), texts)


def report(engine: Engine, *reports: Report) -> list[bool]:
    with writing(engine) as connection:
        return write_reports(Transaction(connection), reports)


def row(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(deliveries)).one()


def test_a_report_that_fits_decides_once_and_erases_the_number(engine: Engine) -> None:
    accept(engine, TEXT)
    late = replace(REPORT, delivered=False, reason="phone.off", at=NOW + 9 * SECOND)
    assert report(engine, REPORT, REPORT, late) == [True, False, False]
    stored = row(engine)
    assert (stored.state, stored.seconds, stored.source) == ("delivered", 4.0, "receipt")
    assert (stored.sealed, stored.ask_at, stored.settled_at) == (None, None, REPORT.at)


@pytest.mark.parametrize(
    "change",
    [{"reference": "b" * 32}, {"subject": "t" * 64}, {"biz_id": "8^0"}],
    ids=lambda change: next(iter(change)),
)
def test_a_report_that_misses_one_of_the_three_changes_nothing(
    engine: Engine, change: dict[str, Any]
) -> None:
    accept(engine, TEXT)
    assert report(engine, replace(REPORT, **change)) == [False]
    assert row(engine).state == "accepted"


def test_what_was_asked_for_needs_no_id_of_the_providers(engine: Engine) -> None:
    accept(engine, TEXT)
    assert report(engine, replace(REPORT, source="query", biz_id=None)) == [True]


def test_a_text_that_is_accepted_twice_keeps_what_is_known(engine: Engine) -> None:
    accept(engine, TEXT)
    report(engine, REPORT)
    accept(engine, TEXT)
    assert row(engine).state == "delivered"


def test_a_silent_text_is_taken_once_and_its_number_with_it(engine: Engine) -> None:
    accept(engine, TEXT)
    early, due = NOW + 119 * SECOND, NOW + 120 * SECOND
    with writing(engine) as connection:
        assert not any_silent(connection, now=early)
        assert take_silent(connection, now=early) == []
        assert any_silent(connection, now=due)
        (taken,) = take_silent(connection, now=due)
        assert take_silent(connection, now=due) == []
    assert (taken.reference, taken.sealed) == (TEXT.reference, b"sealed")
    assert row(engine).sealed is None


def test_a_fate_that_nobody_tells_has_an_end_and_a_late_report_still_counts(engine: Engine) -> None:
    accept(engine, TEXT)
    with writing(engine) as connection:
        assert end_deliveries(connection, now=NOW + ASKING_ENDS - SECOND) == 0
        assert end_deliveries(connection, now=NOW + ASKING_ENDS) == 1
    assert (row(engine).state, row(engine).sealed) == ("unreported", None)
    assert report(engine, REPORT) == [True]
    assert row(engine).state == "delivered"


def test_a_report_of_an_unknown_text_proves_nothing_but_is_a_reason_to_ask_now(
    engine: Engine,
) -> None:
    job = a_job()
    store(engine, job)
    later = NOW + dt.timedelta(hours=1)
    change_job(engine, job.id, state=State.UNKNOWN, run_at=later, subject=TEXT.subject)
    stranger = replace(REPORT, reference=job.id, subject="t" * 64)
    assert report(engine, stranger) == [False]
    assert job_row(engine, job.id).run_at == later
    assert report(engine, replace(REPORT, reference=job.id)) == [False]
    stored = job_row(engine, job.id)
    assert (stored.state, stored.run_at) == (State.UNKNOWN, REPORT.at)


def test_figures_tell_rates_times_and_reasons_by_road_and_scene(engine: Engine) -> None:
    texts = [replace(TEXT, reference=f"{n:032x}", job_id=f"{n:032x}") for n in range(5)]
    other = replace(TEXT, reference="f" * 32, road="aliyun_sms_auth", scene="register")
    accept(engine, *texts, other)
    told = [replace(REPORT, reference=text.reference) for text in texts]
    report(
        engine,
        replace(told[0], seconds=2.0),
        replace(told[1], seconds=8.0),
        replace(told[2], seconds=3.0),
        replace(told[3], delivered=False, reason="phone.off", seconds=None),
    )
    with writing(engine) as connection:
        end_deliveries(connection, now=NOW + ASKING_ENDS)
        sms, auth = delivery_figures(connection, since=NOW)
        assert delivery_figures(connection, since=NOW + SECOND) == []
    assert (sms.road, sms.scene, sms.accepted) == ("aliyun_sms", "login", 5)
    assert (sms.delivered, sms.undelivered, sms.unreported, sms.rate) == (3, 1, 1, 0.75)
    assert (sms.median_seconds, sms.p95_seconds) == (3.0, 8.0)
    assert sms.reasons == {"phone.off": 1}
    assert (auth.road, auth.rate, auth.median_seconds) == ("aliyun_sms_auth", None, None)


def test_old_rows_go(engine: Engine) -> None:
    accept(engine, TEXT)
    with writing(engine) as connection:
        assert prune_deliveries(connection, accepted_before=NOW) == 0
        assert prune_deliveries(connection, accepted_before=NOW + SECOND) == 1
