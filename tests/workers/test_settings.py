"""Settings are named in errors and never shown; production makes up nothing."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ConfigurationError
from models.keys import generate_key
from workers.settings import Settings, load_settings


def test_a_development_machine_needs_no_settings(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path / "data")
    assert settings.database == f"sqlite:///{tmp_path / 'data' / 'zjj.db'}"
    assert settings.redis.startswith("unix://")
    assert settings.uses_sandbox


def test_generated_secrets_stay_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    first, again = Settings(data=tmp_path), Settings(data=tmp_path)
    assert first.pseudonym == again.pseudonym
    assert first.keys == again.keys
    secrets = list(tmp_path.glob("*.secret"))
    assert len(secrets) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


def test_processes_that_start_together_agree_on_the_secrets(tmp_path: Path) -> None:
    code = "from workers.settings import load_settings as l; print(l().pseudonym.hex())"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={"ZJJ_DATA": str(tmp_path), "PATH": ""},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in running}) == 1


@pytest.mark.parametrize(
    "missing", ["ZJJ_DATABASE_URL", "ZJJ_REDIS_URL", "ZJJ_MASTER_KEYS", "ZJJ_PSEUDONYM_KEY"]
)
def test_production_wants_every_secret_and_address(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv("ZJJ_ENV", "production")
    monkeypatch.setenv("ZJJ_DATABASE_URL", "postgresql://db/zjj")
    monkeypatch.setenv("ZJJ_REDIS_URL", "redis://redis/0")
    monkeypatch.setenv("ZJJ_MASTER_KEYS", f"k1:{generate_key()}")
    monkeypatch.setenv("ZJJ_PSEUDONYM_KEY", generate_key())
    load_settings()
    monkeypatch.delenv(missing)
    with pytest.raises(ConfigurationError, match=missing):
        load_settings()


def test_nobody_guesses_whether_a_text_reaches_a_real_phone(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"ZJJ_SANDBOX_URL .* ZJJ_ALIYUN_ACCESS_KEY_ID"):
        load_settings(
            data=tmp_path, sandbox_url="http://127.0.0.1:9", aliyun_access_key_id="LTAI-example"
        )


def test_production_refuses_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="ZJJ_SANDBOX_URL"):
        load_settings(
            env="production",
            database_url="postgresql://db/zjj",
            redis_url="redis://redis/0",
            master_keys=f"k1:{generate_key()}",
            pseudonym_key=generate_key(),
            sandbox_url="http://127.0.0.1:9",
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ZJJ_GATEWAY_PORT", "eight-thousand"),
        ("ZJJ_WORKER_THREADS", "0"),
        ("ZJJ_ENV", "staging-secret"),
        ("ZJJ_LOG_LEVEL", "loud-secret"),
        ("ZJJ_SMS_LIMIT_PHONE", "often-secret"),
        ("ZJJ_SMS_ALARM_ALL", "1/minute 9/hour"),
    ],
)
def test_a_wrong_setting_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        load_settings()
    assert value not in str(caught.value)


def test_secrets_do_not_show_in_the_settings_repr() -> None:
    key = generate_key()
    settings = load_settings(
        master_keys=f"k1:{key}", pseudonym_key=key, aliyun_access_key_secret=key
    )
    assert key not in repr(settings)


def test_a_long_data_folder_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    settings = Settings(data=deep)
    assert len(str(settings.redis_socket)) <= 100
    assert settings.redis_socket == Settings(data=deep).redis_socket


def test_the_limit_that_alarms_hang_on_cannot_be_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZJJ_SMS_LIMIT_CLIENT", "none")
    load_settings()
    monkeypatch.setenv("ZJJ_SMS_LIMIT_PHONE", "none")
    with pytest.raises(ConfigurationError, match="ZJJ_SMS_LIMIT_PHONE"):
        load_settings()


def test_production_never_goes_without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZJJ_ENV", "production")
    monkeypatch.setenv("ZJJ_DATABASE_URL", "postgresql://db/zjj")
    monkeypatch.setenv("ZJJ_REDIS_URL", "redis://redis/0")
    monkeypatch.setenv("ZJJ_MASTER_KEYS", f"k1:{generate_key()}")
    monkeypatch.setenv("ZJJ_PSEUDONYM_KEY", generate_key())
    monkeypatch.setenv("ZJJ_SMS_LIMITS", "false")
    with pytest.raises(ConfigurationError, match="ZJJ_SMS_LIMITS"):
        load_settings()
