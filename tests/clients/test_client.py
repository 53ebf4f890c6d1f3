"""The sync and the async client, over real connections."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

import zjj
from models.sealing import seal_identity
from models.tables import jobs
from tests.clients.answering import JOB, answering, reply
from tests.workers.gateway.serving import Gateway, serve_gateway
from zjj import _conversation

PHONE = "16400001234"
CODE: dict[str, Any] = {"phone": PHONE, "code": "246810", "scene": "register"}
PERSON = {"phone": PHONE, "code": "246810", "scene": "change_phone", "user": "u-815"}
SECRET = "zjj_0123456789abcdef"


class Sync:
    """Calls through :class:`zjj.Client`."""

    def send(self, url: str, key: str = "zjj_key", **arguments: Any) -> zjj.Job:
        with zjj.Client(url, key, timeout=5) as client:
            return client.sms_codes.send(**arguments)

    def verify(self, url: str, key: str, **arguments: Any) -> zjj.Verification:
        with zjj.Client(url, key, timeout=5) as client:
            return client.sms_codes.verify(**arguments)

    def get(self, url: str, key: str, job_id: str) -> zjj.Job:
        with zjj.Client(url, key) as client:
            return client.jobs.get(job_id)

    def wait(self, url: str, key: str, job_id: str, timeout: float) -> zjj.Job:
        with zjj.Client(url, key) as client:
            return client.jobs.wait(job_id, timeout=timeout)


class Async(Sync):
    """The same calls through :class:`zjj.AsyncClient`."""

    def send(self, url: str, key: str = "zjj_key", **arguments: Any) -> zjj.Job:
        async def call() -> zjj.Job:
            async with zjj.AsyncClient(url, key, timeout=5) as client:
                return await client.sms_codes.send(**arguments)

        return asyncio.run(call())

    def verify(self, url: str, key: str, **arguments: Any) -> zjj.Verification:
        async def call() -> zjj.Verification:
            async with zjj.AsyncClient(url, key, timeout=5) as client:
                return await client.sms_codes.verify(**arguments)

        return asyncio.run(call())

    def get(self, url: str, key: str, job_id: str) -> zjj.Job:
        async def call() -> zjj.Job:
            async with zjj.AsyncClient(url, key) as client:
                return await client.jobs.get(job_id)

        return asyncio.run(call())

    def wait(self, url: str, key: str, job_id: str, timeout: float) -> zjj.Job:
        async def call() -> zjj.Job:
            async with zjj.AsyncClient(url, key) as client:
                return await client.jobs.wait(job_id, timeout=timeout)

        return asyncio.run(call())


@pytest.fixture(params=[Sync, Async])
def calls(request: pytest.FixtureRequest) -> Sync:
    made: Sync = request.param()
    return made


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_conversation, "_FIRST_PAUSE", 0.01)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serve_gateway(f"sqlite:///{tmp_path_factory.mktemp('clients') / 'zjj.db'}") as gateway:
        yield gateway


@pytest.fixture
def key() -> str:
    """An idempotency key that no other test has used."""
    return str(uuid4())


def test_a_job_is_handed_in_and_read_back(calls: Sync, gateway: Gateway, key: str) -> None:
    job = calls.send(gateway.url, gateway.api_key, **CODE, idempotency_key=key)
    again = calls.send(gateway.url, gateway.api_key, **CODE, idempotency_key=key)
    assert (job.kind, job.state, job.repeated) == ("sms_code", "queued", False)
    assert (again.id, again.repeated) == (job.id, True)
    assert job.created_at.utcoffset() is not None
    read = calls.get(gateway.url, gateway.api_key, job.id)
    assert (read.id, read.created_at, read.receipt) == (job.id, job.created_at, ())
    assert read.expires_at is not None
    assert read.expires_at > read.created_at


def test_without_a_key_each_call_is_another_job(calls: Sync, gateway: Gateway) -> None:
    jobs = {calls.send(gateway.url, gateway.api_key, **CODE).id for _ in range(2)}
    assert len(jobs) == 2


def test_a_code_that_is_made_for_us_is_verified_once(calls: Sync, gateway: Gateway) -> None:
    asked = {"phone": PHONE, "scene": "bind_phone"}
    job = calls.send(gateway.url, gateway.api_key, **asked, length=4, client="device-1")
    code = _sent(gateway, job.id)
    arguments = {**asked, "code": code, "idempotency_key": job.id}
    wrong = calls.verify(gateway.url, gateway.api_key, **{**arguments, "code": code + "0"})
    assert (wrong.verified, wrong.attempts_left, wrong.reason) == (False, 4, "wrong")
    for _ in range(2):  # the second time as after a lost reply
        assert calls.verify(gateway.url, gateway.api_key, **arguments).verified
    used = calls.verify(gateway.url, gateway.api_key, **asked, code=code)
    assert used == zjj.Verification(verified=False, attempts_left=0, reason="used")


def _sent(gateway: Gateway, job_id: str) -> str:
    with gateway.engine.connect() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    identity = seal_identity(row.id, row.kind, row.policy_version)
    code: str = gateway.sealer.open(row.sealed, identity=identity, bucket=row.bucket)["code"]
    return code


def test_what_is_no_verification_is_not_taken_for_one() -> None:
    strange = {"verified": True, "attempts_left": 0, "reason": "wrong"}
    with answering(reply(200, strange)) as heard, pytest.raises(zjj.UnexpectedReplyError):
        Sync().verify(heard.url, phone=PHONE, scene="login", code="246810", key="zjj_key")


def test_wrong_fields_are_named(calls: Sync, gateway: Gateway, key: str) -> None:
    wrong = {**CODE, "phone": PHONE + "5", "scene": "nowhere"}
    with pytest.raises(zjj.InvalidRequestError) as caught:
        calls.send(gateway.url, gateway.api_key, **wrong, idempotency_key=key)
    error = caught.value
    assert [fault.field for fault in error.errors] == ["phone", "scene"]
    assert str(error).startswith("phone is not a mainland mobile number")
    assert (error.status, error.idempotency_key) == (422, key)


def test_a_used_key_is_a_conflict(calls: Sync, gateway: Gateway, key: str) -> None:
    calls.send(gateway.url, gateway.api_key, **CODE, idempotency_key=key)
    with pytest.raises(zjj.ConflictError):
        calls.send(gateway.url, gateway.api_key, **{**CODE, "code": "1357"}, idempotency_key=key)


def test_a_wrong_api_key_is_said_so(calls: Sync, gateway: Gateway) -> None:
    with pytest.raises(zjj.AuthenticationError):
        calls.send(gateway.url, "zjj_wrong", **CODE)


def test_another_backends_job_is_not_found(calls: Sync, gateway: Gateway) -> None:
    job = calls.send(gateway.url, gateway.api_key, **CODE)
    with pytest.raises(zjj.NotFoundError):
        calls.get(gateway.url, gateway.other_api_key, job.id)


def test_waiting_has_an_end(calls: Sync, gateway: Gateway) -> None:
    job = calls.send(gateway.url, gateway.api_key, **CODE)
    with pytest.raises(zjj.NotSettledError) as caught:
        calls.wait(gateway.url, gateway.api_key, job.id, 0.2)
    assert caught.value.job.id == job.id


def test_a_lost_reply_is_asked_for_again_under_the_same_key(calls: Sync) -> None:
    accepted = reply(202, JOB, {"Idempotency-Result": "repeated"})
    with answering(None, None, accepted) as gateway:
        job = calls.send(gateway.url, **CODE)
    assert job.repeated
    assert len(gateway.requests) == 3
    assert len(set(gateway.keys)) == 1
    assert len(gateway.keys[0]) == 36


def test_a_reply_that_breaks_off_is_asked_for_again(calls: Sync) -> None:
    accepted = reply(202, JOB)
    with answering(accepted[:40], accepted[:-5], b"garbage\r\n\r\n", accepted) as gateway:
        calls.send(gateway.url, **CODE, idempotency_key="k")
    assert gateway.keys == [b"k"] * 4


def test_a_busy_gateway_is_asked_again_when_it_says(calls: Sync) -> None:
    with answering(
        reply(503, b"", {"Retry-After": "0"}), reply(429), reply(502, b"<html>"), reply(202, JOB)
    ) as gateway:
        assert calls.send(gateway.url, **CODE).id == JOB["id"]
    assert len(gateway.requests) == 4


def test_a_gateway_out_of_reach_is_a_retry_error(calls: Sync) -> None:
    with pytest.raises(zjj.RetryError) as caught:
        calls.send("http://127.0.0.1:1", **CODE, idempotency_key="mine")
    assert caught.value.idempotency_key == "mine"
    assert "ConnectError" in str(caught.value)


def test_something_else_than_the_gateway_is_recognised(calls: Sync) -> None:
    redirect = reply(302, b"", {"Location": "http://127.0.0.1:1/login"})
    for answer in (reply(200, b"<html>hello"), reply(404, b"nginx"), redirect):
        with answering(answer) as gateway, pytest.raises(zjj.UnexpectedReplyError):
            calls.send(gateway.url, **CODE)


def test_a_gateway_may_live_under_a_path(calls: Sync) -> None:
    with answering(reply(202, JOB)) as gateway:
        calls.send(gateway.url + "/zjj/", **CODE)
    assert gateway.requests[0].startswith(b"POST /zjj/v1/sms-codes HTTP/1.1\r\n")


def test_the_environments_proxy_does_not_get_to_see_anything(
    calls: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(reply(202, JOB)) as gateway:
        calls.send(gateway.url, **CODE)
    assert len(gateway.requests) == 1


FAULTS = [
    reply(401),
    reply(409),
    reply(422, {"errors": [{"field": "phone", "reason": "is not one", "code": "invalid_value"}]}),
    reply(422, b"no problem+json"),
    reply(500, b"<html>"),
    reply(200, b"{}"),
    None,
]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_holds_what_was_handed_in(calls: Sync, fault: bytes | None) -> None:
    with answering(*[fault] * 5) as gateway, pytest.raises(zjj.ZjjError) as caught:
        calls.send(gateway.url, SECRET, **PERSON)
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__cause__ is None
    assert error.__context__ is None
    text = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    for value in (*PERSON.values(), SECRET):
        assert value not in text


def test_reprs_are_silent() -> None:
    client = zjj.Client("http://127.0.0.1:1/zjj", "zjj_secret")
    assert repr(client) == "Client('http://127.0.0.1:1/zjj/')"
    client.close()
    conversation = _conversation.send_sms_code(**CODE, user=None, idempotency_key="k", attempts=1)
    assert repr(next(conversation)) == "Request(method='POST', path='/v1/sms-codes')"


def test_the_client_itself_never_logs(
    calls: Sync, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    calls.send(gateway.url, gateway.api_key, **CODE)
    text = caplog.text
    assert {record.name for record in caplog.records} <= {"httpx", "asyncio"}  # asked to, here
    assert PHONE not in text
    assert gateway.api_key not in text


def test_url_and_key_may_come_from_the_environment(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZJJ_URL", gateway.url)
    monkeypatch.setenv("ZJJ_API_KEY", gateway.api_key)
    with zjj.Client() as client:
        assert client.sms_codes.send(**CODE).state == "queued"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gateway:8000",
        "ftp://gateway",
        "http://",
        "http://me:secret@gateway",
        "http://gateway?secret=1",
        "http://gateway#secret",
    ],
)
@pytest.mark.parametrize("kind", [zjj.Client, zjj.AsyncClient])
def test_an_unusable_url_is_said_at_once(kind: Any, url: str) -> None:
    with pytest.raises(zjj.ConfigurationError) as caught:
        kind(url, "zjj_key")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "钥匙", "zjj_secret\r\nX: y"])
def test_an_unusable_key_is_said_at_once(key: str) -> None:
    with pytest.raises(zjj.ConfigurationError) as caught:
        zjj.Client("http://127.0.0.1:1", key)
    assert "secret" not in str(caught.value)


def test_one_client_serves_many_threads(gateway: Gateway, key: str) -> None:
    with zjj.Client(gateway.url, gateway.api_key) as client, ThreadPoolExecutor(16) as threads:
        jobs = list(
            threads.map(lambda _: client.sms_codes.send(**CODE, idempotency_key=key), range(50))
        )
    assert len({job.id for job in jobs}) == 1


def test_one_async_client_serves_many_coroutines(gateway: Gateway, key: str) -> None:
    async def all_at_once() -> list[zjj.Job]:
        async with zjj.AsyncClient(gateway.url, gateway.api_key) as client:
            return await asyncio.gather(
                *(client.sms_codes.send(**CODE, idempotency_key=key) for _ in range(50))
            )

    assert len({job.id for job in asyncio.run(all_at_once())}) == 1


def test_a_job_can_be_kept_in_a_cache() -> None:
    with answering(reply(202, {**JOB, "result": {"biz_id": "1"}})) as gateway:
        job = Sync().send(gateway.url, **CODE)
    assert pickle.loads(pickle.dumps(job)) == job
    assert hash(job) == hash(pickle.loads(pickle.dumps(job)))
    assert json.dumps(dict(job.result)) == '{"biz_id": "1"}'


def test_a_real_name_check_is_handed_in_both_ways(gateway: Gateway) -> None:
    person: dict[str, Any] = {
        "name": "张三",
        "id_number": "999999199001010091",
        "purpose": "query",
        "order_no": "ZJJ-1",
        "expected_order_no": "ZJJ-1",
        "consent_ref": "consent-1",
    }
    with zjj.Client(gateway.url, gateway.api_key) as client:
        first = client.identity_checks.start(**person, idempotency_key="check-1")

    async def again() -> zjj.Job:
        async with zjj.AsyncClient(gateway.url, gateway.api_key) as client:
            return await client.identity_checks.start(**person, idempotency_key="check-1")

    second = asyncio.run(again())
    assert (first.kind, second.id, second.repeated) == ("identity_check", first.id, True)


def test_a_profile_page_is_masked_both_ways(gateway: Gateway) -> None:
    with zjj.Client(gateway.url, gateway.api_key) as client:
        shown = client.masks.show(phone="16400001234", name="张三")
        with pytest.raises(zjj.InvalidRequestError):
            client.masks.show()
    assert shown == zjj.Masked(phone="164****1234", id_number=None, name="张*")

    async def number() -> zjj.Masked:
        async with zjj.AsyncClient(gateway.url, gateway.api_key) as client:
            return await client.masks.show(id_number="999999199001010091")

    assert asyncio.run(number()).id_number == "9****************1"


def test_a_gateway_that_verifies_no_faces_says_so(gateway: Gateway) -> None:
    person = {
        "name": "张三",
        "id_number": "999999199001010091",
        "meta_info": "{}",
        "consent_ref": "face-1",
        "user": "u-17",
    }
    with (
        zjj.Client(gateway.url, gateway.api_key) as client,
        pytest.raises(zjj.UnexpectedReplyError),
    ):
        client.face_verifications.start(**person)

    async def again() -> None:
        async with zjj.AsyncClient(gateway.url, gateway.api_key) as client:
            await client.face_verifications.start(**person)

    with pytest.raises(zjj.UnexpectedReplyError):
        asyncio.run(again())


def test_a_login_is_handed_in_and_its_number_awaited_both_ways(gateway: Gateway) -> None:
    asked = {"login_token": "token-000000001", "road": "china_mobile"}
    with zjj.Client(gateway.url, gateway.api_key) as client:
        job = client.logins.start(**asked, idempotency_key="login-1")
        assert job.kind == "jiguang_login", "the road that this gateway is configured for"
        with pytest.raises(zjj.ZjjError) as caught:
            client.logins.take_phone(job.id)
    assert not isinstance(caught.value, zjj.NotFoundError), "it is under way"

    async def again() -> zjj.Job:
        async with zjj.AsyncClient(gateway.url, gateway.api_key) as client:
            with pytest.raises(zjj.NotFoundError):
                await client.logins.take_phone("0" * 32)
            return await client.logins.start(**asked, idempotency_key="login-1")

    assert asyncio.run(again()).id == job.id
