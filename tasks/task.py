"""A task: everything the system knows about one kind of job."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from models.errors import GiveUpError
from models.pii import Personal
from tasks.outcomes import Outcome
from tasks.payload import Payload
from tasks.retries import RetryRule

if TYPE_CHECKING:
    from integrations.receipt import Receipt
    from models.attempts import Attempt

__all__ = ["Context", "Queue", "SmsSender", "Task", "UnknownKind"]

Queue = str
"""An urgency class: ``urgent`` (a person waits), ``standard``, ``bulk``."""

QUEUES: tuple[Queue, ...] = ("urgent", "standard", "bulk")


class UnknownKind(GiveUpError):
    """No task of that kind is known to this version."""

    default_code = "kind.unknown"


class SmsSender(Protocol):
    """Sends verification codes; see :mod:`integrations.aliyun.sms`."""

    def send_code(self, attempt: Attempt) -> Receipt:
        """Send the code that the attempt holds, or raise from the error tree."""


class Context(Protocol):
    """What a handler is handed: its integrations, ready to use."""

    @property
    def sms(self) -> SmsSender:
        """The SMS road."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kind of job.

    Attributes:
        kind: Its name, for ever.
        payload: Its data.
        queue: Its urgency class.
        handle: Does it: open, decide, call one integration, answer.
        retry: When to repeat it.
        lifetime: After this long nothing of it may be sent; None for no limit.
        retention: How long the sealed payload of an unfinished job may be kept.
        subject: Which personal value its person is found by.
    """

    kind: str
    payload: type[Payload]
    queue: Queue
    handle: Callable[[Any, Attempt, Context], Outcome]
    retry: RetryRule
    lifetime: dt.timedelta | None
    retention: dt.timedelta
    subject: Callable[[Any], Personal | None]
