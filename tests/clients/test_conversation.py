"""What the client says and when it says it again, without a network."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zjj
from tests.clients.answering import JOB
from zjj._conversation import (
    Conversation,
    Failure,
    Pause,
    Reply,
    Request,
    check_identity,
    check_phone,
    get_job,
    log_in,
    push,
    send_sms_code,
    take_phone,
    wait_for_job,
)

ACCEPTED = Reply(202, {"idempotency-result": "created"}, json.dumps(JOB).encode())
BUSY = Reply(503, {}, b"")


def sending(idempotency_key: str | None = "key", attempts: int = 5) -> Conversation[zjj.Job]:
    return send_sms_code(
        phone="16400001234",
        code="246810",
        scene="register",
        user=None,
        idempotency_key=idempotency_key,
        attempts=attempts,
    )


def hold(
    conversation: Conversation[zjj.Job], *answers: Reply | Failure
) -> tuple[zjj.Job | zjj.ZjjError, list[Request], list[float]]:
    """Carry a conversation out; the last answer is given again and again."""
    requests: list[Request] = []
    pauses: list[float] = []
    step = next(conversation)
    try:
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = next(conversation)
            else:
                requests.append(step)
                step = conversation.send(answers[min(len(requests), len(answers)) - 1])
    except StopIteration as done:
        job: zjj.Job = done.value
        return job, requests, pauses
    except zjj.ZjjError as error:
        return error, requests, pauses


def test_one_accepted_request_is_enough() -> None:
    job, (request,), pauses = hold(sending(), ACCEPTED)
    assert isinstance(job, zjj.Job)
    assert (request.method, request.path) == ("POST", "/v1/sms-codes")
    assert json.loads(request.content or b"") == {
        "phone": "16400001234",
        "code": "246810",
        "scene": "register",
    }
    assert pauses == []


@pytest.mark.parametrize(
    "answer", [*(Reply(status, {}, b"") for status in (429, 502, 503, 504)), Failure("ReadTimeout")]
)
def test_what_may_pass_is_repeated_under_the_same_key(answer: Reply | Failure) -> None:
    job, requests, pauses = hold(sending(None), answer, answer, ACCEPTED)
    assert isinstance(job, zjj.Job)
    assert len(requests) == 3
    assert len({request.headers["Idempotency-Key"] for request in requests}) == 1
    assert len({request.content for request in requests}) == 1
    assert len(pauses) == 2


def test_each_call_without_a_key_gets_a_key_of_its_own() -> None:
    keys = {hold(sending(None), ACCEPTED)[1][0].headers["Idempotency-Key"] for _ in range(20)}
    assert len(keys) == 20


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 405, 409, 413, 418, 422, 500])
def test_what_will_not_pass_is_not_repeated(status: int) -> None:
    outcome, requests, _ = hold(sending(), Reply(status, {}, b""))
    assert isinstance(outcome, zjj.ZjjError)
    assert len(requests) == 1


@given(attempts=st.integers(1, 12))
def test_giving_up_leaves_the_key_for_later(attempts: int) -> None:
    outcome, requests, pauses = hold(sending("mine", attempts), BUSY)
    assert isinstance(outcome, zjj.RetryError)
    assert outcome.idempotency_key == "mine"
    assert (len(requests), len(pauses)) == (attempts, attempts - 1)
    # Full jitter: anything from nothing to a bound that doubles, and then stays.
    assert all(0 <= pause <= min(8, 0.25 * 2**n) for n, pause in enumerate(pauses))


def test_pauses_are_spread() -> None:
    firsts = [hold(sending(), BUSY)[2][0] for _ in range(200)]
    assert min(firsts) < 0.05
    assert max(firsts) > 0.2


@given(seconds=st.integers(0, 30))
def test_the_gateway_is_never_asked_sooner_than_it_wants(seconds: int) -> None:
    busy = Reply(429, {"retry-after": str(seconds)}, b"")
    outcome, _, pauses = hold(sending(), busy)
    assert isinstance(outcome, zjj.WaitError)
    assert outcome.retry_after == seconds
    assert min(pauses) >= seconds


def test_a_long_retry_after_is_the_callers_to_wait_for() -> None:
    outcome, requests, _ = hold(sending(), Reply(429, {"retry-after": "31"}, b""))
    assert isinstance(outcome, zjj.WaitError)
    assert (outcome.retry_after, len(requests)) == (31, 1)


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 9]
)
def test_a_retry_after_in_another_form_is_ignored(text: str) -> None:
    outcome, requests, _ = hold(sending(), Reply(503, {"retry-after": text}, b""))
    assert isinstance(outcome, zjj.RetryError)
    assert (outcome.retry_after, len(requests)) == (None, 5)


@pytest.mark.parametrize("key", ["", "k" * 256, "two words", "键", "line\nbreak"])
def test_an_impossible_key_never_reaches_the_network(key: str) -> None:
    with pytest.raises(zjj.InvalidRequestError) as caught:
        sending(key)
    assert caught.value.errors[0].field == "idempotency_key"
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("job_id", ["", "16400001234", "../sms-codes", "0" * 31, "0" * 32 + "\n"])
def test_nothing_but_a_job_id_becomes_part_of_a_url(job_id: str) -> None:
    with pytest.raises(zjj.InvalidRequestError) as caught:
        get_job(job_id, attempts=1)
    assert caught.value.errors[0].field == "id"


def state(name: str) -> Reply:
    return Reply(200, {}, json.dumps({**JOB, "state": name}).encode())


def test_waiting_looks_again_until_the_job_is_settled() -> None:
    waiting = wait_for_job(JOB["id"], timeout=60, attempts=5)
    job, requests, pauses = hold(waiting, state("queued"), BUSY, state("running"), state("failed"))
    assert isinstance(job, zjj.Job)
    assert (job.state, job.settled, job.succeeded) == ("failed", True, False)
    assert len(requests) == 4
    assert all(0 <= pause <= 1 for pause in pauses)


def test_waiting_ends_with_the_job_as_it_stands() -> None:
    outcome, _, _ = hold(wait_for_job(JOB["id"], timeout=0, attempts=1), state("retrying"))
    assert isinstance(outcome, zjj.NotSettledError)
    assert outcome.job.state == "retrying"


@given(status=st.sampled_from([200, 202]), body=st.binary(max_size=200))
def test_garbage_is_not_a_job(status: int, body: bytes) -> None:
    outcome, requests, _ = hold(sending(), Reply(status, {}, body))
    assert isinstance(outcome, zjj.UnexpectedReplyError)
    assert len(requests) == 1


nearly: st.SearchStrategy[dict[str, object]] = st.fixed_dictionaries(
    {name: st.none() | st.text() | st.integers() | st.lists(st.text()) for name in JOB},
    optional={
        name: st.none() | st.text() | st.integers() | st.lists(st.integers() | st.just({}))
        for name in ("attempts", "receipt", "result", "expires_at", "reason")
    },
)


@given(document=nearly)
def test_nearly_a_job_is_not_a_job(document: object) -> None:
    outcome, _, _ = hold(sending(), Reply(202, {}, json.dumps(document).encode()))
    assert isinstance(outcome, zjj.UnexpectedReplyError)


def test_fields_of_a_newer_gateway_are_ignored() -> None:
    newer = json.dumps({**JOB, "colour": "green"}).encode()
    job, _, _ = hold(sending(), Reply(202, {}, newer))
    assert isinstance(job, zjj.Job)


@given(status=st.integers(100, 599), body=st.binary(max_size=100))
def test_whatever_answers_the_caller_gets_a_job_or_an_error_of_the_tree(
    status: int, body: bytes
) -> None:
    outcome, _, _ = hold(sending(attempts=2), Reply(status, {}, body))
    assert isinstance(outcome, (zjj.Job, zjj.ZjjError))


def test_a_real_name_check_says_what_it_was_given_and_nothing_else() -> None:
    body = {"name": "张三", "id_number": "999999199001010091", "phone": None}
    conversation = check_identity(body, idempotency_key="key", attempts=1)
    job, (request,), _ = hold(conversation, ACCEPTED)
    assert isinstance(job, zjj.Job)
    assert (request.method, request.path) == ("POST", "/v1/identity-checks")
    assert json.loads(request.content or b"") == {"name": "张三", "id_number": body["id_number"]}
    assert "张三" not in repr(request)


def test_a_push_names_a_notice_and_one_device() -> None:
    body = {"push_token": "13065ffa4e3ae5f7c4b", "notice": "order_update", "user": None}
    _, (request,), _ = hold(push(body, idempotency_key="key", attempts=1), ACCEPTED)
    assert (request.method, request.path) == ("POST", "/v1/pushes")
    assert json.loads(request.content or b"").keys() == {"push_token", "notice"}


def take(answer: Reply | Failure) -> str | zjj.ZjjError:
    conversation = take_phone("0" * 32)
    request = next(conversation)
    assert isinstance(request, Request)
    assert (request.method, request.path) == ("POST", f"/v1/logins/{'0' * 32}/phone")
    try:
        conversation.send(answer)
    except StopIteration as done:
        return str(done.value)
    except zjj.ZjjError as error:
        return error
    raise AssertionError("a number was asked for twice")


def test_a_logins_number_is_asked_for_once_whatever_comes() -> None:
    assert take(Reply(200, {}, b'{"phone": "16400001234"}')) == "16400001234"
    for answer, error in (
        (Reply(410, {}, b"{}"), zjj.NotFoundError),
        (Reply(409, {}, b'{"type": "urn:problem-type:zjj:job-state"}'), zjj.WaitError),
        (BUSY, zjj.RetryError),
        (Failure("ReadTimeout"), zjj.RetryError),
        (Reply(200, {}, b"<html>"), zjj.UnexpectedReplyError),
        (ACCEPTED, zjj.UnexpectedReplyError),
    ):
        assert isinstance(take(answer), error)


def test_only_a_jobs_id_becomes_part_of_an_address() -> None:
    with pytest.raises(zjj.InvalidRequestError):
        next(take_phone("../keys"))


@pytest.mark.parametrize(("talk", "path"), [(log_in, "logins"), (check_phone, "phone-checks")])
def test_a_token_is_handed_in_under_its_own_address(talk: Any, path: str) -> None:
    body = {"login_token": "sdk-token-0001", "user": None}
    _, (request,), _ = hold(talk(body, idempotency_key="key", attempts=1), ACCEPTED)
    assert request.path == f"/v1/{path}"
    assert json.loads(request.content or b"") == {"login_token": "sdk-token-0001"}
