"""What the gate costs one request: minimize, admit, sign, and the disclosure on record first.

Measured through the gate's own door with one thread and real parts: the packaged policy, a ledger
in a database, the responder. A bare httpx call alternates with each gated one, so that both see
the same machine. With one thread every disclosure is a transaction of its own, which is the
dearest case; a busy worker's threads share theirs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.table import Table

from benchmarks.report import percentile
from benchmarks.request import HEADERS, body_of, code_of, new_id, phone_of
from benchmarks.responder import Responder
from integrations.aliyun import AliyunCredentials
from integrations.aliyun.signing import signer
from integrations.gate import Gate, Signer, UnsignedRequest
from integrations.policy import load_policy
from integrations.sandbox.config import SandboxConfig
from models.attempts import Attempt
from models.claims import ClaimRequest, write_claims
from models.clock import utc_now
from models.database import migrate
from models.disclosures import Disclosure, Ledger
from models.ledger import LedgerWriter, SqlLedger
from tasks import SmsCode
from tests.servers import PostgresServer, RedisServer
from workers.entrance import Entrance, open_entrance
from workers.settings import Settings, load_settings

__all__ = ["GateCost", "gate_table", "measure_gate"]

_WARM_UP = 20
_WORKER = new_id()


@dataclass(frozen=True, slots=True)
class GateCost:
    """Microseconds of each call, in the same order in every list."""

    ledger: str
    minimize: list[float] = field(default_factory=list, repr=False)
    admit: list[float] = field(default_factory=list, repr=False)
    """Preconditions, bytes, the judgement on them, and the reply cut to what is kept."""
    sign: list[float] = field(default_factory=list, repr=False)
    record: list[float] = field(default_factory=list, repr=False)
    wire: list[float] = field(default_factory=list, repr=False)
    """The request itself, from its first byte to the reply read and cut."""
    bare: list[float] = field(default_factory=list, repr=False)
    """The same body by a plain ``httpx.Client``."""

    @property
    def whole(self) -> list[float]:
        """What the gate adds to a signed request."""
        parts = zip(self.minimize, self.admit, self.record, strict=True)
        return [sum(part) for part in parts]

    @property
    def judging(self) -> list[float]:
        """The gate without the ledger's wait for the disk."""
        return [sum(part) for part in zip(self.minimize, self.admit, strict=True)]

    def trimmed(self) -> GateCost:
        """Without the first calls."""
        lists = (self.minimize, self.admit, self.sign, self.record, self.wire, self.bare)
        return GateCost(self.ledger, *(values[_WARM_UP:] for values in lists))


class _TimedLedger:
    def __init__(self, inner: Ledger) -> None:
        self._inner = inner
        self.took = 0.0

    def record(self, disclosure: Disclosure) -> None:
        began = time.perf_counter()
        self._inner.record(disclosure)
        self.took = time.perf_counter() - began


class _TimedSigner:
    def __init__(self, inner: Signer) -> None:
        self._inner = inner
        self.took = 0.0

    def __call__(self, request: UnsignedRequest) -> Mapping[str, str]:
        began = time.perf_counter()
        headers = self._inner(request)
        self.took = time.perf_counter() - began
        return headers


def measure_gate(
    redis: RedisServer, postgres: PostgresServer, responder: Responder, *, calls: int
) -> list[GateCost]:
    """Send requests through a gate on SQLite, then through one on PostgreSQL."""
    responder.reset(0)
    with tempfile.TemporaryDirectory(prefix="zjj-bench-") as folder:
        databases = {
            "SQLite": f"sqlite:///{folder}/zjj.db",
            "PostgreSQL": postgres.url(postgres.create_database()),
        }
        return [
            _measure(
                name,
                load_settings(
                    data=Path(folder),
                    database_url=database,
                    redis_url=redis.url,
                    sms_limits=False,
                ),
                responder,
                calls,
            )
            for name, database in databases.items()
        ]


def _measure(name: str, settings: Settings, responder: Responder, calls: int) -> GateCost:
    cost = GateCost(name)
    key_id, key = next(iter(SandboxConfig().access_keys.items()))
    sign = _TimedSigner(signer(AliyunCredentials(key_id, key.secret)))
    writer = LedgerWriter(settings.pseudonym)
    policy = load_policy()
    operation = policy.operation("aliyun.sms.send")
    with closing(open_entrance(settings)) as entrance, httpx.Client(trust_env=False) as client:
        migrate(entrance.engine)
        ledger = _TimedLedger(SqlLedger(entrance.commits, writer))
        gate = Gate(policy, ledger, dial={operation.host: responder.url})
        for number in range(calls + _WARM_UP):
            phone, code = phone_of(number), code_of(number)
            attempt = _claimed(entrance, phone, code)
            body = body_of(attempt.job_id, phone, code)
            began = time.perf_counter()
            client.post(responder.url, content=body, headers=HEADERS).json()
            cost.bare.append((time.perf_counter() - began) * 1e6)

            configured = {
                "sign_name": "钟久久",
                "template_code": "SMS_164000001",
                "out_id": attempt.job_id,
            }
            began = time.perf_counter()
            request = operation.minimize(attempt.held, configured)
            minimized = time.perf_counter()
            gate.send(request, sign=sign, attempt=attempt)
            sent = time.perf_counter() - minimized
            wire = attempt.results[-1].milliseconds / 1000
            cost.minimize.append((minimized - began) * 1e6)
            cost.sign.append(sign.took * 1e6)
            cost.record.append(ledger.took * 1e6)
            cost.wire.append(wire * 1e6)
            cost.admit.append((sent - wire - sign.took - ledger.took) * 1e6)
        gate.close()
    return cost.trimmed()


def _claimed(entrance: Entrance, phone: str, code: str) -> Attempt:
    """A job in this thread's hands: the ledger takes disclosures of held claims only."""
    payload = SmsCode.model_validate({"phone": phone, "code": code, "scene": "register"})
    job = entrance.service.enqueue(payload, backend="bench")
    claim = entrance.commits.run(
        write_claims, ClaimRequest(job_id=job.id, worker_id=_WORKER, at=utc_now())
    )
    assert claim is not None, "nobody else is there to claim it"
    return Attempt(
        job_id=claim.job_id,
        kind=claim.kind,
        number=claim.attempt,
        fence=claim.fence,
        worker_id=_WORKER,
        backend=claim.backend,
        policy_version=claim.policy_version,
        expires_at=claim.expires_at,
        subject=claim.subject,
        held=payload.held(),
    )


def gate_table(costs: list[GateCost]) -> Table:
    """Each part at the median and the 99th percentile, and its share of the bare call's median."""
    table = Table(
        title="The gate, one thread, provider answers at once; µs, and share of a bare httpx call",
        title_justify="left",
        show_lines=True,
    )
    table.add_column("")
    rows = ("minimize", "admit", "judging", "record", "whole", "sign", "wire", "bare")
    for column in (
        "minimize",
        "admit",
        "both",
        "ledger",
        "gate in all",
        "sign",
        "wire",
        "bare httpx",
    ):
        table.add_column(column, justify="right")
    for cost in costs:
        unit = percentile(cost.bare, 0.5)
        cells = []
        for row in rows:
            values: list[float] = getattr(cost, row)
            middle, late = percentile(values, 0.5), percentile(values, 0.99)
            cells.append(f"{middle:,.0f} (p99 {late:,.0f})\n[dim]{middle / unit:.0%}[/]")
        table.add_row(f"[bold]{cost.ledger}[/]", *cells)
    return table
