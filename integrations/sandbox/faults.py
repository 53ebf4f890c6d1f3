"""Mishaps that the sandbox plays on demand."""

from __future__ import annotations

import random
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

__all__ = ["Fault", "Faults"]

Kind = Literal["hang", "slow", "reset", "drop", "status", "garbage", "code", "undelivered"]


class Fault(BaseModel):
    """One mishap, for the next ``times`` requests or for ``percent`` of all.

    ========== =====================================================================
    hang       no byte of the reply for ``seconds``, then the usual reply
    slow       the reply trickles over ``seconds``, so that no single read times out
    reset      half of the reply, then a TCP reset
    drop       a TCP reset before the first byte of the reply
    status     HTTP ``status`` with a page instead of an answer, as a proxy sends it
    garbage    HTTP 200 with bytes that nobody can read
    code       the provider refuses with ``code`` (``retry_after`` ms for throttling)
    undelivered the provider accepts, and delivery fails later with ``code``
    ========== =====================================================================
    """

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    times: int | None = Field(default=None, ge=1)
    percent: float = Field(default=100, gt=0, le=100)
    seed: int = 0
    """Makes the choice of ``percent`` repeatable."""
    action: str | None = None
    """Only requests for this operation."""
    seconds: float = Field(default=1, ge=0)
    status: int | None = Field(default=None, ge=400, le=599)
    code: str | None = None
    message: str | None = None
    retry_after: int | None = Field(default=None, ge=1)
    processed: bool = True
    """Whether the provider carries the request out before the mishap hides that (hang, slow,
    reset, drop, status, garbage)."""

    _dice: random.Random = PrivateAttr()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in {"code", "undelivered"} and self.code is None:
            raise ValueError("code is needed")
        self._dice = random.Random(self.seed)  # noqa: S311  # repeatable, not secret
        return self

    def strikes(self, action: str) -> bool:
        """Whether it befalls this request; draws the dice."""
        if self.action not in {None, action}:
            return False
        return self.percent == 100 or self._dice.random() * 100 < self.percent


class Faults:
    """The mishaps in waiting, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put one at the end."""
        self._waiting.append(fault)

    def take(self, action: str) -> Fault | None:
        """The mishap of this request, if it has one."""
        for fault in self._waiting:
            if fault.strikes(action):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._waiting.remove(fault)
                return fault
        return None

    def waiting(self) -> list[Fault]:
        """Those that have not run out."""
        return list(self._waiting)

    def clear(self) -> None:
        """Nothing more goes wrong."""
        self._waiting.clear()
