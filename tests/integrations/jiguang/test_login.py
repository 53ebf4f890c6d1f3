"""A token goes out to Jiguang, an encrypted number comes back and is labelled at once."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from integrations.gate import Gate, Timeouts
from integrations.jiguang import JiguangCredentials, JiguangLogin, PhoneCipher
from integrations.jiguang.codes import JIGUANG_REMEDIES, login_fault
from integrations.policy import Policy
from integrations.sandbox import jiguang_key
from integrations.sandbox.server import SandboxServer
from integrations.sandbox.tokens import phone_behind
from models.attempts import Attempt
from models.errors import (
    ConfigurationError,
    GiveUpError,
    UnknownOutcomeError,
    WaitError,
    ZjjError,
)
from models.pii import LoginToken, Phone
from tests.integrations.attempts import attempt_of
from tests.integrations.gate.parts import MemoryLedger
from tests.integrations.sandbox.calling import Caller

HOST = "api.verification.jpush.cn"
PATH = "/v1/web/loginTokenVerify"
TOKEN = "STsid0000001542695429579"
SANDBOX = JiguangCredentials(jiguang_key.APP_KEY, jiguang_key.MASTER_SECRET)


@pytest.fixture
def gate(policy: Policy, ledger: MemoryLedger, server: SandboxServer) -> Iterator[Gate]:
    gate = Gate(policy, ledger, dial={HOST: server.url}, timeouts=Timeouts(answer=0.5))
    yield gate
    gate.close()


@pytest.fixture
def login(gate: Gate) -> JiguangLogin:
    return JiguangLogin(gate, SANDBOX, PhoneCipher(jiguang_key.PRIVATE_KEY))


@pytest.fixture
def attempt(policy: Policy) -> Attempt:
    return attempt_of(policy, "jiguang_login", {"login_token": LoginToken(TOKEN), "user": "u-17"})


def test_the_number_behind_a_token_is_read(
    login: JiguangLogin, attempt: Attempt, ledger: MemoryLedger
) -> None:
    assert login.phone_of(attempt) == Phone(phone_behind(TOKEN))
    (row,) = ledger.rows
    assert row.categories == ("user.authorization.credentials",)
    assert row.stripped == ("user",)


def test_a_token_works_once(login: JiguangLogin, attempt: Attempt) -> None:
    login.phone_of(attempt)
    with pytest.raises(GiveUpError) as caught:
        login.phone_of(attempt)
    assert (caught.value.code, caught.value.provider_code) == ("provider.token_refused", "8001")


def test_a_number_under_another_key_is_unreadable_and_the_token_may_be_spent(
    gate: Gate, attempt: Attempt
) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    other = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )
    with pytest.raises(UnknownOutcomeError) as caught:
        JiguangLogin(gate, SANDBOX, PhoneCipher(other)).phone_of(attempt)
    assert caught.value.code == "provider.phone_unreadable"


@pytest.mark.parametrize("code", JIGUANG_REMEDIES)
def test_each_code_says_what_to_do(
    login: JiguangLogin, attempt: Attempt, caller: Caller, code: str
) -> None:
    caller.fault(kind="code", code=code, times=1)
    with pytest.raises(JIGUANG_REMEDIES[code].error) as caught:
        login.phone_of(attempt)
    assert caught.value.provider_code == code
    assert caught.value.stops_recipient is JIGUANG_REMEDIES[code].stops_recipient


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (500, "8000", UnknownOutcomeError),
        (200, "7777", UnknownOutcomeError),
        (400, None, UnknownOutcomeError),
        (401, "9011", GiveUpError),
        (200, "1804", WaitError),
    ],
)
def test_what_is_no_clear_refusal_is_unclear(
    status: int, code: str | None, error: type[ZjjError]
) -> None:
    assert type(login_fault(status, code)) is error


def test_credentials_that_basic_cannot_carry_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        JiguangCredentials("app:key0000", "secret0000")
    assert "secret" not in repr(JiguangCredentials("app0key0", "secret0000"))


Ask = Callable[..., dict[str, object]]


@pytest.fixture
def ask(server: SandboxServer) -> Iterator[Ask]:
    """Calls the sandbox by hand."""
    pair = f"{jiguang_key.APP_KEY}:{jiguang_key.MASTER_SECRET}".encode()
    good = {
        "host": HOST,
        "content-type": "application/json",
        "authorization": f"Basic {base64.b64encode(pair).decode()}",
    }
    with httpx.Client(base_url=server.url, trust_env=False) as http:

        def call(method: str = "POST", *, without: str = "", **body: str) -> dict[str, object]:
            headers = {name: value for name, value in good.items() if name != without}
            reply = http.request(method, PATH, headers=headers, content=json.dumps(body).encode())
            answer: dict[str, object] = reply.json()
            return answer

        yield call


def test_the_sandbox_refuses_with_the_codes_of_the_document(ask: Ask) -> None:
    assert ask(loginToken=TOKEN)["content"] == "get phone success"
    assert ask(loginToken=TOKEN) == {"code": 8001, "content": "get phone fail"}
    assert ask()["code"] == 9012
    assert ask(loginToken=TOKEN, ip="192.0.2.1")["code"] == 9012
    assert ask(without="authorization", loginToken=TOKEN)["code"] == 9010
    assert ask(without="content-type", loginToken=TOKEN)["code"] == 9015
    assert ask("PUT", loginToken=TOKEN)["code"] == 9013
