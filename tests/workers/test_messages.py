"""What travels through Redis is a job id, and anything else is recognised as not ours."""

from __future__ import annotations

import json

import pytest
from dramatiq import Message
from hypothesis import given
from hypothesis import strategies as st

from models.identifiers import new_id
from workers.messages import job_id_of, message_for, read_message

hex_ids = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(hex_ids)
def test_a_message_carries_the_job_id_and_comes_back(job_id: str) -> None:
    _, data = message_for(job_id, "urgent")
    message = read_message(data)
    assert message is not None
    assert job_id_of(message) == job_id


def test_a_message_holds_nothing_but_ids_and_names() -> None:
    job_id = new_id()
    redis_id, data = message_for(job_id, "urgent")
    content = json.loads(data)
    assert content.pop("args") == [job_id]
    assert content.pop("options") == {"redis_message_id": redis_id}
    assert content.pop("actor_name") == "run_job"
    assert content.pop("queue_name") == "urgent"
    assert content.pop("kwargs") == {}
    assert set(content) == {"message_id", "message_timestamp"}


@given(st.binary(max_size=4096))
def test_any_bytes_are_read_or_refused_but_never_raise(data: bytes) -> None:
    assert read_message(data) is None


def _altered(**changes: object) -> bytes:
    _, data = message_for(new_id(), "urgent")
    return json.dumps(json.loads(data) | changes).encode()


@pytest.mark.parametrize(
    "data",
    [
        _altered(actor_name="somebody_elses"),
        _altered(args=[]),
        _altered(args=["not a job id"]),
        _altered(args=[new_id(), new_id()]),
        _altered(args={"job": new_id()}),
        _altered(args=7),
        _altered(kwargs={"delay": 1}),
        _altered(kwargs=None),
        _altered(options={}),
        _altered(options={"redis_message_id": "x", "eta": 1}),
        _altered(options=[]),
        _altered(padding="x" * 4096),
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"\xff\xfe",
    ],
)
def test_a_message_that_we_did_not_write_is_refused(data: bytes) -> None:
    assert read_message(data) is None


def test_dramatiq_still_encodes_messages_as_we_do() -> None:
    job_id = new_id()
    redis_id, data = message_for(job_id, "urgent")
    decoded: Message[None] = Message.decode(data)
    assert tuple(decoded.args) == (job_id,)
    assert decoded.options["redis_message_id"] == redis_id
