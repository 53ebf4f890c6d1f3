"""What left is on record, and the record shows when somebody touched it."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, Table, delete, insert, select, update

from models.chains import ChainEnd, chain_ends
from models.claims import Claim
from models.database import writing
from models.disclosures import Disclosure, SendResult, Verdict
from models.errors import ClaimLost, DatabaseUnavailable
from models.group_commit import GroupCommit, Transaction, WriteApart
from models.identifiers import new_id
from models.jobs import find_job
from models.ledger import Fault, LedgerWriter, SqlLedger, verify_ledger
from models.states import Event, State
from models.tables import disclosure_results, disclosures, ledger_heads
from tests.models.rows import (
    KEY,
    NOW,
    a_disclosure,
    a_result,
    a_settlement,
    all_rows,
    change_job,
    claim_new,
    state_of,
    write,
)


def _faults(engine: Engine, key: bytes = KEY) -> list[Fault]:
    with engine.connect() as connection:
        return list(verify_ledger(connection, key))


def _fill(engine: Engine, ledger: LedgerWriter, sends: int = 5) -> list[Disclosure]:
    """A chain of ``2 * sends`` rows: a disclosure, its result, a disclosure, its result …"""
    claimed = claim_new(engine)
    written = [a_disclosure(claimed) for _ in range(sends)]
    for disclosure in written:
        write(engine, ledger.write_disclosures, disclosure)
        write(engine, ledger.write_results, a_result(disclosure))
    return written


def test_a_disclosure_is_durable_when_record_returns(
    engine: Engine, another_engine: Callable[[], Engine], ledger: LedgerWriter, commits: GroupCommit
) -> None:
    disclosure = a_disclosure(claim_new(engine), consent_ref="agreed-1", guardian_ref="parent-1")
    SqlLedger(commits, ledger).record(disclosure)
    (row,) = all_rows(another_engine(), disclosures)
    stored = row._asdict()
    for name in ("clauses", "categories", "stripped"):
        stored[name] = tuple(stored[name])
    assert {"writer", "seq", "mac"} <= stored.keys()
    for name in set(Disclosure.__slots__) - {"demands"}:
        assert stored[name] == getattr(disclosure, name), name


def test_an_untouched_ledger_verifies(engine: Engine, ledger: LedgerWriter) -> None:
    other = LedgerWriter(KEY)
    for writer in (ledger, other, ledger):
        _fill(engine, writer)
    assert _faults(engine) == []


def test_an_empty_ledger_verifies(engine: Engine) -> None:
    assert _faults(engine) == []


def test_another_key_finds_every_chain_altered(engine: Engine, ledger: LedgerWriter) -> None:
    _fill(engine, ledger)
    _fill(engine, LedgerWriter(KEY))
    assert [(fault.seq, fault.what) for fault in _faults(engine, bytes(32))] == [
        (1, "altered"),
        (1, "altered"),
    ]


@pytest.mark.parametrize("table", [disclosures, disclosure_results])
def test_a_removed_row_is_found(engine: Engine, ledger: LedgerWriter, table: Table) -> None:
    _fill(engine, ledger)
    gone = 5 if table is disclosures else 6
    with writing(engine) as connection:
        connection.execute(delete(table).where(table.c.seq == gone))
    (fault,) = _faults(engine)
    assert (fault.seq, fault.what) == (gone, "removed")


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (table, column.name, value)
        for table in (disclosures, disclosure_results)
        for column in table.columns
        for value in [
            {
                "clauses": ["一(9)9"],
                "categories": [],
                "stripped": ["phone"],
                "attempt": 7,
                "fence": 7,
                "seq": 99,
                "http_status": 500,
                "milliseconds": 12.25,
                "at": NOW + dt.timedelta(microseconds=1),
            }.get(column.name, "x")
        ]
    ],
)
def test_an_altered_column_is_found(
    engine: Engine, ledger: LedgerWriter, table: Table, column: str, value: Any
) -> None:
    _fill(engine, ledger)
    seq = 5 if table is disclosures else 6
    with writing(engine) as connection:
        connection.execute(update(table).where(table.c.seq == seq).values({column: value}))
    faults = _faults(engine)
    expected = "removed" if column in {"seq", "writer"} else "altered"
    assert (seq, expected) in [(fault.seq, fault.what) for fault in faults]


@pytest.mark.parametrize("table", [disclosures, disclosure_results])
def test_two_rows_that_changed_places_are_found(
    engine: Engine, ledger: LedgerWriter, table: Table
) -> None:
    _fill(engine, ledger)
    first, second = (3, 7) if table is disclosures else (4, 8)
    with writing(engine) as connection:
        for source, target in ((first, 99), (second, first), (99, second)):
            connection.execute(update(table).where(table.c.seq == source).values(seq=target))
    (fault,) = _faults(engine)
    assert (fault.seq, fault.what) == (first, "altered")


def _row_of_an_earlier_version(engine: Engine) -> None:
    """A chain of one row, as it was written before disclosures named guardians' consents."""
    mac = "8c57315655fb5758ddc865f081ff34ed447df656b0f09e78855cb6fd66372dc6"
    head = "25794090b54739ea25543cebee06576e28250e1bfb1eafa51b018bc7960793f9"
    chain = {"writer": "a" * 32, "seq": 1}
    row = {
        "id": "1" * 32,
        "job_id": "2" * 32,
        "kind": "sms_code",
        "attempt": 1,
        "fence": 1,
        "operation": "aliyun.sms.send",
        "recipient": "aliyun_sms",
        "host": "dysmsapi.aliyuncs.com",
        "purpose": "verify_phone",
        "clauses": ["一(1)1"],
        "policy_version": "2023-01-01",
        "categories": ["user.contact.phone_number"],
        "stripped": ["user"],
        "subject": "5" * 64,
        "consent_ref": "agreed-1",
        "verdict": "admitted",
        "reason": None,
        "at": NOW,
    }
    with writing(engine) as connection:
        connection.execute(insert(disclosures).values(**row, **chain, mac=mac))
        connection.execute(insert(ledger_heads).values(**chain, mac=head, updated_at=NOW))


