"""One rule for what may be shown: phone 3+4, identity number 1+1, of a name the surname."""

from __future__ import annotations

import httpx
import pytest

from tests.workers.gateway.serving import Gateway


@pytest.mark.parametrize(
    ("field", "value", "mask"),
    [
        ("phone", "16400001234", "164****1234"),
        ("phone", "+86 164-0000-1234", "164****1234"),
        ("id_number", "99999919900101018x", "9****************X"),
        ("name", "张三", "张*"),
        ("name", "阿卜杜拉·买买提", "阿*******"),
    ],
)
def test_what_is_shown_is_masked_by_one_rule(
    http: httpx.Client, field: str, value: str, mask: str
) -> None:
    reply = http.post("/v1/masks", json={field: value})
    assert (reply.status_code, reply.json()[field]) == (200, mask)
    assert [name for name, text in reply.json().items() if text] == [field]
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("body", [{}, {"phone": "1640000123"}, {"address": "x"}, {"phone": None}])
def test_what_cannot_be_masked_is_refused_without_showing_it(
    http: httpx.Client, body: dict[str, str | None]
) -> None:
    reply = http.post("/v1/masks", json=body)
    assert reply.status_code == 422
    assert "1640000123" not in reply.text


def test_a_stranger_learns_nothing(gateway: Gateway) -> None:
    reply = httpx.post(f"{gateway.url}/v1/masks", json={"phone": "16400001234"}, trust_env=False)
    assert reply.status_code == 401
