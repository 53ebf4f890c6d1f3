"""A task: everything the system knows about one kind of job."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from models.errors import GiveUpError
from models.pii import Personal, Phone
from tasks.outcomes import Outcome
from tasks.paying import Payments
from tasks.payload import Payload
from tasks.retries import RetryRule
from tasks.roads import Road

if TYPE_CHECKING:
    from integrations.aliyun.identity import CheckedIdentity
    from integrations.aliyun.sms import Delivery
    from integrations.receipt import Receipt
    from models.attempts import Attempt
    from models.face_verifications import BegunFace
    from models.identities import IdentityRecord, KeepVerdict
    from models.login_phones import KeepPhone
    from tasks.push import PushSender

__all__ = [
    "CodeProvider",
    "Context",
    "FaceDesk",
    "IdentityDesk",
    "LoginDesk",
    "Queue",
    "SmsSender",
    "Task",
    "UnknownKind",
    "WebhookSender",
]

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

    def query_send(
        self, attempt: Attempt, sent_on: dt.date, *, reference: str | None = None
    ) -> Delivery:
        """What became of the text that was sent on that day under a reference, or the attempt's."""


class CodeProvider(Protocol):
    """Makes, sends and checks codes itself; see :mod:`integrations.aliyun.sms_auth`."""

    def send_code(self, attempt: Attempt) -> Receipt:
        """Have a code sent to the phone that the attempt holds, or raise from the error tree."""

    def check_code(self, attempt: Attempt) -> bool:
        """Whether the code that the attempt holds is the one that was sent."""


class WebhookSender(Protocol):
    """Delivers webhooks; see :mod:`integrations.backend.webhooks`."""

    def deliver(self, attempt: Attempt) -> Receipt:
        """Deliver the webhook that the attempt holds, or raise from the error tree."""


class IdentityDesk(Protocol):
    """Checks identities; see :mod:`workers.identities`."""

    def remembered(self, attempt: Attempt, *, with_phone: bool) -> IdentityRecord | None:
        """The verdict on record for exactly these fields, where a disclosure would be allowed.

        After None it is the attempt's turn to ask; raises WaitError while it is another's.
        """

    def check(self, attempt: Attempt, *, with_phone: bool) -> CheckedIdentity:
        """Ask the verifier once, or raise from the error tree."""

    def keep(self, attempt: Attempt, checked: CheckedIdentity, *, with_phone: bool) -> KeepVerdict:
        """What of a verdict stays."""


class FaceDesk(Protocol):
    """Verifies faces; see :mod:`workers.faces`."""

    def begin(self, attempt: Attempt) -> BegunFace:
        """Open a verification, or raise from the error tree."""

    def verdict(self, attempt: Attempt) -> CheckedIdentity | None:
        """What came of it; None while nothing has."""


class LoginDesk(Protocol):
    """Spends login tokens; see :mod:`workers.logins`."""

    def aliyun(self, attempt: Attempt) -> Phone:
        """The number behind the attempt's token, or an error of the tree."""

    def jiguang(self, attempt: Attempt) -> Phone:
        """The same for a token of Jiguang's SDK."""

    def is_own(self, attempt: Attempt) -> bool | None:
        """Whether the attempt's phone is the one behind its token; None if nobody can tell."""

    def keep(self, attempt: Attempt, phone: Phone) -> KeepPhone:
        """The number, sealed for the backend that asked."""


class Context(Protocol):
    """What a handler is handed: its integrations, ready to use."""

    @property
    def webhooks(self) -> WebhookSender:
        """The way to the company's own backends."""

    @property
    def sms(self) -> SmsSender:
        """The SMS road."""

    @property
    def sms_auth(self) -> CodeProvider:
        """The road on which the provider makes the code."""

    @property
    def roads(self) -> Sequence[str]:
        """Names of the roads that codes may take, the preferred one first."""

    @property
    def identities(self) -> IdentityDesk:
        """Real-name checks."""

    @property
    def faces(self) -> FaceDesk:
        """Face verification.

        Raises:
            ConfigurationError: It is switched off.
        """

    @property
    def logins(self) -> LoginDesk:
        """One-click login."""

    @property
    def payments(self) -> Payments:
        """Everything about money."""

    @property
    def pushes(self) -> PushSender:
        """Push notices."""


def _no_lane(_payload: object) -> None:
    return None


def _refuse_nothing(_payload: object) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kind of job.

    Attributes:
        kind: Its name, for ever.
        payload: Its data.
        queue: Its urgency class.
        handle: Does it: open, decide, call one integration, answer.
        refuse: Why a job with these fields will never be done, by what it holds alone: looked at
            before anything that a job may have to wait for.
        retry: When to repeat it.
        lifetime: After this long nothing of it may be sent; None for no limit.
        retention: How long the sealed payload of an unfinished job may be kept.
        subject: Which personal value its person is found by.
        operations: The policy's operations that ``handle`` may perform.
        reaches: Those of them that a job with these fields may perform; None if it is all of them.
        reconcile: Asks the recipient what became of an attempt whose outcome is unknown, given
            the instant at which it disclosed. Answers SUCCEED or FAIL when that is certain, LOSE
            when it is not, and RETRY when a repetition does nothing twice; raises from the error
            tree when there is no answer. None if nobody can be asked.
        repeatable: Whether the recipient itself makes sure that a repetition does nothing twice,
            so that unknown outcomes may be replayed.
        roads: Several ways to do it, of which one is taken (see :mod:`tasks.roads`); ``handle``
            and ``operations`` then only describe the ordinary one.
        sends_again: Whether ``reconcile`` itself repeats what may have been sent, so that the job's
            lifetime binds it too.
        asks_about: Operations after which ``reconcile`` has somebody to ask.
        announces: Whether the backend is told by a webhook how the job ends.
        forgets: Whether the payload is erased at every end, so that nothing of it is replayed; else
            failed and unknown jobs keep theirs until their retention is over.
        concludes: Whether it is to bring a verdict; of one that ends without, backends are told
            that it is unavailable.
        lane: Jobs of one lane are done one after the other; None for a job that need not wait.
    """

    kind: str
    payload: type[Payload]
    queue: Queue
    handle: Callable[[Any, Attempt, Context], Outcome]
    retry: RetryRule
    lifetime: dt.timedelta | None
    retention: dt.timedelta
    subject: Callable[[Any], Personal | None]
    operations: tuple[str, ...]
    refuse: Callable[[Any], str | None] = _refuse_nothing
    reaches: Callable[[Mapping[str, Any]], tuple[str, ...]] | None = None
    reconcile: Callable[[Any, Attempt, Context, dt.datetime], Outcome] | None = None
    repeatable: bool = False
    sends_again: bool = False
    roads: tuple[Road, ...] = ()
    asks_about: tuple[str, ...] = ()
    announces: bool = False
    forgets: bool = False
    concludes: bool = False
    lane: Callable[[Any], str | None] = _no_lane
