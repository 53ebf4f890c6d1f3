"""The gate: the one place where personal data leaves, and the account of it.

In this order, each step only if the one before held: the preconditions of the attempt, the
request's bytes (values are opened here and nowhere else), the signature, the judgement on the
final bytes, the disclosure on durable record, and then the wire. Deny is the default. There is
nothing that turns the gate off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from integrations._wire import Answer, Lost, Timeouts, Unsent, Wire
from integrations.admission import Admitted, FinalRequest, Held, Reason, Refused, admit
from integrations.consents import demands_of
from integrations.destinations import OwnHosts
from integrations.leaves import CONTENT_TYPES, Leaf, Path, write, write_path
from integrations.minimize import TRANSFORMS, Transforms
from integrations.policy import Place
from integrations.reply import Decrypt, Garbled, Reply, cut
from models.clock import Clock, utc_now
from models.disclosures import (
    Demands,
    Disclosure,
    DisclosureResult,
    Ledger,
    SendResult,
    Verdict,
    Withheld,
)
from models.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    DeniedError,
    RetryError,
    UnknownOutcomeError,
)
from models.identifiers import new_id
from models.pii import Personal, reveal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from integrations.minimize import MinimizedRequest
    from integrations.policy import Operation, OutboundField, Policy
    from models.attempts import Attempt

__all__ = ["Gate", "Signer", "Timeouts", "UnsignedRequest", "Verifier"]


@dataclass(frozen=True, slots=True, repr=False)
class UnsignedRequest:
    """What a signer may see: the bytes as they will leave, nothing else of the job."""

    method: str
    host: str
    path: str
    query: str
    """As on the wire, without the question mark."""
    headers: Mapping[str, str]
    """The operation's constant headers, names in lower case."""
    content_type: str | None
    """None without a body."""
    body: bytes


Signer = Callable[[UnsignedRequest], Mapping[str, str]]
"""Returns the headers and fields that authenticate a request; the policy lists their names and
shapes."""

Verifier = Callable[[int, Mapping[str, str], bytes], bool]
"""Whether an answer is the recipient's own, by its status, headers (lower case) and raw body; looks
and keeps nothing."""


_NOTHING = Demands()


