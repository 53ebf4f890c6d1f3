"""A backend that has its own ``models`` and ``tasks`` hands in jobs through ``zjj``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.workers.gateway.serving import serve_gateway

BACKEND = Path(__file__).parent / "sample_backend"
CLIENT = Path(__file__).parents[2] / "clients" / "python" / "src"
HTTPX = {"anyio", "certifi", "h11", "httpcore", "httpx", "idna", "sniffio", "typing_extensions"}
HTTPX_EXTRAS = {"click", "markdown_it", "mdurl", "pygments", "rich"}
"""Loaded by httpx for its own command line, where they happen to be installed."""


def test_a_backend_with_packages_named_like_ours_uses_the_client(
    sqlite_url: str, tmp_path: Path
) -> None:
    with serve_gateway(sqlite_url) as gateway:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(BACKEND), str(CLIENT)]),
            "ZJJ_URL": gateway.url,
            "ZJJ_API_KEY": gateway.api_key,
        }
        command = [sys.executable, str(BACKEND / "shop.py")]
        run = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        report = json.loads(run.stdout)
        job = gateway.service.find(report["jobs"][0], backend="shop")
    assert job is not None
    assert report["jobs"] == [job.id, job.id]
    assert report["repeated"] == [False, True]
    assert report["state"] == "queued"
    assert all(Path(file).is_relative_to(BACKEND) for file in report["files"])
    assert not report["workers_loaded"]
    assert {
        name for name in report["installed"] if not name.startswith("_")
    } <= HTTPX | HTTPX_EXTRAS
    assert run.stderr == ""
