"""Endpoints and their secrets: shown once, sealed for good, rotated without a gap."""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from models.audits import audits_of
from models.database import writing
from models.dump import dump_rows
from models.errors import ConfigurationError, DatabaseUnavailable, GiveUpError, NotFound
from models.keys import MasterKeys, generate_key
from models.webhooks import (
    Endpoint,
    Endpoints,
    add_endpoint,
    disable_endpoint,
    enable_endpoint,
    find_endpoint,
    list_endpoints,
    rotate_secret,
    signing_keys,
)
from tests.models.rows import NOW

KEYS = MasterKeys.parse(f"a:{generate_key()}")
DAY = dt.timedelta(days=1)


def _add(engine: Engine, backend: str = "shop", *events: str) -> tuple[Endpoint, str]:
    with writing(engine) as connection:
        return add_endpoint(
            connection,
            KEYS,
            backend=backend,
            url="https://shop.example.com/hook",
            events=events or ("*",),
            now=NOW,
        )


def _bytes(secret: str) -> bytes:
    assert secret.startswith("whsec_")
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)


def test_the_secret_that_was_shown_is_the_one_that_signs(engine: Engine) -> None:
    endpoint, secret = _add(engine)
    with engine.connect() as connection:
        (key,) = signing_keys(connection, KEYS, endpoint.id, now=NOW)
    assert key.key == _bytes(secret)
    assert len(key.key) == 32
    assert key.id == endpoint.key_id
    assert repr(key.key) not in repr(key)


def test_no_row_and_no_listing_shows_a_secret(engine: Engine) -> None:
    _, secret = _add(engine)
    with engine.connect() as connection:
        rows = b"".join(dump_rows(connection))
        listed = repr(list_endpoints(connection))
    assert _bytes(secret) not in rows
    assert secret.encode() not in rows
    assert "secret" not in listed


def test_while_a_secret_is_rotated_both_sign_the_new_one_first(engine: Engine) -> None:
    endpoint, old = _add(engine)
    with writing(engine) as connection:
        rotated, new = rotate_secret(connection, KEYS, endpoint.id, previous_until=NOW + DAY)
    with engine.connect() as connection:
        during = signing_keys(connection, KEYS, endpoint.id, now=NOW + DAY / 2)
        after = signing_keys(connection, KEYS, endpoint.id, now=NOW + DAY)
    assert [key.key for key in during] == [_bytes(new), _bytes(old)]
    assert [key.id for key in during] == [rotated.key_id, endpoint.key_id]
    assert [key.key for key in after] == [_bytes(new)]


def test_a_secret_opens_in_its_own_row_only(engine: Engine) -> None:
    _add(engine)
    _add(engine)
    with writing(engine) as connection:
        first, second = list_endpoints(connection)
        connection.exec_driver_sql(
            "UPDATE webhook_endpoints SET secret = (SELECT secret FROM webhook_endpoints"
            f" WHERE id = '{first.id}') WHERE id = '{second.id}'"
        )
    with engine.connect() as connection, pytest.raises(ConfigurationError, match="sealed"):
        signing_keys(connection, KEYS, second.id, now=NOW)


def test_a_lost_master_key_is_named(engine: Engine) -> None:
    endpoint, _ = _add(engine)
    others = MasterKeys.parse(f"b:{generate_key()}")
    with engine.connect() as connection, pytest.raises(ConfigurationError, match="'a'"):
        signing_keys(connection, others, endpoint.id, now=NOW)


@pytest.mark.parametrize(
    ("events", "wanted", "unwanted"),
    [
        (("*",), {"job.settled", "payment.paid"}, set()),
        (("payment.*",), {"payment.paid", "payment.mismatch"}, {"job.settled"}),
        (("job.settled",), {"job.settled"}, {"job.other", "payment.paid"}),
    ],
)
def test_an_endpoint_hears_what_it_wants(
    engine: Engine, events: tuple[str, ...], wanted: set[str], unwanted: set[str]
) -> None:
    endpoint, _ = _add(engine, "shop", *events)
    assert all(endpoint.wants(each) for each in wanted)
    assert not any(endpoint.wants(each) for each in unwanted)


def test_endpoints_are_listed_by_their_backend(engine: Engine) -> None:
    ours, _ = _add(engine)
    theirs, _ = _add(engine, "another")
    with engine.connect() as connection:
        assert list_endpoints(connection, backend="shop") == [ours]
        assert {each.id for each in list_endpoints(connection)} == {ours.id, theirs.id}
        assert find_endpoint(connection, ours.id) == ours
        assert find_endpoint(connection, "0" * 32) is None


def test_what_is_not_there_cannot_be_rotated_or_signed_for(engine: Engine) -> None:
    with writing(engine) as connection:
        with pytest.raises(NotFound):
            rotate_secret(connection, KEYS, "0" * 32, previous_until=NOW)
        with pytest.raises(NotFound):
            signing_keys(connection, KEYS, "0" * 32, now=NOW)


# What a worker asks.


def test_a_worker_opens_an_endpoint_of_the_jobs_backend_only(engine: Engine) -> None:
    endpoint, secret = _add(engine)
    book = Endpoints(engine, KEYS, clock=lambda: NOW)
    opened = book.open(endpoint.id, backend="shop")
    assert (opened.url, [key.key for key in opened.keys]) == (endpoint.url, [_bytes(secret)])
    for endpoint_id, backend in ((endpoint.id, "another"), ("0" * 32, "shop")):
        with pytest.raises(GiveUpError) as refused:
            book.open(endpoint_id, backend=backend)
        assert refused.value.code == "webhook.disabled"


def test_a_disabled_endpoint_stays_closed_until_a_person_enables_it(engine: Engine) -> None:
    endpoint, _ = _add(engine)
    book = Endpoints(engine, KEYS, clock=lambda: NOW)
    book.disable(endpoint.id, "webhook.gone")
    book.disable(endpoint.id, "webhook.gone")
    with pytest.raises(GiveUpError):
        book.open(endpoint.id, backend="shop")
    with writing(engine) as connection:
        assert find_endpoint(connection, endpoint.id) == replace(
            endpoint, disabled_at=NOW, disabled_because="webhook.gone"
        )
        assert [each.action for each in audits_of(connection, endpoint.id)] == ["webhook.disable"]
        assert not disable_endpoint(connection, endpoint.id, because="again", now=NOW)
        assert enable_endpoint(connection, endpoint.id)
        assert not enable_endpoint(connection, endpoint.id)
    assert book.open(endpoint.id, backend="shop").url == endpoint.url


def test_a_database_outage_is_said_as_such(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("ALTER TABLE webhook_endpoints RENAME TO gone")
    try:
        with pytest.raises(DatabaseUnavailable):
            Endpoints(engine, KEYS).open("0" * 32, backend="shop")
    finally:
        with writing(engine) as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO webhook_endpoints")