class Gate:
    """Lets requests out that the policy describes, and writes down each one.

    One for all threads of a process, made after forking.

    Args:
        policy: The policy in force.
        ledger: Where disclosures are recorded before bytes leave.
        clock: The present.
        dial: Host to loopback address, for the provider sandbox.
        environment: ``production`` refuses ``dial``.
        timeouts: See there.
        own_hosts: Where requests may go whose address the policy leaves to the deployment.
        transforms: How values change on their way out; the sandbox has another key than Aliyun.

    Raises:
        ConfigurationError: ``dial`` in production, away from loopback, or for a host that no
            recipient of the policy has.
    """

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        *,
        clock: Clock = utc_now,
        dial: Mapping[str, str] | None = None,
        environment: str = "development",
        timeouts: Timeouts | None = None,
        own_hosts: OwnHosts | None = None,
        transforms: Transforms = TRANSFORMS,
    ) -> None:
        dial = dial or {}
        own_hosts = own_hosts or OwnHosts()
        hosts = own_hosts.hosts | {
            host for recipient in policy.recipients.values() for host in recipient.hosts
        }
        if dial and environment == "production":
            raise ConfigurationError("production talks to the real recipients: dial must be empty")
        if dial.keys() - hosts:
            raise ConfigurationError("dial names a host that is no recipient's")
        self._policy = policy
        self._ledger = ledger
        self._clock = clock
        self._own_hosts = own_hosts
        self._wire = Wire(
            dial=dial,
            timeouts=timeouts or Timeouts(),
            guarded=own_hosts.guarded,
            private=own_hosts.private,
        )
        self._transforms = transforms

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    def send(
        self,
        request: MinimizedRequest,
        *,
        sign: Signer,
        attempt: Attempt,
        decrypt: Decrypt | None = None,
        verify: Verifier | None = None,
    ) -> Reply:
        """Send one request, if it may leave.

        Args:
            request: What :meth:`Operation.minimize` made.
            sign: Authenticates the final bytes.
            attempt: On whose behalf; each admitted request adds to its ``results``.
            decrypt: Opens what the recipient encrypts for us.
            verify: Judges a success before anything of it is read.

        Returns:
            The answer, cut to what the policy keeps, of any HTTP status.

        Raises:
            DeniedError: The request must not leave; the denial is on record.
            RetryError: No connection stood; nothing has left.
            UnknownOutcomeError: Bytes may have left and no trustworthy answer came.
            DatabaseUnavailable: The disclosure could not be recorded; nothing has left.
        """
        operation = self._policy.operations.get(request.operation.name)
        now = self._clock()
        try:
            demands = self._check(operation, request, attempt, now)
            admitted = self._admit(request, sign, attempt)
        except Refused as refusal:
            self._deny(self._disclosure(operation, request, attempt, now), str(refusal))
        disclosure = self._disclosure(operation, request, attempt, now, demands)
        # Recording and connecting take their time, and what has expired meanwhile stays.
        deadline = time.monotonic() + _seconds_left(attempt, now)
        try:
            self._ledger.record(disclosure)
        except Withheld as refusal:
            self._deny(disclosure, refusal.code)
        except DatabaseUnavailable:
            # It may stand nevertheless, and then somebody must know that nothing left.
            attempt.results.append(self._never_tried(disclosure))
            raise
        return self._deliver(
            admitted, deadline, disclosure, attempt, decrypt=decrypt, verify=verify
        )

    def permit(self, request: MinimizedRequest, *, attempt: Attempt) -> Disclosure:
        """Hold an attempt to its preconditions without sending: for what is answered from memory.

        Returns:
            The disclosure as :meth:`send` would begin it; whether its demands are met stands with
            whoever keeps the consents.

        Raises:
            DeniedError: :meth:`send` would refuse before it looks at a byte; on record as there.
        """
        operation = self._policy.operations.get(request.operation.name)
        now = self._clock()
        try:
            demands = self._check(operation, request, attempt, now)
        except Refused as refusal:
            self._deny(self._disclosure(operation, request, attempt, now), str(refusal))
        return self._disclosure(operation, request, attempt, now, demands)

    def close(self) -> None:
        """Drop all connections."""
        self._wire.close()

    def _check(
        self,
        operation: Operation | None,
        request: MinimizedRequest,
        attempt: Attempt,
        now: dt.datetime,
    ) -> Demands:
        if operation is None or operation is not request.operation:
            raise Refused(Reason.UNKNOWN_OPERATION)
        if attempt.policy_version != self._policy.version:
            raise Refused(Reason.POLICY_VERSION)
        if attempt.expires_at is not None and now >= attempt.expires_at:
            raise Refused(Reason.EXPIRED)
        return demands_of(
            self._policy,
            operation,
            attempt.held,
            backend=attempt.backend,
            consent_ref=attempt.consent_ref,
            guardian_ref=attempt.guardian_ref,
            now=now,
        )

    def _admit(self, request: MinimizedRequest, sign: Signer, attempt: Attempt) -> Admitted:
        operation = self._addressed(request)
        texts = {
            name: _text(operation.fields[name], value, self._transforms)
            for name, value in request.values.items()
            if name in operation.fields
        }
        unsigned = _build(operation, texts)
        signed = dict(sign(unsigned))
        if operation.signed_names:
            for name in operation.signed_names & signed.keys():
                texts[name] = signed.pop(name)
            unsigned = _build(operation, texts)
        final = _assemble(unsigned, signed)
        return admit(operation, final, list(_opened(attempt.held)), texts, self._transforms)

    def _addressed(self, request: MinimizedRequest) -> Operation:
        """The operation at the policy's address, or at the deployment's where that has none."""
        operation, destination = request.operation, request.destination
        if operation.host and destination is None:
            return operation
        if operation.host or destination is None or not self._own_hosts.allows(destination):
            raise Refused(Reason.HOST)
        return operation.at(destination)

    def _deny(self, disclosure: Disclosure, reason: str) -> NoReturn:
        denied = replace(disclosure, verdict=Verdict.DENIED, reason=reason, demands=_NOTHING)
        self._ledger.record(denied)
        code = "expired" if reason == Reason.EXPIRED else DeniedError.default_code
        raise DeniedError(f"{disclosure.operation} was denied: {reason}", code=code) from None

    def _never_tried(self, disclosure: Disclosure) -> DisclosureResult:
        return DisclosureResult(
            disclosure_id=disclosure.id,
            result=SendResult.UNSENT,
            http_status=None,
            provider_code=None,
            provider_request_id=None,
            at=self._clock(),
            milliseconds=0.0,
        )

    def _deliver(
        self,
        admitted: Admitted,
        deadline: float,
        disclosure: Disclosure,
        attempt: Attempt,
        *,
        decrypt: Decrypt | None,
        verify: Verifier | None,
    ) -> Reply:
        operation = self._policy.operations[disclosure.operation]
        started = time.perf_counter()

        def settle(
            result: SendResult, status: int | None = None, reply: Reply | None = None
        ) -> None:
            attempt.results.append(
                DisclosureResult(
                    disclosure_id=disclosure.id,
                    result=result,
                    http_status=status,
                    provider_code=reply.code if reply else None,
                    provider_request_id=reply.request_id if reply else None,
                    at=self._clock(),
                    milliseconds=(time.perf_counter() - started) * 1000,
                )
            )

        status: int | None = None
        failure: RetryError | UnknownOutcomeError
        try:
            answer = self._wire.send(admitted, deadline, operation.reply.largest)
            status = answer.status
            _prove(answer, verify)
            reply = cut(
                operation, answer.status, answer.headers, answer.body, disclosure.id, decrypt
            )
        except Unsent:
            settle(SendResult.UNSENT)
            failure = RetryError(
                f"{operation.recipient} cannot be reached", code="provider.unreachable"
            )
        except Lost as lost:
            settle(SendResult.UNKNOWN, lost.status)
            failure = UnknownOutcomeError(f"{operation.recipient} gave no whole answer")
        except _Unproven:
            settle(SendResult.UNKNOWN, status)
            failure = UnknownOutcomeError(
                f"{operation.recipient} gave an answer that nothing proves to be its own",
                code="provider.answer_unproven",
            )
        except Garbled:
            settle(SendResult.UNKNOWN, status)
            failure = UnknownOutcomeError(f"{operation.recipient} gave an unreadable answer")
        except DeniedError:
            settle(SendResult.UNSENT)
            raise
        except Exception as error:  # noqa: BLE001  # whatever it was, bytes may have left
            settle(SendResult.UNKNOWN, status)
            failure = UnknownOutcomeError(f"the transport failed with {type(error).__name__}")
        except BaseException:
            settle(SendResult.UNKNOWN, status)
            raise
        else:
            settle(SendResult.ANSWERED, status, reply)
            return reply
        raise failure

    def _disclosure(
        self,
        operation: Operation | None,
        request: MinimizedRequest,
        attempt: Attempt,
        now: dt.datetime,
        demands: Demands = _NOTHING,
    ) -> Disclosure:
        purpose = self._policy.purposes[operation.purpose] if operation else None
        return Disclosure(
            id=new_id(),
            job_id=attempt.job_id,
            kind=attempt.kind,
            attempt=attempt.number,
            fence=attempt.fence,
            operation=operation.name if operation else "unknown",
            recipient=operation.recipient if operation else "unknown",
            host=_host(operation, request),
            purpose=operation.purpose if operation else "unknown",
            clauses=purpose.clauses if purpose else (),
            policy_version=self._policy.version,
            categories=request.categories,
            stripped=request.stripped,
            subject=attempt.subject,
            consent_ref=attempt.consent_ref,
            guardian_ref=attempt.guardian_ref,
            verdict=Verdict.ADMITTED,
            reason=None,
            at=now,
            demands=demands,
        )


