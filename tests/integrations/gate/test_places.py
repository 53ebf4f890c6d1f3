"""Each field leaves where the policy puts it: in the path, in the query or in the body."""

from __future__ import annotations

import pytest

from integrations.policy import PACKAGED, Policy, load_policy
from tests.integrations.gate.parts import MemoryLedger, make_attempt, make_gate
from tests.integrations.recording_server import RecordingServer

PLACED = """
[operations."placed.{method}"]
title = "试验"
recipient = "aliyun_sms"
purpose = "verify_phone"
host = "dysmsapi.aliyuncs.com"
method = "{method}"
path = "/orders/{{order}}"
place = "{place}"
reply.keep = []
headers = {{}}

[operations."placed.{method}".fields]
order = {{ title = "订单编号", from = "order", category = "system.operations", transform = "raw", pattern = '[A-Z0-9-]{{1,32}}', max = 32, place = "path" }}
Zone = {{ title = "地区", const = "cn", place = "query" }}
Kind = {{ title = "种类", const = "paid" }}
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    path = tmp_path_factory.mktemp("policy") / "placed.toml"
    placed = [
        PLACED.format(method=method, place=place)
        for method, place in (("GET", "query"), ("POST", "json"))
    ]
    path.write_text(PACKAGED.read_text("utf-8") + "".join(placed), "utf-8")
    return load_policy(path)


@pytest.mark.parametrize(
    ("method", "line", "body", "technical"),
    [
        ("GET", "GET /orders/A-7?Zone=cn&Kind=paid HTTP/1.1", "", set()),
        (
            "POST",
            "POST /orders/A-7?Zone=cn HTTP/1.1",
            '{"Kind":"paid"}',
            {"content-type", "content-length"},
        ),
    ],
)
def test_a_field_leaves_in_its_own_place_or_in_its_operations(
    policy: Policy,
    ledger: MemoryLedger,
    server: RecordingServer,
    method: str,
    line: str,
    body: str,
    technical: set[str],
) -> None:
    attempt = make_attempt(policy, held={"order": "A-7"})
    gate = make_gate(policy, ledger, server.url)
    request = policy.operation(f"placed.{method}").minimize(attempt.held, {})
    gate.send(request, sign=lambda _: {}, attempt=attempt)
    gate.close()

    head, _, sent = server.requests[0].decode().partition("\r\n\r\n")
    first, *headers = head.split("\r\n")
    assert (first, sent) == (line, body)
    assert {each.split(": ")[0] for each in headers} == {"host", "accept-encoding"} | technical