def test_rows_of_an_earlier_version_verify(engine: Engine) -> None:
    _row_of_an_earlier_version(engine)
    assert _faults(engine) == []

    with writing(engine) as connection:
        connection.execute(update(disclosures).values(guardian_ref="parent-1"))
    assert [(fault.seq, fault.what) for fault in _faults(engine)] == [(1, "altered")]


def test_a_guardian_who_was_taken_out_of_the_record_is_missed(
    engine: Engine, ledger: LedgerWriter
) -> None:
    disclosure = a_disclosure(claim_new(engine), guardian_ref="parent-1")
    write(engine, ledger.write_disclosures, disclosure)
    assert _faults(engine) == []

    with writing(engine) as connection:
        connection.execute(update(disclosures).values(guardian_ref=None))
    assert [(fault.seq, fault.what) for fault in _faults(engine)] == [(1, "altered")]


@pytest.mark.parametrize("kept", [0, 1, 8, 9])
def test_a_cut_tail_is_found(engine: Engine, ledger: LedgerWriter, kept: int) -> None:
    _fill(engine, ledger)
    _cut_tail(engine, kept)
    (fault,) = _faults(engine)
    assert (fault.seq, fault.what) == (kept + 1, "tail cut")


@pytest.mark.parametrize("kept", [1, 8, 9])
def test_a_cut_tail_is_found_even_if_the_head_is_set_back(
    engine: Engine, ledger: LedgerWriter, kept: int
) -> None:
    _fill(engine, ledger)
    _cut_tail(engine, kept)
    with writing(engine) as connection:
        macs = [
            mac
            for table in (disclosures, disclosure_results)
            for mac in connection.scalars(select(table.c.mac).where(table.c.seq == kept))
        ]
        connection.execute(update(ledger_heads).values(seq=kept, mac=macs[0]))
    (fault,) = _faults(engine)
    assert (fault.seq, fault.what) == (kept, "altered")


def test_a_removed_head_is_found(engine: Engine, ledger: LedgerWriter) -> None:
    _fill(engine, ledger)
    with writing(engine) as connection:
        connection.execute(delete(ledger_heads))
    assert [fault.what for fault in _faults(engine)] == ["altered"]


def _ends(engine: Engine) -> list[ChainEnd]:
    with engine.connect() as connection:
        return chain_ends(connection)


def _faults_since(engine: Engine, known: list[ChainEnd]) -> list[tuple[int, str]]:
    with engine.connect() as connection:
        found = verify_ledger(connection, KEY, known=known)
        return [(fault.seq, fault.what) for fault in found]


def test_a_head_that_says_that_nothing_was_written_is_found(
    engine: Engine, ledger: LedgerWriter
) -> None:
    _fill(engine, ledger)
    with writing(engine) as connection:
        connection.execute(update(ledger_heads).values(seq=0))
    assert [(fault.seq, fault.what) for fault in _faults(engine)] == [(0, "altered")]


