"""A running product: real processes in a folder of their own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

__all__ = ["House", "free_port"]

_PATIENCE_SECONDS = 60.0
_UNWANTED = {"PYTHONDONTWRITEBYTECODE"}
"""Every process would compile everything anew."""


def free_port() -> int:
    """A loopback port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class House:
    """``zjj run`` in a folder, as an operator would start it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.data = folder / "zjj"
        self.port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in _UNWANTED},
            "ZJJ_DATA": str(self.data),
            "ZJJ_GATEWAY_PORT": str(self.port),
            "ZJJ_LANG": "en",
            "ZJJ_GRACE_SECONDS": "5",
            "NO_COLOR": "1",
            "COLUMNS": "120",
            **environment,
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = folder / "run.out"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one ``zjj`` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "workers.cli", *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )

    def start(self) -> None:
        """Start ``zjj run`` and wait until it serves."""
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.cli", "run"],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.await_(lambda: "Serving on" in self.said() or self._process_ended(), "it serves")
        assert not self._process_ended(), self.said()

    def said(self) -> str:
        """What ``zjj run`` has printed."""
        return self.output.read_text()

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(_PATIENCE_SECONDS)

    def kill_supervisor(self) -> None:
        """``kill -9`` of ``zjj run`` itself, leaving its children to notice."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Leave nothing running, whatever happened."""
        if self._process is not None and self._process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)

    def pids(self, part: str = "") -> list[int]:
        """Processes that belong to this folder (and whose command line mentions ``part``)."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            ours = str(self.data).encode() in environment + command and command
            if ours and part.encode() in command:
                found.append(int(entry.name))
        return found

    def api(self) -> httpx.Client:
        """An HTTP client with the key of ``zjj run``."""
        key = (self.data / "demo.key").read_text()
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False
        )

    def enqueue(self, phone: str, **fields: str) -> str:
        """Enqueue a code over HTTP; returns the job's id."""
        body = {"phone": phone, "code": "135790", "scene": "login", **fields}
        with self.api() as api:
            answer = api.post(
                "/v1/sms-codes", json=body, headers={"Idempotency-Key": secrets.token_hex(16)}
            )
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        """One job as the API shows it."""
        with self.api() as api:
            found: dict[str, Any] = api.get(f"/v1/jobs/{job_id}").json()
        return found

    def settled(self, job_id: str, seconds: float = 30) -> dict[str, Any]:
        """Wait for a job's end."""
        open_states = {"scheduled", "queued", "running", "retrying"}
        self.await_(lambda: self.job(job_id)["state"] not in open_states, "it settles", seconds)
        return self.job(job_id)

    def sandbox(
        self, path: str, body: Mapping[str, object] | None = None, *, method: str | None = None
    ) -> Any:
        """Talk to the sandbox's control side."""
        port = (self.data / "sandbox.port").read_text()
        url = f"http://127.0.0.1:{port}/_sandbox/{path}"
        with httpx.Client(trust_env=False) as client:
            answer = client.request(method or ("POST" if body else "GET"), url, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def logs(self) -> list[dict[str, Any]]:
        """All structured log lines of all parts."""
        return [
            json.loads(line)
            for path in (self.data / "logs").glob("*.log")
            for line in path.read_text(errors="replace").splitlines()
            if line.startswith("{")
        ]

    def await_(self, condition: Any, what: str, seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.05)

    def _process_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None
