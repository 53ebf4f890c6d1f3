"""A backend is known by its key, and nobody can read a key back."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Engine

from models.api_keys import ApiKeys, create_api_key, revoke_api_key
from models.database import writing
from models.errors import InvalidValue
from models.tables import api_keys
from tests.models.rows import NOW, SECOND, all_rows


def _create(engine: Engine, backend: str = "shop") -> str:
    with writing(engine) as connection:
        return create_api_key(connection, backend, clock=lambda: NOW)


def test_a_key_tells_its_backend(engine: Engine) -> None:
    shop, forum = _create(engine), _create(engine, "forum")
    keys = ApiKeys(engine)
    assert [keys.backend_for(key) for key in (shop, forum, shop)] == ["shop", "forum", "shop"]


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
    assert ApiKeys(engine).backend_for(key) is None


def test_a_key_with_one_other_character_is_nobodys(engine: Engine) -> None:
    key = _create(engine)
    assert ApiKeys(engine).backend_for(key[:-1] + ("A" if key[-1] != "A" else "B")) is None


def test_a_revoked_key_is_refused_at_once_where_it_is_not_remembered(engine: Engine) -> None:
    key, other = _create(engine), _create(engine)
    first = next(row for row in all_rows(engine, api_keys) if row.backend == "shop")
    with writing(engine) as connection:
        assert revoke_api_key(connection, first.id, clock=lambda: NOW + SECOND)
        assert not revoke_api_key(connection, first.id)
        assert not revoke_api_key(connection, "0" * 32)
    answers = {ApiKeys(engine).backend_for(k) for k in (key, other)}
    assert answers == {"shop", None}


def test_a_running_gateway_notices_within_its_memory(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ApiKeys(engine)
    key = _create(engine)
    monkeypatch.setattr("models.api_keys._REMEMBERED_SECONDS", 3600.0)
    assert keys.backend_for(key) == "shop"
    with writing(engine) as connection:
        revoke_api_key(connection, all_rows(engine, api_keys)[0].id)
    assert keys.backend_for(key) == "shop"
    monkeypatch.setattr("models.api_keys._REMEMBERED_SECONDS", 0.0)
    keys = ApiKeys(engine)
    assert keys.backend_for(key) is None


def test_a_flood_of_wrong_keys_does_not_fill_the_memory(sqlite: Engine) -> None:
    keys = ApiKeys(sqlite)
    key = _create(sqlite)
    for number in range(1100):
        assert keys.backend_for(f"zjj_{number}") is None
    assert len(keys._seen) <= 1024
    assert keys.backend_for(key) == "shop"


@pytest.mark.parametrize("backend", ["", "a b", "商店", "x" * 65, "shop\n", "../shop"])
def test_a_backends_name_is_plain(engine: Engine, backend: str) -> None:
    with pytest.raises(InvalidValue, match="backend must be"):
        _create(engine, backend)
    assert all_rows(engine, api_keys) == []
