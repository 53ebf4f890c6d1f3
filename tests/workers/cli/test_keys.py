"""``zjj keys``: what a key may do is said when it is made, and can be seen and ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from models.api_keys import ApiKeys, Scope
from models.errors import NotFound
from workers.cli.app import app

Zjj = Callable[..., Any]


@pytest.fixture
def zjj(database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Zjj:
    monkeypatch.setenv("ZJJ_DATABASE_URL", database_url)
    monkeypatch.setenv("ZJJ_LANG", "en")
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, ["keys", *arguments])


def test_a_key_may_do_what_was_said_and_else_the_ordinary(zjj: Zjj, engine: Engine) -> None:
    plain = zjj("create", "--backend", "shop").stdout.strip()
    replaying = zjj("create", "--backend", "shop", "--scope", "replay", "--scope", "read")
    keys = ApiKeys(engine)
    found = [keys.find(plain), keys.find(replaying.stdout.strip())]
    assert [key.scopes for key in found if key] == [
        frozenset({Scope.ENQUEUE, Scope.READ}),
        frozenset({Scope.READ, Scope.REPLAY}),
    ]


def test_a_scope_that_does_not_exist_makes_no_key(zjj: Zjj) -> None:
    assert zjj("create", "--backend", "shop", "--scope", "everything").exit_code == 2
    assert json.loads(zjj("list", "--json").stdout) == []


def test_keys_are_listed_with_their_scopes_and_without_their_secret(zjj: Zjj) -> None:
    secret = zjj("create", "--backend", "shop", "--scope", "operate").stdout.strip()
    (key,) = json.loads(zjj("list", "--json").stdout)
    assert (key["backend"], key["scopes"], key["revoked_at"]) == ("shop", ["operate"], None)
    table = zjj("list").stdout
    assert key["id"] in table
    assert "operate" in table
    assert secret.removeprefix("zjj_") not in table


def test_a_revoked_key_is_refused_and_listed_as_such(zjj: Zjj, engine: Engine) -> None:
    secret = zjj("create", "--backend", "shop").stdout.strip()
    (key,) = json.loads(zjj("list", "--json").stdout)
    assert zjj("revoke", key["id"]).exit_code == 0
    assert ApiKeys(engine).find(secret) is None
    (key,) = json.loads(zjj("list", "--json").stdout)
    assert key["revoked_at"] is not None
    assert isinstance(zjj("revoke", key["id"]).exception, NotFound)