def test_a_chain_that_is_gone_as_a_whole_is_missed_by_whoever_kept_its_end(
    engine: Engine, ledger: LedgerWriter
) -> None:
    _fill(engine, ledger)
    kept = _ends(engine)
    assert _faults_since(engine, kept) == []
    with writing(engine) as connection:
        for table in (disclosures, disclosure_results, ledger_heads):
            connection.execute(delete(table))
    assert _faults(engine) == []
    assert _faults_since(engine, kept) == [(1, "removed")]


def test_a_chain_that_was_put_back_or_written_anew_is_found_by_its_kept_end(
    engine: Engine, ledger: LedgerWriter
) -> None:
    _fill(engine, ledger, sends=2)
    early = _ends(engine)
    heads, rows = all_rows(engine, ledger_heads), all_rows(engine, disclosure_results)
    _fill(engine, ledger, sends=2)
    late = _ends(engine)
    assert (early[0].seq, late[0].seq) == (4, 8)
    assert _faults_since(engine, early) == _faults_since(engine, late) == []

    last = max(row.seq for row in rows)
    with writing(engine) as connection:
        for table in (disclosures, disclosure_results):
            connection.execute(delete(table).where(table.c.seq > last))
        connection.execute(update(ledger_heads).values(heads[0]._asdict()))
    assert _faults(engine) == []
    assert _faults_since(engine, early) == []
    assert _faults_since(engine, late) == [(5, "tail cut")]
    assert _faults_since(engine, [replace(early[0], mac=late[0].mac)]) == [(4, "altered")]


def test_a_ledger_without_its_key_cannot_be_continued_unseen(engine: Engine) -> None:
    forger = LedgerWriter(b"f" * 32)
    _fill(engine, LedgerWriter(KEY))
    kept = _ends(engine)
    with writing(engine) as connection:
        for table in (disclosures, disclosure_results, ledger_heads):
            connection.execute(delete(table))
    _fill(engine, forger, sends=1)
    found = _faults_since(engine, kept)
    assert sorted(found) == [(1, "altered"), (1, "removed")]


def _cut_tail(engine: Engine, kept: int) -> None:
    with writing(engine) as connection:
        for table in (disclosures, disclosure_results):
            connection.execute(delete(table).where(table.c.seq > kept))


def test_a_copied_row_under_another_writer_is_found(engine: Engine, ledger: LedgerWriter) -> None:
    _fill(engine, ledger)
    with writing(engine) as connection:
        row = connection.execute(select(disclosures).where(disclosures.c.seq == 1)).one()
        forged = row._asdict() | {"id": new_id(), "writer": new_id()}
        connection.execute(disclosures.insert(), [forged])
    assert [(fault.writer, fault.what) for fault in _faults(engine)] == [
        (forged["writer"], "altered")
    ]


