"""Non-interference: what an operation may not send has no influence on its bytes either.

Clock and nonce stand still; everything that is not allowed varies: what else the job holds, who
the person, the worker and the backend are, which attempt it is. The bytes must stay the same, or
nothing may leave at all, where the gate finds a varied value in the request by coincidence.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from integrations.policy import Policy
from models.clock import utc_now
from models.errors import DeniedError
from workers.proofs.drives import DRIVES, TappedGate, personal_fields
from workers.proofs.lab import Lab, make_attempt
from workers.proofs.people import Person
from workers.proofs.report import Progress, Proof, run_proof

__all__ = ["non_interference"]

_SEED = 20230101
_MOST_DENIED = 0.05


def non_interference(policy: Policy, progress: Progress, *, variations: int) -> Proof:
    """Vary what may not leave, ``variations`` times for each operation."""
    proof = Proof(
        "non-interference",
        "what may not leave does not change a byte of what does",
        "不得提供的信息不会改变所发送的任何一个字节",
    )
    with Lab() as lab:
        cases = [partial(_case, lab, policy, name, variations) for name in policy.operations]
        run_proof(proof, cases, progress)
    proof.notes.append(f"{variations} variations of each operation")
    return proof


def _case(lab: Lab, policy: Policy, name: str, variations: int) -> Iterator[str]:
    chance = random.Random(_SEED)  # noqa: S311  # repeatable, not secret
    drive = DRIVES[name]
    now = utc_now().replace(microsecond=0)
    pinned = drive.pinned(now)
    gate: Any = TappedGate(lab.gate(policy), lambda given: {**given, "sign": pinned})
    person = Person(code="246810")
    needed = {*personal_fields(policy.operations[name]).values(), "scene"}
    listed = {key: value for key, value in person.held().items() if key in needed}

    def bytes_sent(held: dict[str, object], **identity: object) -> list[bytes] | None:
        # The sandbox remembers nonces, and this one is always the same.
        lab.reset()
        try:
            drive.call(gate, make_attempt(policy, held, **identity))
        except DeniedError:
            return None if not lab.tap.requests() else [b"denied, and yet sent"]
        return lab.tap.requests()

    plain = bytes_sent(listed)
    if not plain:
        yield f"{name}: nothing arrived"
    denied = 0
    for _ in range(variations):
        held = _varied(chance, person, listed)
        sent = bytes_sent(held, **_identity(chance, now))
        if sent is None:
            denied += 1
        elif sent != plain:
            extra = ", ".join(sorted(held.keys() - listed.keys()))
            yield f"{name}: the bytes changed with one of {extra}"
            return
    if denied > variations * _MOST_DENIED:
        yield f"{name}: the gate refused {denied} of {variations} harmless requests"


def _varied(chance: random.Random, person: Person, listed: dict[str, object]) -> dict[str, object]:
    other = Person(code=f"{chance.randrange(10**6):06d}")
    extra = {f"extra_{key}": value for key, value in other.held().items()}
    extra |= {key: value for key, value in person.held().items() if key not in listed}
    extra |= {f"odd_{index}": make(chance) for index, make in enumerate(_ODD)}
    chosen = chance.sample(sorted(extra), chance.randint(1, len(extra)))
    pairs = [*listed.items(), *((key, extra[key]) for key in chosen)]
    chance.shuffle(pairs)
    return dict(pairs)


def _identity(chance: random.Random, now: dt.datetime) -> dict[str, object]:
    return {
        "kind": chance.choice(["proof", "sms_code", "x" * 40]),
        "number": chance.randint(1, 9),
        "fence": chance.randint(1, 99),
        "worker_id": f"{chance.getrandbits(128):032x}",
        "backend": chance.choice(["shop", "cli", "app"]),
        "subject": f"{chance.getrandbits(256):064x}",
        "consent_ref": f"consent-{chance.getrandbits(32)}",
        "expires_at": now + dt.timedelta(seconds=chance.randint(60, 9999)),
    }


_ODD: tuple[Callable[[random.Random], object], ...] = (
    lambda chance: chance.getrandbits(70),
    lambda chance: "".join(chr(chance.randrange(0x20, 0x2FFF)) for _ in range(30)),
    lambda chance: [{"deep": [f"{chance.random()}"] * 3}],
    lambda _: None,
    lambda chance: chance.choice([True, False, "", "0", "null"]),
    lambda chance: {f"k{chance.getrandbits(16)}": {"k": "&a=1\r\nX-Y: z"}},
)
