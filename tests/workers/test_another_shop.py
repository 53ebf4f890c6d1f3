"""Another shop brings its own policy: what it lists works, what it does not list never leaves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from integrations.policy import PACKAGED, Policy, PolicyError, UnlistedOperation, load_policy
from models.attempts import Attempt
from models.disclosures import Disclosure
from models.pii import Phone
from models.pseudonyms import Pseudonyms
from models.states import State
from tests.workers.rows import PSEUDONYM_KEY, read_job, store_job
from workers.consents import Consents, Objection
from workers.entrance import open_entrance
from workers.outlet import Integrations, open_outlet
from workers.published import open_policy
from workers.settings import load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small shop's, which sends codes and does nothing else."""
    head, *operations = re.split(r'(?m)^(?=\[operations\.")', PACKAGED.read_text("utf-8"))
    codes = [each for each in operations if each.startswith('[operations."aliyun.sms.')]
    path = tmp_path / "small.toml"
    path.write_text("".join([head, *codes]).replace("钟久久(山东)珠宝", "小店"), "utf-8")
    return path


@pytest.fixture
def policy(file: Path) -> Policy:
    policy = load_policy(file)
    assert policy.company == "小店有限公司"
    return policy


class _NoLedger:
    def record(self, disclosure: Disclosure) -> None:
        raise AssertionError(disclosure.operation)


def _open(file: Path, data: Path, engine: Engine, **more: Any) -> Integrations:
    settings = load_settings(
        data=data,
        policy_file=file,
        sandbox_url="http://127.0.0.1:9",
        sms_roads="aliyun_sms",
        **more,
    )
    open_entrance(settings).close()
    return open_outlet(settings, _NoLedger(), engine)


def _attempt(policy: Policy) -> Attempt:
    return Attempt(
        job_id="1" * 32,
        kind="identity_check",
        number=1,
        fence=1,
        worker_id="2" * 32,
        backend="shop",
        policy_version=policy.version,
        expires_at=None,
        subject=None,
        held={},
    )


def test_it_starts_with_fewer_operations_and_refuses_the_others(
    file: Path, policy: Policy, tmp_path: Path, engine: Engine
) -> None:
    outlet = _open(file, tmp_path, engine)

    assert outlet.sms is not None
    with pytest.raises(UnlistedOperation, match=r"no operation aliyun\.identity"):
        outlet.identities.remembered(_attempt(policy), with_phone=False)
    with pytest.raises(UnlistedOperation, match=r"no operation backend\.webhook"):
        outlet.webhooks.deliver(_attempt(policy))
    outlet.close()


def test_a_road_that_it_uses_must_be_listed(file: Path, tmp_path: Path, engine: Engine) -> None:
    settings = load_settings(
        data=tmp_path,
        policy_file=file,
        sandbox_url="http://127.0.0.1:9",
        sms_roads="aliyun_sms,aliyun_sms_auth",
    )
    with pytest.raises(UnlistedOperation, match=r"aliyun\.sms_auth\.send"):
        open_outlet(settings, _NoLedger(), engine)


def test_its_customers_can_object(engine: Engine, policy: Policy) -> None:
    job_id = store_job(engine)
    pseudonyms = Pseudonyms(PSEUDONYM_KEY)
    objection = Objection(phone=Phone("16400001234"), reason="objection")

    assert Consents(engine, pseudonyms, policy).restrict(objection, backend="test").cancelled == 1
    assert read_job(engine, job_id).state == State.CANCELLED


@pytest.mark.parametrize(
    ("changes", "stands"),
    [
        ({}, False),
        ({r"2023-01-01\.\d+": "2023-01-01.99"}, False),
        ({r"2023-01-01\.\d+": "2027-01-01.1"}, True),
        ({r"钟久久\(山东\)珠宝": "小店"}, True),
    ],
    ids=["this text", "another reading of it", "a later text", "another shop's"],
)
def test_no_reading_of_the_published_text_is_wider_than_the_packaged_one(
    tmp_path: Path, changes: dict[str, str], stands: bool
) -> None:
    path = tmp_path / "wider.toml"
    text = PACKAGED.read_text("utf-8").replace("max = 11 }", "max = 12 }", 1)
    for old, new in changes.items():
        text = re.sub(old, new, text)
    path.write_text(text, "utf-8")
    settings = load_settings(data=tmp_path, policy_file=path)
    if stands:
        assert open_policy(settings).operation("aliyun.sms.send").fields["PhoneNumbers"].max == 12
        return
    with pytest.raises(PolicyError, match=r"wider\.toml:\d+: .*widened: .* may be longer"):
        open_policy(settings)