def test_verifying_page_by_page_sees_every_row(
    engine: Engine, ledger: LedgerWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.chains._PAGE", 2)
    _fill(engine, ledger, sends=4)
    assert _faults(engine) == []
    with writing(engine) as connection:
        connection.execute(
            update(disclosure_results).where(disclosure_results.c.seq == 8).values(http_status=1)
        )
    assert [(fault.seq, fault.what) for fault in _faults(engine)] == [(8, "altered")]


def test_a_ledger_verifies_while_it_is_being_written(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    claimed = claim_new(engine)
    done = threading.Event()

    def go_on_writing() -> None:
        record = SqlLedger(commits, ledger).record
        while not done.is_set():
            record(a_disclosure(claimed))

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(go_on_writing) for _ in range(2)]
        found = [fault for _ in range(15) for fault in _faults(engine)]
        done.set()
    for writer in writers:
        writer.result()
    assert found == []
    assert _faults(engine) == []


def test_a_rolled_back_write_leaves_no_hole(engine: Engine, ledger: LedgerWriter) -> None:
    claimed = claim_new(engine)
    write(engine, ledger.write_disclosures, a_disclosure(claimed))
    lost = a_disclosure(claimed)
    with engine.connect() as connection, connection.begin() as nested:
        transaction = Transaction(connection)
        ledger.write_disclosures(transaction, [lost])
        transaction.finish()
        nested.rollback()
    write(engine, ledger.write_disclosures, a_disclosure(claimed))
    assert _faults(engine) == []
    assert sorted(row.seq for row in all_rows(engine, disclosures)) == [1, 2]


def test_disclosures_and_results_of_one_transaction_share_one_chain(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    first, second = a_disclosure(claimed), a_disclosure(claimed)
    with writing(engine) as connection:
        transaction = Transaction(connection)
        ledger.write_disclosures(transaction, [first])
        ledger.write_results(transaction, [a_result(first)])
        ledger.write_disclosures(transaction, [second])
        transaction.finish()
    transaction.committed()
    assert [row.seq for row in all_rows(engine, disclosures)] == [1, 3]
    assert [row.seq for row in all_rows(engine, disclosure_results)] == [2]
    (head,) = all_rows(engine, ledger_heads)
    assert head.seq == 3
    assert _faults(engine) == []


def test_a_disclosure_may_get_a_second_result_later(engine: Engine, ledger: LedgerWriter) -> None:
    claimed = claim_new(engine)
    disclosure = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, disclosure)
    unknown = a_result(disclosure, result=SendResult.UNKNOWN, http_status=None, provider_code=None)
    for result in (unknown, a_result(disclosure), unknown):
        write(engine, ledger.write_results, result)
    assert _faults(engine) == []
    with engine.connect() as connection:
        view = find_job(connection, claimed.job_id)
    assert view is not None
    assert [(d.result, d.http_status) for d in view.disclosures] == [(SendResult.ANSWERED, 200)]


def test_starting_afresh_begins_another_chain(engine: Engine, ledger: LedgerWriter) -> None:
    _fill(engine, ledger, sends=1)
    ledger.start_afresh()
    _fill(engine, ledger, sends=1)
    assert len(all_rows(engine, ledger_heads)) == 2
    assert sorted(row.seq for row in all_rows(engine, disclosures)) == [1, 1]
    assert _faults(engine) == []


def test_whole_milliseconds_verify_like_any_others(engine: Engine, ledger: LedgerWriter) -> None:
    disclosure = a_disclosure(claim_new(engine))
    write(engine, ledger.write_disclosures, disclosure)
    write(engine, ledger.write_results, a_result(disclosure, milliseconds=0))
    assert _faults(engine) == []


def test_an_instant_verifies_in_whatever_zone_it_was_given(
    engine: Engine, ledger: LedgerWriter
) -> None:
    shanghai = dt.timezone(dt.timedelta(hours=8))
    disclosure = a_disclosure(claim_new(engine), at=NOW.astimezone(shanghai))
    write(engine, ledger.write_disclosures, disclosure)
    write(engine, ledger.write_results, a_result(disclosure, at=NOW.replace(microsecond=0)))
    assert _faults(engine) == []


def test_an_instant_without_a_zone_is_refused(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    naive = a_disclosure(claim_new(engine), at=NOW.replace(tzinfo=None))
    with pytest.raises((TypeError, DatabaseUnavailable)):
        SqlLedger(commits, ledger).record(naive)
    assert all_rows(engine, disclosures) == []


# Only the holder of a claim discloses on its behalf.


def _taken_over(engine: Engine, ledger: LedgerWriter) -> Claim:
    claimed = claim_new(engine)
    rescue = a_settlement(claimed, Event.RETRY, rescued=True)
    assert write(engine, ledger.write_settlements, rescue) == [True]
    return claimed


def test_a_worker_that_was_thought_dead_discloses_nothing(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    claimed = _taken_over(engine, ledger)
    with pytest.raises(ClaimLost):
        SqlLedger(commits, ledger).record(a_disclosure(claimed))
    assert all_rows(engine, disclosures) == []
    assert _faults(engine) == []


@pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING}))
def test_nothing_is_disclosed_for_a_job_that_does_not_run(
    engine: Engine, ledger: LedgerWriter, state: State
) -> None:
    claimed = claim_new(engine)
    change_job(engine, claimed.job_id, state=state)
    (answer,) = write(engine, ledger.write_disclosures, a_disclosure(claimed))
    assert isinstance(answer, ClaimLost)


