"""The provider of the benchmarks: quick, patient when told, and exact about arrivals."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from benchmarks.request import HEADERS, body_of, new_id
from benchmarks.responder import Responder


@pytest.fixture(scope="module")
def running() -> Iterator[Responder]:
    with Responder() as running:
        yield running


@pytest.fixture
def responder(running: Responder) -> Responder:
    running.reset(0)
    return running


def _send(responder: Responder, job_id: str) -> httpx.Response:
    body = body_of(job_id, "16400001234", "135790")
    return httpx.post(responder.url, content=body, headers=HEADERS, trust_env=False)


def test_it_answers_as_aliyun_answers_an_accepted_text(responder: Responder) -> None:
    assert _send(responder, new_id()).json()["Code"] == "OK"


def test_it_notes_when_each_job_arrived_first(responder: Responder) -> None:
    first, second = new_id(), new_id()
    before = time.monotonic()
    _send(responder, first)
    between = time.monotonic()
    _send(responder, second)
    _send(responder, first)
    arrivals = responder.arrivals()
    assert before < arrivals[first] < between < arrivals[second]
    assert responder.count() == 3


def test_it_waits_as_long_as_it_is_told(responder: Responder) -> None:
    responder.reset(50)
    before = time.monotonic()
    _send(responder, new_id())
    assert time.monotonic() - before >= 0.05


def test_it_forgets_on_a_reset(responder: Responder) -> None:
    _send(responder, new_id())
    responder.reset(0)
    assert (responder.count(), responder.arrivals()) == (0, {})


def test_a_request_in_pieces_counts_once_and_when_whole(responder: Responder) -> None:
    address = urlsplit(responder.url)
    body = body_of(new_id(), "16400001234", "135790").encode()
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with socket.create_connection((address.hostname, address.port)) as client:
        for piece in (request[:30], request[30:-20]):
            client.sendall(piece)
            assert not responder.wait(1, 0.02)
        client.sendall(request[-20:])
        assert responder.wait(1, 5)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_waiting_in_vain_leaves_it_usable(responder: Responder) -> None:
    assert not responder.wait(1, 0.01)
    _send(responder, new_id())
    assert responder.wait(1, 5)
    assert responder.count() == 1
