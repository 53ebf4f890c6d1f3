"""Payloads at rest: readable in their own place only, and for as long as their key exists."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from models.database import writing
from models.errors import ConfigurationError, SealBroken
from models.keys import MasterKeys, generate_key
from models.pii import Phone, VerificationCode
from models.sealing import Sealer, bucket_of, destroy_bucket, seal_identity
from models.tables import data_keys, jobs
from tests.models.rows import NOW, SECOND, a_job, all_rows, job_row, store

FIRST, SECOND_KEY = f"first:{generate_key()}", f"second:{generate_key()}"
KEYS = MasterKeys.parse(FIRST)
PAYLOAD = {"phone": Phone("16400001234"), "code": VerificationCode("246810"), "scene": "login"}
PLAIN = {"phone": "16400001234", "code": "246810", "scene": "login"}
IDENTITY = seal_identity("1" * 32, "sms_code", "2023-01-01")
BUCKET = "2026-03-01"
DAY = dt.timedelta(days=1)


def _sealer(engine: Engine, keys: MasterKeys = KEYS, at: dt.datetime = NOW) -> Sealer:
    return Sealer(engine, keys, clock=lambda: at)


def _seal(sealer: Sealer, bucket: str = BUCKET) -> bytes:
    return sealer.seal(PAYLOAD, identity=IDENTITY, bucket=bucket)


def _open(sealer: Sealer, sealed: bytes, bucket: str = BUCKET) -> dict[str, object]:
    return sealer.open(sealed, identity=IDENTITY, bucket=bucket)


def test_what_is_sealed_is_opened_by_another_process(engine: Engine) -> None:
    sealed = _seal(_sealer(engine))
    assert _open(_sealer(engine), sealed) == PLAIN


def test_a_sealed_payload_shows_nothing(engine: Engine) -> None:
    sealed = _seal(_sealer(engine))
    for text in (b"16400001234", b"246810", b"login", b"phone"):
        assert text not in sealed


def test_the_same_payload_never_looks_the_same_twice(engine: Engine) -> None:
    sealer = _sealer(engine)
    seals = [_seal(sealer) for _ in range(50)]
    assert len({sealed[1:13] for sealed in seals}) == 50
    assert all(one[13:] != other[13:] for one, other in pairwise(seals))


@pytest.mark.parametrize(
    "identity",
    [
        seal_identity("2" * 32, "sms_code", "2023-01-01"),
        seal_identity("1" * 32, "push", "2023-01-01"),
        seal_identity("1" * 32, "sms_code", "2024-01-01"),
        b"",
    ],
)
def test_a_payload_opens_only_for_its_own_job_kind_and_policy(
    engine: Engine, identity: bytes
) -> None:
    sealer = _sealer(engine)
    sealed = _seal(sealer)
    with pytest.raises(SealBroken, match="belongs to another job"):
        sealer.open(sealed, identity=identity, bucket=BUCKET)


def test_no_two_places_have_the_same_identity() -> None:
    places = [("a", "b", "c"), ("a", "bc", ""), ("ab", "", "c"), ('a","b', "", "c")]
    assert len({seal_identity(*place) for place in places}) == len(places)


def test_a_payload_does_not_open_in_another_bucket(engine: Engine) -> None:
    sealer = _sealer(engine)
    sealed = _seal(sealer)
    _seal(sealer, "2026-03-02")
    with pytest.raises(SealBroken):
        _open(sealer, sealed, "2026-03-02")


def test_any_altered_bit_is_noticed(sqlite: Engine) -> None:
    sealer = _sealer(sqlite)
    sealed = _seal(sealer)
    for place in range(len(sealed)):
        for bit in (1, 128):
            altered = bytearray(sealed)
            altered[place] ^= bit
            with pytest.raises(SealBroken):
                _open(sealer, bytes(altered))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=80) | st.binary(max_size=80).map(lambda rest: b"\x01" + rest))
def test_garbage_is_no_payload(sqlite: Engine, garbage: bytes) -> None:
    sealer = _sealer(sqlite)
    _seal(sealer)
    with pytest.raises(SealBroken):
        _open(sealer, garbage)


def test_a_cut_payload_is_noticed_at_every_length(sqlite: Engine) -> None:
    sealer = _sealer(sqlite)
    sealed = _seal(sealer)
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            _open(sealer, sealed[:length])


def test_a_broken_seal_says_nothing_of_the_payload(engine: Engine) -> None:
    sealer = _sealer(engine)
    with pytest.raises(SealBroken) as caught:
        _open(sealer, _seal(sealer) + b"x")
    assert caught.value.__cause__ is None
    assert "1640000" not in str(caught.value)


# Master keys.


def test_after_a_rotation_old_payloads_open_and_new_keys_wrap(engine: Engine) -> None:
    old = _seal(_sealer(engine))
    rotated = MasterKeys.parse(f"{SECOND_KEY},{FIRST}")
    sealer = _sealer(engine, rotated)
    assert _open(sealer, old) == PLAIN
    new = _seal(sealer, "2026-03-02")
    wrapped_by = {row.bucket: row.master_key for row in all_rows(engine, data_keys)}
    assert wrapped_by == {BUCKET: "first", "2026-03-02": "second"}
    assert _open(_sealer(engine, MasterKeys.parse(SECOND_KEY)), new, "2026-03-02") == PLAIN


def test_a_missing_master_key_is_named(engine: Engine) -> None:
    sealed = _seal(_sealer(engine))
    with pytest.raises(ConfigurationError, match="lacks the key named 'first'"):
        _open(_sealer(engine, MasterKeys.parse(SECOND_KEY)), sealed)


def test_another_key_under_the_old_name_is_noticed(engine: Engine) -> None:
    sealed = _seal(_sealer(engine))
    impostor = MasterKeys.parse(f"first:{generate_key()}")
    with pytest.raises(ConfigurationError, match="not the one that wrapped"):
        _open(_sealer(engine, impostor), sealed)
    with pytest.raises(ConfigurationError, match="not the one that wrapped"):
        _seal(_sealer(engine, impostor))


def test_a_data_key_does_not_open_in_another_buckets_place(engine: Engine) -> None:
    sealer = _sealer(engine)
    _seal(sealer)
    _seal(sealer, "2026-03-02")
    rows = {row.bucket: row.wrapped for row in all_rows(engine, data_keys)}
    with writing(engine) as connection:
        connection.execute(
            update(data_keys).where(data_keys.c.bucket == "2026-03-02").values(wrapped=rows[BUCKET])
        )
    with pytest.raises(ConfigurationError):
        _seal(_sealer(engine), "2026-03-02")


def test_the_database_never_holds_a_key_in_the_open(engine: Engine) -> None:
    sealer = _sealer(engine)
    sealed = _seal(sealer)
    (row,) = all_rows(engine, data_keys)
    assert len(row.wrapped) == 12 + 32 + 16
    assert row.wrapped[12:44] not in sealed
    assert row.created_at == NOW


# Forgetting.


def test_a_destroyed_bucket_is_forgotten_even_by_a_backup(engine: Engine) -> None:
    sealer = _sealer(engine)
    backup = _seal(sealer)
    with writing(engine) as connection:
        destroy_bucket(connection, BUCKET, now=NOW + DAY)
    sealer.forget(BUCKET)
    for anybody in (sealer, _sealer(engine)):
        with pytest.raises(SealBroken) as caught:
            _open(anybody, backup)
        assert caught.value.code == "seal.forgotten"
    (row,) = all_rows(engine, data_keys)
    assert (row.wrapped, row.destroyed_at) == (None, NOW + DAY)


def test_destroying_a_bucket_erases_its_payloads_and_no_others(engine: Engine) -> None:
    gone, also_gone, kept = store(
        engine, a_job(bucket=BUCKET), a_job(bucket=BUCKET), a_job(bucket="2026-03-02")
    )
    _seal(_sealer(engine))
    with writing(engine) as connection:
        assert destroy_bucket(connection, BUCKET, now=NOW + DAY) == 2
        assert destroy_bucket(connection, BUCKET, now=NOW + 2 * DAY) == 0
    assert job_row(engine, gone).sealed is job_row(engine, also_gone).sealed is None
    assert job_row(engine, kept).sealed is not None
    assert all_rows(engine, data_keys)[0].destroyed_at == NOW + DAY


def test_a_day_with_many_payloads_is_forgotten_in_batches_its_key_first(engine: Engine) -> None:
    ids = store(engine, *(a_job(bucket=BUCKET) for _ in range(5)))
    sealed = _seal(_sealer(engine))
    batches = []
    for _ in range(3):
        with writing(engine) as connection:
            batches.append(destroy_bucket(connection, BUCKET, now=NOW + DAY, limit=2))
        with pytest.raises(SealBroken):
            _open(_sealer(engine), sealed)
        finished = all_rows(engine, data_keys)[0].destroyed_at is not None
        assert finished == (len(batches) == 3)
    assert batches == [2, 2, 1]
    assert all(job_row(engine, job_id).sealed is None for job_id in ids)


def test_nothing_is_sealed_for_a_day_that_is_forgotten(engine: Engine) -> None:
    _seal(_sealer(engine))
    with writing(engine) as connection:
        destroy_bucket(connection, BUCKET, now=NOW + DAY)
    with pytest.raises(SealBroken, match="already destroyed"):
        _seal(_sealer(engine))


def test_keys_of_past_days_leave_the_memory_of_every_process(engine: Engine) -> None:
    now = NOW
    sealer = Sealer(engine, KEYS, clock=lambda: now)
    old = _seal(sealer)
    with writing(engine) as connection:
        destroy_bucket(connection, BUCKET, now=NOW)
    now = NOW + DAY
    _seal(sealer, "2026-03-02")
    with pytest.raises(SealBroken):
        _open(sealer, old)


@pytest.mark.parametrize(
    ("moment", "bucket"),
    [
        (dt.datetime(2026, 3, 1, 23, 59, 59, tzinfo=dt.UTC), "2026-03-01"),
        (dt.datetime(2026, 3, 2, 0, 0, tzinfo=dt.UTC), "2026-03-02"),
        (dt.datetime(2026, 3, 2, 7, 0, tzinfo=dt.timezone(dt.timedelta(hours=8))), "2026-03-01"),
    ],
)
def test_a_bucket_is_a_day_in_utc(moment: dt.datetime, bucket: str) -> None:
    assert bucket_of(moment) == bucket


# Transactions, and the first key of a day.


def test_a_payload_sealed_in_a_transaction_opens_after_its_commit(engine: Engine) -> None:
    sealer = _sealer(engine)
    with writing(engine) as connection:
        first = sealer.seal(PAYLOAD, identity=IDENTITY, bucket=BUCKET, connection=connection)
        second = sealer.seal(PAYLOAD, identity=IDENTITY, bucket=BUCKET, connection=connection)
    for anybody in (sealer, _sealer(engine)):
        assert _open(anybody, first) == _open(anybody, second) == PLAIN


def test_a_rolled_back_transaction_does_not_leave_a_key_that_only_memory_knows(
    engine: Engine,
) -> None:
    sealer = _sealer(engine)
    with engine.connect() as connection, connection.begin() as transaction:
        sealer.seal(PAYLOAD, identity=IDENTITY, bucket=BUCKET, connection=connection)
        transaction.rollback()
    assert _open(_sealer(engine), _seal(sealer)) == PLAIN


def test_an_open_transaction_does_not_keep_others_from_sealing(postgres: Engine) -> None:
    with writing(postgres) as connection:
        sealed = _sealer(postgres).seal(
            PAYLOAD, identity=IDENTITY, bucket=BUCKET, connection=connection
        )
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(_seal, _sealer(postgres)).result(timeout=3)
    for payload in (sealed, other):
        assert _open(_sealer(postgres), payload) == PLAIN


def test_the_first_key_of_a_day_is_made_once_however_many_begin_together(
    engine: Engine, another_engine: Callable[[], Engine]
) -> None:
    start = threading.Barrier(12)
    sealers = [_sealer(another_engine()) for _ in range(3)]

    def seal(sealer: Sealer) -> bytes:
        start.wait()
        return _seal(sealer)

    with ThreadPoolExecutor(12) as pool:
        seals = list(pool.map(seal, sealers * 4))
    with engine.connect() as connection:
        assert connection.scalars(select(data_keys.c.bucket)).all() == [BUCKET]
    reader = _sealer(engine)
    assert all(_open(reader, sealed) == PLAIN for sealed in seals)


def test_a_known_key_costs_no_query(engine: Engine) -> None:
    sealer = _sealer(engine)
    sealed = _seal(sealer)
    with writing(engine) as connection:
        connection.execute(update(data_keys).values(wrapped=None))
    assert _open(sealer, sealed) == PLAIN


def test_only_known_things_have_a_place_in_a_payload(engine: Engine) -> None:
    with pytest.raises(TypeError, match="timedelta"):
        _sealer(engine).seal({"when": SECOND}, identity=IDENTITY, bucket=BUCKET)


def test_jobs_keep_their_payload_sealed(engine: Engine) -> None:
    job = a_job(sealed=_seal(_sealer(engine)))
    store(engine, job)
    with engine.connect() as connection:
        row = connection.execute(select(jobs)).one()
    assert _open(_sealer(engine), row.sealed, row.bucket) == PLAIN
