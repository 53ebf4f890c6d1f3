"""A webhook through real processes: registered, sent past the locked network, verified."""

from __future__ import annotations

import json

import zjj
from tests.integrations.recording_server import RecordingServer, answer
from tests.journeys.houses import House


def test_a_registered_backend_is_told_and_can_verify_who_tells_it(running_house: House) -> None:
    house = running_house
    with RecordingServer(answer(b"", "204 No Content")) as server:
        made = house.command(
            *("webhooks", "add", "--backend", "shop", "--url", f"{server.url}/hook"),
            *("--reason", "a journey", "--json"),
        )
        endpoint = json.loads(made.stdout)
        job_id = house.command("webhooks", "test", endpoint["id"]).stdout.strip()
        house.await_(lambda: server.requests, "the webhook arrives")
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert zjj.verify_webhook(headers, body, endpoint["secret"]) == job_id
    assert json.loads(body)["type"] == "webhook.test"
    assert endpoint["secret"][6:] not in house.said()
