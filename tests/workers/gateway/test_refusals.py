"""A refusal names the field and never repeats a value."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from models.tables import jobs
from tests.workers.gateway.serving import Gateway

CODE = {"phone": "16400001234", "code": "246810", "scene": "register"}
CANARY = "16498761234"


@pytest.fixture(scope="module")
def shared(gateway: Gateway) -> Iterator[tuple[Gateway, httpx.Client]]:
    with gateway.http() as http:
        yield gateway, http


def refuse(
    shared: tuple[Gateway, httpx.Client], body: object, content_type: str = "application/json"
) -> list[dict[str, str]]:
    """Post something bad and return the errors of the refusal."""
    gateway, http = shared
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": content_type, "Idempotency-Key": "bad"}
    reply = http.post("/v1/sms-codes", content=content, headers=headers)
    assert reply.status_code == 422, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = reply.json()
    assert problem["type"] == "urn:problem-type:zjj:invalid-request"
    assert problem["status"] == 422
    assert CANARY not in reply.text + str(reply.headers)
    with gateway.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(jobs)) == 0
    errors: list[dict[str, str]] = problem["errors"]
    assert all(set(error) == {"field", "reason", "code"} for error in errors)
    return errors


def fields(errors: list[dict[str, str]]) -> list[str]:
    return [error["field"] for error in errors]


@pytest.mark.parametrize(
    "phone", [CANARY + "0", CANARY[:-1], "+1 202 555 0123", "", " ", "mobile", "2" + CANARY[1:]]
)
def test_a_bad_phone_is_named(shared: tuple[Gateway, httpx.Client], phone: str) -> None:
    assert fields(refuse(shared, {**CODE, "phone": phone})) == ["phone"]


def test_a_foreign_number_is_told_from_a_mistyped_one(
    shared: tuple[Gateway, httpx.Client],
) -> None:
    (error,) = refuse(shared, {**CODE, "phone": "+1 202 555 0123"})
    assert "only +86" in error["reason"]


def test_an_unknown_scene_is_answered_with_the_known_ones(
    shared: tuple[Gateway, httpx.Client],
) -> None:
    (error,) = refuse(shared, {**CODE, "scene": CANARY})
    assert (error["field"], error["code"]) == ("scene", "unknown_choice")
    assert "'reset_password'" in error["reason"]


@pytest.mark.parametrize("wrong", [int(CANARY), 1.5, True, None, [CANARY], {CANARY: CANARY}])
@pytest.mark.parametrize("field", ["phone", "scene"])
def test_a_value_of_the_wrong_type_is_named(
    shared: tuple[Gateway, httpx.Client], field: str, wrong: object
) -> None:
    assert fields(refuse(shared, {**CODE, field: wrong})) == [field]


def test_every_fault_is_named_at_once(shared: tuple[Gateway, httpx.Client]) -> None:
    errors = refuse(shared, {"phone": "1", "code": "1", "user": "王小明"})
    assert fields(errors) == ["phone", "scene", "code", "user"]
    assert errors[1] == {"field": "scene", "reason": "is required", "code": "missing"}


def test_an_unknown_field_is_named_if_its_name_looks_harmless(
    shared: tuple[Gateway, httpx.Client],
) -> None:
    (error,) = refuse(shared, {**CODE, "nick_name": CANARY})
    assert (error["field"], error["code"]) == ("nick_name", "unknown_field")


@pytest.mark.parametrize(
    "name", [CANARY, "p" + CANARY, "王小明", "Wang Xiaoming", "a" * 25, "<script>", "", "\u0000"]
)
def test_an_unknown_field_whose_name_may_be_personal_is_not_named(
    shared: tuple[Gateway, httpx.Client], name: str
) -> None:
    (error,) = refuse(shared, {**CODE, name: "x"})
    assert error == {
        "field": "unknown",
        "reason": "is not a field of this request",
        "code": "unknown_field",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        CANARY.encode() + b"{",
        b'{"phone": "' + CANARY.encode(),
        b'{"phone": "\xff\xfe"}',
        b'{"phone": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        json.dumps(CODE).encode("utf-16"),
        b"[" * 8000,
        b'{"a":' * 3000,
        b"NaN,",
    ],
)
def test_malformed_json_is_the_bodys_fault(
    shared: tuple[Gateway, httpx.Client], body: bytes
) -> None:
    (error,) = refuse(shared, body)
    assert (error["field"], error["code"]) == ("body", "invalid_json")


@pytest.mark.parametrize("body", [[], [CODE], "text", 1, None, True, [[[[CANARY]]]]])
def test_json_that_is_no_object_is_the_bodys_fault(
    shared: tuple[Gateway, httpx.Client], body: object
) -> None:
    (error,) = refuse(shared, body)
    assert (error["field"], error["code"]) == ("body", "wrong_type")


@pytest.mark.parametrize("number", [b"1" * 9000, b"-1e999", b"NaN", b"Infinity", b"1e-400"])
def test_a_monstrous_number_is_only_a_wrong_value(
    shared: tuple[Gateway, httpx.Client], number: bytes
) -> None:
    body = b'{"phone": ' + number + b', "code": "246810", "scene": "register"}'
    assert fields(refuse(shared, body)) in (["phone"], ["body"])


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=gbk",
        "application/jsonp",
        f"text/{CANARY}",
    ],
)
def test_only_json_is_read(shared: tuple[Gateway, httpx.Client], content_type: str) -> None:
    assert fields(refuse(shared, CODE, content_type)) == ["Content-Type"]


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"']
)
def test_json_may_say_that_it_is_utf8(
    shared: tuple[Gateway, httpx.Client], content_type: str
) -> None:
    assert fields(refuse(shared, {**CODE, "phone": CANARY[1:]}, content_type)) == ["phone"]


TOO_LARGE = {"field": "body", "reason": "must have at most 16384 bytes", "code": "too_large"}


def oversized(size: int) -> bytes:
    return b" " * (size - 200) + json.dumps({**CODE, "user": CANARY}).encode().ljust(200)


@pytest.mark.parametrize("size", [16_385, 100_000, 1_000_000, 5_000_000])
def test_an_oversized_body_is_refused_and_the_caller_can_read_why(
    shared: tuple[Gateway, httpx.Client], size: int
) -> None:
    assert refuse(shared, oversized(size)) == [TOO_LARGE]


def test_a_body_of_exactly_the_limit_is_read(shared: tuple[Gateway, httpx.Client]) -> None:
    body = b"{" + b" " * 16_381 + b"}!"
    assert fields(refuse(shared, body)) == ["body"]
    assert fields(refuse(shared, body[:-1] + b" ")) == ["phone", "scene"]


@pytest.mark.parametrize("size", [16_385, 5_000_000])
def test_an_oversized_body_without_a_length_is_refused_while_it_streams(
    shared: tuple[Gateway, httpx.Client], size: int
) -> None:
    _, http = shared
    content = oversized(size)
    chunks = (content[start : start + 4096] for start in range(0, size, 4096))
    headers = {"Content-Type": "application/json", "Idempotency-Key": "bad"}
    reply = http.post("/v1/sms-codes", content=chunks, headers=headers)
    assert "Content-Length" not in reply.request.headers
    assert (reply.status_code, reply.json()["errors"]) == (422, [TOO_LARGE])


@pytest.mark.parametrize("authorization", ["", "Authorization: Bearer {key}\r\n"])
def test_an_endless_body_is_cut_off(
    shared: tuple[Gateway, httpx.Client], authorization: str
) -> None:
    gateway, _ = shared
    host, port = gateway.url.removeprefix("http://").split(":")
    head = (
        "POST /v1/sms-codes HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n"
        f"Content-Type: application/json\r\n{authorization.format(key=gateway.api_key)}"
        "Idempotency-Key: bad\r\n\r\n"
    )
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        with pytest.raises(OSError, match=r"Broken pipe|reset by peer"):
            connection.sendall(chunk * 3000)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*CODE, "user", CANARY]) | st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    body=st.dictionaries(
        st.sampled_from([*CODE, "user", CANARY]) | st.text(),
        json_values.filter(lambda value: value not in CODE.values()),
        max_size=5,
    )
    | json_values
)
def test_no_json_at_all_makes_the_gateway_fail_or_repeat_it(
    shared: tuple[Gateway, httpx.Client], body: object
) -> None:
    assert refuse(shared, body)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(body=st.binary(max_size=400))
def test_no_bytes_at_all_make_the_gateway_fail(
    shared: tuple[Gateway, httpx.Client], body: bytes
) -> None:
    assert refuse(shared, body)
