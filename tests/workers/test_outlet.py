"""Real credentials switch the sandbox off, incomplete ones stop the start with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.database import open_database
from models.disclosures import Disclosure
from models.errors import ConfigurationError
from models.keys import generate_key
from workers.outlet import open_outlet
from workers.settings import load_settings

_ALIYUN: dict[str, Any] = {
    "aliyun_access_key_id": "LTAI-not-a-real-one",
    "aliyun_access_key_secret": "not-a-real-secret",
    "aliyun_sms_sign_name": "钟久久",
    "aliyun_sms_templates": {"default": "SMS_164000001"},
}


class _NoLedger:
    def record(self, disclosure: Disclosure) -> None:
        raise AssertionError(disclosure.operation)


def _open(tmp_path: Path, **settings: Any) -> None:
    loaded = load_settings(data=tmp_path, **settings)
    open_outlet(loaded, _NoLedger(), open_database(loaded.database)).close()


def test_with_aliyun_credentials_the_sandbox_is_not_needed(tmp_path: Path) -> None:
    assert not load_settings(data=tmp_path, **_ALIYUN).uses_sandbox
    _open(tmp_path, **_ALIYUN)


def test_production_takes_the_same_settings(tmp_path: Path) -> None:
    _open(
        tmp_path,
        env="production",
        database_url="postgresql://db/zjj",
        redis_url="redis://redis/0",
        master_keys=f"k1:{generate_key()}",
        pseudonym_key=generate_key(),
        **_ALIYUN,
    )


@pytest.mark.parametrize("missing", ["aliyun_access_key_secret", "aliyun_sms_sign_name"])
def test_half_an_account_is_refused(tmp_path: Path, missing: str) -> None:
    settings = {name: value for name, value in _ALIYUN.items() if name != missing}
    with pytest.raises(ConfigurationError, match=f"ZJJ_{missing.upper()}"):
        _open(tmp_path, **settings)


def test_a_scene_without_a_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="reset_password"):
        _open(tmp_path, **{**_ALIYUN, "aliyun_sms_templates": {"login": "SMS_164000002"}})


def test_a_template_that_the_policy_would_refuse_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        _open(tmp_path, **{**_ALIYUN, "aliyun_sms_templates": {"default": "free text"}})


def test_without_a_provider_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ZJJ_SANDBOX_URL"):
        _open(tmp_path)
