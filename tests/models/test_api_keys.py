"""A backend is known by its key, and nobody can read a key back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine

from models.api_keys import ApiKeys, Scope, create_api_key, list_api_keys, revoke_api_key
from models.database import open_database, writing
from models.errors import DatabaseUnavailable, InvalidValue
from models.tables import api_keys
from tests.models.rows import NOW, SECOND, all_rows


def _create(engine: Engine, backend: str = "shop") -> str:
    with writing(engine) as connection:
        return create_api_key(connection, backend, clock=lambda: NOW)


def _backend(keys: ApiKeys, secret: str) -> str | None:
    key = keys.find(secret)
    return None if key is None else key.backend


def test_a_key_tells_its_backend(engine: Engine) -> None:
    shop, forum = _create(engine), _create(engine, "forum")
    keys = ApiKeys(engine)
    assert [_backend(keys, key) for key in (shop, forum, shop)] == ["shop", "forum", "shop"]


def test_a_key_is_long_random_and_never_stored(engine: Engine) -> None:
    made = [_create(engine) for _ in range(3)]
    assert len(set(made)) == 3
    for key in made:
        assert re.fullmatch(r"zjj_[A-Za-z0-9_-]{43}", key)
        assert key not in str(all_rows(engine, api_keys))
        assert key.removeprefix("zjj_") not in str(all_rows(engine, api_keys))


@pytest.mark.parametrize("key", ["", "zjj_", "zjj_" + "A" * 43, "密钥", "'; --"])
def test_another_key_is_nobodys(engine: Engine, key: str) -> None:
    _create(engine)
    assert _backend(ApiKeys(engine), key) is None


def test_a_key_with_one_other_character_is_nobodys(engine: Engine) -> None:
    key = _create(engine)
    assert _backend(ApiKeys(engine), key[:-1] + ("A" if key[-1] != "A" else "B")) is None


def test_a_revoked_key_is_refused_at_once_where_it_is_not_remembered(engine: Engine) -> None:
    key, other = _create(engine), _create(engine)
    first = next(row for row in all_rows(engine, api_keys) if row.backend == "shop")
    with writing(engine) as connection:
        assert revoke_api_key(connection, first.id, clock=lambda: NOW + SECOND)
        assert not revoke_api_key(connection, first.id)
        assert not revoke_api_key(connection, "0" * 32)
    answers = {_backend(ApiKeys(engine), k) for k in (key, other)}
    assert answers == {"shop", None}


def test_a_running_gateway_notices_within_its_memory(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ApiKeys(engine)
    key = _create(engine)
    monkeypatch.setattr("models.api_keys._REMEMBERED_SECONDS", 3600.0)
    assert _backend(keys, key) == "shop"
    with writing(engine) as connection:
        revoke_api_key(connection, all_rows(engine, api_keys)[0].id)
    assert _backend(keys, key) == "shop"
    monkeypatch.setattr("models.api_keys._REMEMBERED_SECONDS", 0.0)
    keys = ApiKeys(engine)
    assert _backend(keys, key) is None


def test_a_flood_of_wrong_keys_does_not_fill_the_memory(sqlite: Engine) -> None:
    keys = ApiKeys(sqlite)
    key = _create(sqlite)
    for number in range(1100):
        assert _backend(keys, f"zjj_{number}") is None
    assert len(keys._seen) <= 1024
    assert _backend(keys, key) == "shop"


@pytest.mark.parametrize("backend", ["", "a b", "商店", "x" * 65, "shop\n", "../shop"])
def test_a_backends_name_is_plain(engine: Engine, backend: str) -> None:
    with pytest.raises(InvalidValue, match="backend must be"):
        _create(engine, backend)
    assert all_rows(engine, api_keys) == []


def test_a_key_without_any_scope_is_not_made(engine: Engine) -> None:
    with pytest.raises(InvalidValue, match="scopes"), writing(engine) as connection:
        create_api_key(connection, "shop", scopes=())


def test_a_key_of_before_may_do_what_it_could_do(engine: Engine) -> None:
    with writing(engine) as connection:
        row = {"id": "0" * 32, "backend": "shop", "digest": "d", "created_at": NOW}
        connection.execute(api_keys.insert().values(**row))
        (key,) = list_api_keys(connection)
    assert key.scopes == {Scope.ENQUEUE, Scope.READ}


def test_a_database_that_is_away_is_named_as_such(tmp_path: Path) -> None:
    away = open_database(f"sqlite:///{tmp_path}/nowhere/zjj.db")
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        ApiKeys(away).find("zjj_key")