def _host(operation: Operation | None, request: MinimizedRequest) -> str:
    if operation is None:
        return "unknown"
    return operation.host or (request.destination.host if request.destination else "unknown")


class _Unproven(Exception):
    """An answer that the verifier does not believe."""


def _prove(answer: Answer, verify: Verifier | None) -> None:
    if verify is not None and 200 <= answer.status < 300:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if not verify(answer.status, headers, answer.body):
            raise _Unproven


def _seconds_left(attempt: Attempt, now: dt.datetime) -> float:
    return (attempt.expires_at - now).total_seconds() if attempt.expires_at else math.inf


def _text(entry: OutboundField, value: Personal | str, transforms: Transforms) -> Leaf:
    """The value as it leaves; only what the policy takes from the job is opened."""
    if entry.held is None and isinstance(value, Personal):
        raise Refused(Reason.FIELD_CATEGORY, entry.source)
    text = reveal(value) if isinstance(value, Personal) else value
    try:
        return transforms[entry.transform](text) if entry.transform else text
    except ValueError:
        raise Refused(Reason.FIELD_SHAPE, entry.source) from None


def _opened(held: object, name: str = "") -> Iterator[Held]:
    """Every text that a job holds, however deep."""
    if isinstance(held, Personal):
        yield Held(name, reveal(held), held.category)
    elif isinstance(held, str):
        yield Held(name, held, None)
    elif type(held) is int:
        yield Held(name, str(held), None)
    elif isinstance(held, Mapping):
        # Only the outermost keys are names of ours; inner ones may be data and are not repeated.
        for key, value in held.items():
            yield from _opened(value, f"{name}[]" if name else str(key))
    elif isinstance(held, list | tuple | set | frozenset):
        for value in held:
            yield from _opened(value, f"{name}[]")


