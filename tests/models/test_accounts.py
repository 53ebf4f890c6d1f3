"""The ledger answers who got what about whom, and nothing more."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import Engine

from models.accounts import (
    Affected,
    count_chained,
    disclosures_of,
    touched_by_leak,
    traffic,
)
from models.disclosures import SendResult, Verdict
from models.ledger import LedgerWriter, verify_ledger
from tests.models.rows import KEY, NOW, SECOND, a_disclosure, a_result, claim_new, write

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def ledger() -> LedgerWriter:
    return LedgerWriter(KEY)


def _send(
    engine: Engine,
    ledger: LedgerWriter,
    subject: str | None,
    *results: SendResult,
    **changes: object,
) -> str:
    disclosure = a_disclosure(claim_new(engine, subject=subject), **changes)
    write(engine, ledger.write_disclosures, disclosure)
    for result in results:
        write(engine, ledger.write_results, a_result(disclosure, result=result))
    return disclosure.id


def _touched(
    engine: Engine, begin: dt.datetime = NOW - SECOND, end: dt.datetime = NOW + SECOND
) -> Affected:
    with engine.connect() as connection:
        return touched_by_leak(connection, "aliyun_sms", begin, end)


def test_one_person_is_told_of_their_own_disclosures_alone(
    engine: Engine, ledger: LedgerWriter
) -> None:
    later = _send(engine, ledger, ONE, SendResult.ANSWERED, at=NOW + SECOND)
    first = _send(engine, ledger, ONE)
    _send(engine, ledger, OTHER, SendResult.ANSWERED)
    with engine.connect() as connection:
        found = disclosures_of(connection, [ONE])
    assert [item.id for item in found] == [first, later]
    assert [item.result for item in found] == [None, SendResult.ANSWERED]
    assert found[0].categories == ("user.contact.phone_number", "user.authorization.credentials")


@pytest.mark.parametrize(
    ("results", "certain"),
    [
        ((), None),
        ((SendResult.UNKNOWN, SendResult.ANSWERED), SendResult.ANSWERED),
        ((SendResult.ANSWERED, SendResult.UNKNOWN), SendResult.ANSWERED),
        ((SendResult.UNKNOWN,), SendResult.UNKNOWN),
    ],
)
def test_the_most_certain_result_is_told(
    engine: Engine,
    ledger: LedgerWriter,
    results: tuple[SendResult, ...],
    certain: SendResult | None,
) -> None:
    _send(engine, ledger, ONE, *results)
    with engine.connect() as connection:
        (item,) = disclosures_of(connection, [ONE])
    assert item.result == certain


@pytest.mark.parametrize(
    ("results", "changes", "touched"),
    [
        ((SendResult.ANSWERED,), {}, True),
        ((SendResult.UNKNOWN,), {}, True),
        ((), {}, True),
        ((SendResult.UNSENT,), {}, False),
        ((), {"verdict": Verdict.DENIED, "reason": "host"}, False),
        ((SendResult.ANSWERED,), {"recipient": "alipay"}, False),
        ((SendResult.ANSWERED,), {"categories": ()}, False),
        ((SendResult.ANSWERED,), {"at": NOW - SECOND}, True),
        ((SendResult.ANSWERED,), {"at": NOW + SECOND}, False),
        ((SendResult.ANSWERED,), {"at": NOW - 2 * SECOND}, False),
    ],
)
def test_a_leak_touches_everybody_about_whom_something_may_have_arrived(
    engine: Engine,
    ledger: LedgerWriter,
    results: tuple[SendResult, ...],
    changes: dict[str, object],
    touched: bool,
) -> None:
    _send(engine, ledger, ONE, *results, **changes)
    assert _touched(engine).subjects == ((ONE,) if touched else ())


def test_people_are_counted_once_and_disclosures_without_a_person_apart(
    engine: Engine, ledger: LedgerWriter
) -> None:
    for subject in (ONE, OTHER, ONE, None):
        _send(engine, ledger, subject, SendResult.ANSWERED)
    found = _touched(engine)
    assert (found.subjects, found.disclosures, found.nobodys) == ((ONE, OTHER), 4, 1)


def test_a_disclosure_without_a_subject_touches_whom_its_job_is_about(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine, subject=None, people=(ONE, OTHER))
    write(engine, ledger.write_disclosures, a_disclosure(claimed))
    named = claim_new(engine, subject=ONE, people=("3" * 64,))
    write(engine, ledger.write_disclosures, a_disclosure(named))

    found = _touched(engine)
    assert (found.subjects, found.disclosures, found.nobodys) == ((ONE, OTHER), 2, 0)


def test_sums_tell_sent_from_denied(engine: Engine, ledger: LedgerWriter) -> None:
    _send(engine, ledger, ONE)
    _send(engine, ledger, ONE, at=NOW + SECOND)
    _send(engine, ledger, ONE, verdict=Verdict.DENIED, reason="host")
    with engine.connect() as connection:
        (found,) = traffic(connection)
    assert (found.operation, found.admitted, found.denied) == ("aliyun.sms.send", 2, 1)
    assert found.last == NOW + SECOND


def test_verifying_tells_how_far_it_is(engine: Engine, ledger: LedgerWriter) -> None:
    for _ in range(3):
        _send(engine, ledger, ONE, SendResult.ANSWERED)
    walked: list[int] = []
    with engine.connect() as connection:
        assert list(verify_ledger(connection, KEY, walked=walked.append)) == []
        assert sum(walked) == count_chained(connection) == 6
