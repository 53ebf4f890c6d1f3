"""The description is correct: schemathesis reads it and tries whether it is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.workers.gateway.serving import Gateway


def try_everything(gateway: Gateway, folder: Path, examples: int) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{gateway.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {gateway.api_key}", "--checks", "all"]
    command += [f"--max-examples={examples}", "--no-color"]
    # A login's number is handed out once: what is described by 410 is no bad request.
    expected = ["2xx", "3xx", "401", "403", "404", "409", "410", "429", "5xx"]
    (folder / "schemathesis.toml").write_text(
        f"[checks.positive_data_acceptance]\nexpected-statuses = {expected}\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "SCHEMATHESIS_HOOKS": "tests.workers.gateway.formats",
    }
    run = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-1000:]
    paths = httpx.get(f"{gateway.url}/openapi.json", trust_env=False).json()["paths"]
    assert f"Tested: {sum(map(len, paths.values()))}\n" in run.stdout


@pytest.mark.timeout(400)
def test_what_the_description_says_is_so(gateway: Gateway, tmp_path: Path) -> None:
    try_everything(gateway, tmp_path, examples=5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_the_description_says_is_so_however_long_one_looks(
    gateway: Gateway, tmp_path: Path
) -> None:
    try_everything(gateway, tmp_path, examples=20)


@pytest.fixture
def description(http: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = http.get("/openapi.json").json()
    return document


def test_it_needs_no_key_and_loads_nothing_from_elsewhere(gateway: Gateway) -> None:
    reply = httpx.get(f"{gateway.url}/openapi.json", trust_env=False)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
    assert "http://" not in reply.text
    assert "https://" not in reply.text


def test_every_refusal_is_described_as_a_problem(description: dict[str, Any]) -> None:
    for path, operations in description["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if path.startswith("/v1/") and int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"]


def test_the_payload_is_described_as_closed(description: dict[str, Any]) -> None:
    payload = description["components"]["schemas"]["SmsCodeRequest"]
    assert payload["additionalProperties"] is False
    assert payload["required"] == ["phone", "scene"]
    assert "reset_password" in payload["properties"]["scene"]["enum"]
    # The receipt's own page shows no field that could hold a value of a person.
    for schema in ("JobSearch", "JobsReplay", "JobCancel", "PauseRequest"):
        assert description["components"]["schemas"][schema]["additionalProperties"] is False
    # Nothing personal has a place in a URL.
    query = description["paths"]["/v1/jobs"]["get"]["parameters"]
    assert "phone" not in {parameter["name"] for parameter in query}
    assert "phone" not in description["components"]["schemas"]["JobBody"]["properties"]


def test_every_route_names_the_scope_that_it_needs(description: dict[str, Any]) -> None:
    for path, operations in description["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/"):
                ((scope,),) = (scheme.values() for scheme in operation["security"])
                assert len(scope) == 1
                assert "403" in operation["responses"]
    assert description["paths"]["/v1/sms-codes"]["post"]["security"] == [{"ApiKey": ["enqueue"]}]
