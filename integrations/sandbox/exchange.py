"""What passes between the sandbox's door and the providers that it plays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Answer", "Call", "Provider", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it came over the wire; ``repr`` shows no content."""

    method: str
    path: str
    query: str = field(repr=False)
    """Undecoded, without the question mark."""
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """Names in lower case, as often as they came."""
    body: bytes = field(repr=False)
    _by_name: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", dict(reversed(self.headers)))

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        return self._by_name.get(name)


@dataclass(frozen=True, slots=True)
class Call:
    """A request as its provider reads it, before any check."""

    request: Request
    action: str
    """The provider's name for the operation, such as ``SendSms``."""
    parameters: dict[str, str] = field(repr=False)
    reference: str | None
    """The caller's own reference that the provider keeps, such as Aliyun's OutId."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider replies."""

    status: int
    code: str
    """The provider's code, for the journal."""
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    accepted: bool = False
    """The provider did what was asked."""


class Provider(Protocol):
    """One company's interface, played over HTTP."""

    name: str
    hosts: frozenset[str]
    """Host names under which it is reached."""

    def serves(self, request: Request) -> bool:
        """Whether a request to an unknown host (a loopback address) is meant for it."""

    def read(self, request: Request) -> Call:
        """Take a request apart; never fails."""

    def answer(self, call: Call, *, undelivered: str | None = None) -> Answer:
        """Check everything that the provider checks, then do it.

        Args:
            call: What arrived.
            undelivered: Accept it, but let delivery fail later with this code.
        """

    def refusal(self, call: Call, code: str, *, status: int | None, message: str | None) -> Answer:
        """What the provider sends with an error code, whatever the request was."""

    def reset(self) -> None:
        """Forget everything that happened."""
