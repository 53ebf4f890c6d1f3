"""Pushes over HTTP: handed in with a notice's name, refused with anything else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

TOKEN = "13065ffa4e3ae5f7c4b"


def hand_in(http: httpx.Client, **changes: Any) -> httpx.Response:
    body = {"push_token": TOKEN, "notice": "order_update", "user": "u-1", **changes}
    return http.post("/v1/pushes", json=body, headers={"Idempotency-Key": "push-1"})


def test_a_push_is_accepted_and_says_nothing_of_the_device(http: httpx.Client) -> None:
    reply = hand_in(http)
    assert (reply.status_code, reply.json()["kind"]) == (202, "push")
    assert TOKEN not in http.get(f"/v1/jobs/{reply.json()['id']}").text


@pytest.mark.parametrize(
    "changes",
    [
        {"notice": "sale"},
        {"notice": "您有优惠"},
        {"alert": "张三,您的订单已发货"},
        {"title": "钟久久"},
        {"alias": "u-1"},
        {"tags": ["vip"]},
        {"push_token": ["a" * 20, "b" * 20]},
        {"push_token": "short"},
        {"push_token": "https://x.example"},
        {"push_token": "a" * 65},
        {"phone": "16400001234"},
    ],
)
def test_words_of_ones_own_and_other_ways_to_a_person_are_refused(
    http: httpx.Client, changes: dict[str, Any]
) -> None:
    reply = hand_in(http, **changes)
    assert reply.status_code == 422
    for value in changes.values():
        assert str(value) not in reply.text
