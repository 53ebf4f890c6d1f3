"""A login token goes out to Aliyun once, and the number comes back labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alibabacloud_dypnsapi20170525 import models as sdk_models
from alibabacloud_dypnsapi20170525.client import Client
from alibabacloud_tea_openapi.models import Config

from integrations.aliyun import AliyunCredentials
from integrations.aliyun.number_auth import NUMBER_AUTH_REMEDIES, AliyunNumberAuth
from integrations.gate import Gate, Timeouts
from integrations.policy import Policy, load_policy
from integrations.reply import cut
from integrations.sandbox.dypns import UNSURE
from integrations.sandbox.server import SandboxServer
from integrations.sandbox.tokens import phone_behind
from models.attempts import Attempt
from models.errors import GiveUpError, UnknownOutcomeError
from models.pii import LoginToken, Phone
from tests.integrations.attempts import attempt_of
from tests.integrations.gate.parts import MemoryLedger
from tests.integrations.sandbox.calling import Caller

HOST = "dypnsapi.aliyuncs.com"
TOKEN = "eyJjIjoi-token-0001"
POLICY = load_policy()


@pytest.fixture
def auth(ledger: MemoryLedger, server: SandboxServer) -> Iterator[AliyunNumberAuth]:
    gate = Gate(POLICY, ledger, dial={HOST: server.url}, timeouts=Timeouts(answer=0.5))
    yield AliyunNumberAuth(gate, AliyunCredentials("sandbox", "sandbox-secret"))
    gate.close()


@pytest.fixture
def an_attempt() -> Callable[..., Attempt]:
    def make(policy: Policy = POLICY, **held: Any) -> Attempt:
        return attempt_of(
            policy, "phone_login", {"login_token": LoginToken(TOKEN), "user": "u-17", **held}
        )

    return make


def test_the_number_behind_a_token_is_read_and_only_the_token_leaves(
    auth: AliyunNumberAuth, an_attempt: Callable[..., Attempt], ledger: MemoryLedger
) -> None:
    assert auth.phone_of(an_attempt()) == Phone(phone_behind(TOKEN))
    (row,) = ledger.rows
    assert (row.operation, row.purpose) == ("aliyun.login.phone", "quick_login")
    assert row.categories == ("user.authorization.credentials",)


def test_a_token_works_once(auth: AliyunNumberAuth, an_attempt: Callable[..., Attempt]) -> None:
    auth.phone_of(an_attempt())
    with pytest.raises(GiveUpError) as caught:
        auth.phone_of(an_attempt())
    assert caught.value.code == "provider.token_refused"


@pytest.mark.parametrize(("phone", "own"), [(phone_behind(TOKEN), True), ("16400001234", False)])
def test_a_number_is_the_phones_own_or_not(
    auth: AliyunNumberAuth, an_attempt: Callable[..., Attempt], phone: str, own: bool
) -> None:
    assert auth.is_own(an_attempt(phone=Phone(phone))) is own


def test_where_the_carrier_cannot_tell_nobody_says_so_or_not(
    auth: AliyunNumberAuth, an_attempt: Callable[..., Attempt]
) -> None:
    token = LoginToken(f"{UNSURE}-{TOKEN}")
    assert auth.is_own(an_attempt(phone=Phone("16400001234"), login_token=token)) is None


@pytest.mark.parametrize("code", NUMBER_AUTH_REMEDIES)
def test_each_code_about_a_token_ends_it(
    auth: AliyunNumberAuth, an_attempt: Callable[..., Attempt], caller: Caller, code: str
) -> None:
    caller.fault(kind="code", code=code, times=1)
    with pytest.raises(GiveUpError) as caught:
        auth.phone_of(an_attempt())
    assert (caught.value.code, caught.value.provider_code) == ("provider.token_refused", code)


@pytest.mark.parametrize("kind", ["hang", "reset", "garbage"])
def test_what_is_lost_after_sending_is_unknown(
    auth: AliyunNumberAuth, an_attempt: Callable[..., Attempt], caller: Caller, kind: str
) -> None:
    caller.fault(kind=kind, seconds=2, times=1)
    with pytest.raises(UnknownOutcomeError):
        auth.phone_of(an_attempt())


@pytest.mark.parametrize("mobile", ["", "0", "86-164", None, 16400001234, ["16400001234"]])
def test_what_is_no_number_is_not_kept(mobile: object) -> None:
    import orjson

    operation = POLICY.operation("aliyun.login.phone")
    body = orjson.dumps({"Code": "OK", "GetMobileResultDTO": {"Mobile": mobile}})
    reply = cut(operation, 200, {}, body)
    assert reply.personal == {}
    assert "164" not in repr(reply)


def test_a_number_in_a_reply_never_shows_itself() -> None:
    import orjson

    operation = POLICY.operation("aliyun.login.phone")
    body = orjson.dumps({"Code": "OK", "GetMobileResultDTO": {"Mobile": "16400001234"}})
    reply = cut(operation, 200, {}, body)
    assert reply.personal == {"GetMobileResultDTO.Mobile": Phone("16400001234")}
    assert "16400001234" not in repr(reply)
    assert "GetMobileResultDTO.Mobile" not in reply.fields


def test_the_vendors_sdk_logs_in_through_the_sandbox(server: SandboxServer) -> None:
    config = Config(
        access_key_id="sandbox",
        access_key_secret="sandbox-secret",
        endpoint=f"127.0.0.1:{server.port}",
        protocol="HTTP",
    )
    client: Any = Client(config)
    body = client.get_mobile(sdk_models.GetMobileRequest(access_token=TOKEN)).body
    assert (body.code, body.get_mobile_result_dto.mobile) == ("OK", phone_behind(TOKEN))
    verified = client.verify_mobile(
        sdk_models.VerifyMobileRequest(access_code=TOKEN + "2", phone_number="16400001234")
    ).body
    assert verified.gate_verify_result_dto.verify_result == "REJECT"