def test_one_lost_claim_does_not_hold_up_its_neighbours(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    lost, held = _taken_over(engine, ledger), claim_new(engine)
    items = [a_disclosure(held), a_disclosure(lost), a_disclosure(held)]
    with pytest.raises(WriteApart):
        write(engine, ledger.write_disclosures, *items)
    answers = [commits.submit(ledger.write_disclosures, item) for item in items]
    assert [type(answer.exception()) for answer in answers] == [type(None), ClaimLost, type(None)]
    assert {row.id for row in all_rows(engine, disclosures)} == {items[0].id, items[2].id}
    assert _faults(engine) == []


def test_a_denial_is_on_record_even_when_the_claim_was_lost(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = _taken_over(engine, ledger)
    denial = a_disclosure(claimed, verdict=Verdict.DENIED, reason="unknown_field:name")
    assert write(engine, ledger.write_disclosures, denial) == [None]
    (row,) = all_rows(engine, disclosures)
    assert (row.verdict, row.reason) == ("denied", "unknown_field:name")


@pytest.mark.parametrize("first", ["disclosure", "rescue"])
def test_a_disclosure_and_a_rescue_at_the_same_moment_never_both_count(
    postgres: Engine, ledger: LedgerWriter, first: str
) -> None:
    """Whichever transaction is first, the other waits for it and then sees what it did."""
    claimed = claim_new(postgres)
    rescuer = LedgerWriter(KEY)
    steps: dict[str, Callable[[Transaction], Sequence[object]]] = {
        "disclosure": lambda t: ledger.write_disclosures(t, [a_disclosure(claimed)]),
        "rescue": lambda t: rescuer.write_settlements(
            t, [a_settlement(claimed, Event.RETRY, rescued=True)]
        ),
    }
    second = ({*steps} - {first}).pop()
    with ThreadPoolExecutor(1) as pool:
        with writing(postgres) as connection:
            transaction = Transaction(connection)
            steps[first](transaction)
            waiting = pool.submit(write, postgres, lambda t, _: steps[second](t), None)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.2)
            transaction.finish()
        (answer,) = waiting.result(timeout=5)
    if first == "disclosure":
        assert answer is False
        assert state_of(postgres, claimed.job_id) is State.RUNNING
    else:
        assert isinstance(answer, ClaimLost)
        assert all_rows(postgres, disclosures) == []


# A COMMIT whose answer never came.


def test_a_batch_that_stood_after_all_is_not_written_again(
    engine: Engine, ledger: LedgerWriter
) -> None:
    claimed = claim_new(engine)
    write(engine, ledger.write_disclosures, a_disclosure(claimed))
    items = [a_disclosure(claimed), a_disclosure(claimed)]
    write(engine, ledger.write_disclosures, *items, acknowledged=False)
    assert write(engine, ledger.write_disclosures, *items, repeated=True) == [None, None]
    assert len(all_rows(engine, disclosures)) == 3
    assert _faults(engine) == []
    write(engine, ledger.write_disclosures, a_disclosure(claimed))
    assert len(all_rows(engine, disclosures)) == 4
    assert _faults(engine) == []


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_batch_that_did_not_stand_is_written_again(
    engine: Engine, ledger: LedgerWriter, earlier: int
) -> None:
    claimed = claim_new(engine)
    for _ in range(earlier):
        write(engine, ledger.write_disclosures, a_disclosure(claimed))
    item = a_disclosure(claimed)
    assert write(engine, ledger.write_disclosures, item, repeated=True) == [None]
    assert item.id in {row.id for row in all_rows(engine, disclosures)}
    write(engine, ledger.write_results, a_result(item))
    assert len(all_rows(engine, ledger_heads)) == 1
    assert _faults(engine) == []


def test_a_disclosure_that_stood_before_the_job_was_lost_is_not_refused_twice(
    engine: Engine, ledger: LedgerWriter
) -> None:
    """The rescuer has seen it and called the outcome unknown, so nobody else sends."""
    claimed = claim_new(engine)
    item = a_disclosure(claimed)
    write(engine, ledger.write_disclosures, item, acknowledged=False)
    rescuer = LedgerWriter(KEY)
    write(engine, rescuer.write_settlements, a_settlement(claimed, Event.LOSE, rescued=True))
    assert write(engine, ledger.write_disclosures, item, repeated=True) == [None]
    assert state_of(engine, claimed.job_id) is State.UNKNOWN


def test_no_disclosure_is_dropped_in_silence(
    engine: Engine, ledger: LedgerWriter, commits: GroupCommit
) -> None:
    claimed = claim_new(engine)
    item = a_disclosure(claimed)
    SqlLedger(commits, ledger).record(item)
    with pytest.raises(DatabaseUnavailable):
        SqlLedger(commits, ledger).record(replace(item, host="elsewhere.example"))
    assert [row.host for row in all_rows(engine, disclosures)] == [item.host]
    assert _faults(engine) == []