def _build(operation: Operation, texts: Mapping[str, Leaf]) -> UnsignedRequest:
    query: list[tuple[Path, Leaf]] = []
    body: list[tuple[Path, Leaf]] = []
    for name, entry in operation.fields.items():
        leaf = texts.get(name) if entry.const is None else entry.const
        if leaf is not None:
            place = entry.place or operation.place
            if place is not Place.PATH:
                (query if place is Place.QUERY else body).append((operation.paths[name], leaf))
    return UnsignedRequest(
        method=operation.method,
        host=operation.host,
        path=write_path(operation.path, texts),
        query=write(Place.QUERY, query).decode(),
        headers=operation.constant_headers,
        content_type=CONTENT_TYPES[operation.body] if operation.body else None,
        body=write(operation.body, body) if operation.body else b"",
    )


def _assemble(unsigned: UnsignedRequest, signed: Mapping[str, str]) -> FinalRequest:
    headers = {"host": unsigned.host, "accept-encoding": "identity"}
    if unsigned.content_type is not None:
        headers["content-type"] = unsigned.content_type
    if unsigned.method != "GET":
        headers["content-length"] = str(len(unsigned.body))
    headers |= unsigned.headers
    pairs = [*headers.items()]
    # What a signer says differently about a header that stands already makes a duplicate, and
    # duplicates are refused.
    pairs += ((name, value) for name, value in signed.items() if headers.get(name) != value)
    target = f"{unsigned.path}?{unsigned.query}" if unsigned.query else unsigned.path
    return FinalRequest(
        method=unsigned.method,
        host=unsigned.host,
        target=target.encode(),
        headers=tuple((name.encode(), value.encode()) for name, value in pairs),
        body=unsigned.body,
    )
