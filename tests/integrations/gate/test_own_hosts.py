"""The one operation whose address is the deployment's goes to listed hosts and nowhere else."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from integrations.destinations import Destination, OwnHosts
from integrations.policy import PACKAGED, Policy, PolicyError, load_policy
from models.disclosures import SendResult
from models.errors import DeniedError
from models.pii import Phone
from tests.integrations.gate.parts import (
    CONFIGURED,
    PHONE,
    SIGNED_CALLBACK,
    MemoryLedger,
    make_attempt,
    make_gate,
)
from tests.integrations.gate.parts import sign as sign_for_aliyun
from tests.integrations.recording_server import RecordingServer, answer

HELD = {"event": "webhook.test", "occurred_at": "2026-11-24T00:00:00Z"}
HOST = "backend.example.com"


def _send(
    policy: Policy,
    destination: Destination | None,
    *,
    held: dict[str, object] | None = None,
) -> tuple[RecordingServer, MemoryLedger, DeniedError | None]:
    operation, ledger = policy.operations["backend.webhook"], MemoryLedger()
    with RecordingServer(answer(b"", "204 No Content")) as server:
        hosts = OwnHosts([HOST])
        gate = make_gate(policy, ledger, server.url, dial={HOST: server.url}, own_hosts=hosts)
        attempt = make_attempt(policy, held=HELD | (held or {}))
        request = operation.minimize(attempt.held, {}, destination)
        try:
            gate.send(request, sign=lambda _: SIGNED_CALLBACK, attempt=attempt)
        except DeniedError as denied:
            return server, ledger, denied
        finally:
            gate.close()
    return server, ledger, None


def test_a_listed_host_is_reached_at_the_path_that_was_registered(policy: Policy) -> None:
    server, ledger, denied = _send(policy, Destination(HOST, "/zjj/hook"))
    assert denied is None
    assert server.requests[0].startswith(
        b"POST /zjj/hook HTTP/1.1\r\nhost: backend.example.com\r\n"
    )
    assert ledger.rows[0].host == HOST


@pytest.mark.parametrize(
    "destination",
    [
        None,
        Destination("evil.example.com", "/hook"),
        Destination("dysmsapi.aliyuncs.com", "/"),
        Destination("127.0.0.1:80", "/hook"),
        Destination(HOST, "/hook?a=1"),
        Destination(HOST, "/../hook"),
        Destination(HOST, "/\r\nx: y"),
        Destination(HOST, f"/{PHONE}"),
    ],
)
def test_anything_else_is_denied_and_on_record(
    policy: Policy, destination: Destination | None
) -> None:
    server, ledger, denied = _send(policy, destination)
    assert denied is not None
    assert server.connections == 0
    assert [(row.verdict, row.reason) for row in ledger.rows] == [("denied", "host")]


def test_a_value_that_the_job_holds_is_found_in_a_path_too() -> None:
    policy = load_policy()  # of which nothing was worked out before
    destination = Destination(HOST, "/" + PHONE.encode().hex())
    server, ledger, _ = _send(policy, destination, held={"phone": Phone(PHONE)})
    assert server.connections == 0
    assert ledger.rows[-1].reason == "held_value:phone"


def test_where_its_name_leads_inside_nothing_is_sent_and_that_is_on_record(
    policy: Policy, ledger: MemoryLedger, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(_name: str, port: int, **_options: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    host = f"{HOST}:{server.port}"
    gate = make_gate(policy, ledger, server.url, dial={}, own_hosts=OwnHosts([host]))
    attempt = make_attempt(policy, held=HELD)
    operation = policy.operations["backend.webhook"]
    request = operation.minimize(attempt.held, {}, Destination(host, "/hook"))
    with pytest.raises(DeniedError, match="not public"):
        gate.send(request, sign=lambda _: SIGNED_CALLBACK, attempt=attempt)
    gate.close()

    assert server.connections == 0
    assert [result.result for result in attempt.results] == [SendResult.UNSENT]


def test_no_other_operation_can_be_sent_there(policy: Policy) -> None:
    operation, ledger = policy.operations["aliyun.sms.send"], MemoryLedger()
    with RecordingServer() as server:
        gate = make_gate(
            policy, ledger, server.url, dial={HOST: server.url}, own_hosts=OwnHosts([HOST])
        )
        attempt = make_attempt(policy)
        request = operation.minimize(attempt.held, CONFIGURED, Destination(HOST, "/"))
        with pytest.raises(DeniedError, match="host"):
            gate.send(request, sign=sign_for_aliyun, attempt=attempt)
        gate.close()
        assert server.connections == 0


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('recipient = "own_backend"', 'recipient = "alipay"', "must be stated"),
        ('recipient = "own_backend"', 'recipient = "own_backend"\npath = "/x"', "belong together"),
        (
            'recipient = "own_backend"',
            'recipient = "own_backend"\nhost = "a.example.com"\npath = "/"',
            "is not a host of own_backend",
        ),
    ],
)
def test_only_our_own_servers_may_be_left_to_the_deployment(
    old: str, new: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "changed.toml"
    path.write_text(PACKAGED.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(PolicyError, match=reason):
        load_policy(path)
