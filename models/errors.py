"""Every error of the product, in one tree, sorted by what the caller must do.

::

    ZjjError
    ├── RetryError              nothing happened; the same call may succeed later
    │   ├── DatabaseUnavailable
    │   └── (provider errors that are provably unsent, see integrations)
    ├── WaitError               nothing happened; wait, and do not count it as an attempt
    │   ├── ClaimLost           others have taken the job over: stop, send nothing
    │   └── Throttled           a limit is reached; ``retry_after`` says for how long
    ├── GiveUpError             repeating will never help; somebody must change something
    │   ├── InvalidValue        a value that cannot be what it claims to be
    │   ├── IdempotencyConflict the key was used before, for something else
    │   ├── NotFound            no such job
    │   ├── SealBroken          a sealed payload that cannot be opened
    │   └── ConfigurationError  the settings contradict themselves or the policy
    ├── UnknownOutcomeError     bytes have left and no answer came: never repeat blindly
    └── DeniedError             the gate refused; nothing was sent

Messages name fields and reasons, never values: an error may end in a log, a queue or a reply.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

__all__ = [
    "ClaimLost",
    "ConfigurationError",
    "DatabaseUnavailable",
    "DeniedError",
    "GiveUpError",
    "IdempotencyConflict",
    "InvalidValue",
    "NotFound",
    "RetryError",
    "SealBroken",
    "Throttled",
    "UnknownOutcomeError",
    "WaitError",
    "ZjjError",
    "raised",
]

T = TypeVar("T")


class ZjjError(Exception):
    """Root of the tree.

    Args:
        message: One sentence for a person, free of values.
        code: Static machine-readable reason such as ``provider.throttled``.
        provider_code: The provider's own code, if it gave one.
        retry_after: Seconds to wait before the next try, if anybody knows.
        stops_recipient: The fault lies with our account or configuration at the
            recipient, so every further job for that recipient would fail the same way.
    """

    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        provider_code: str | None = None,
        retry_after: float | None = None,
        stops_recipient: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.provider_code = provider_code
        self.retry_after = retry_after
        self.stops_recipient = stops_recipient


class RetryError(ZjjError):
    """Nothing happened; the same call may succeed later."""

    default_code = "retry"


class DatabaseUnavailable(RetryError):
    """The database did not answer, so nothing was stored."""

    default_code = "database.unavailable"


class WaitError(ZjjError):
    """Nothing happened; wait, without counting an attempt."""

    default_code = "wait"


class ClaimLost(WaitError):
    """The claim is no longer held, so nothing may be sent on its behalf."""

    default_code = "claim.lost"


class Throttled(WaitError):
    """A limit is reached.

    Args:
        message: One sentence for a person.
        code: Which limit.
        retry_after: Seconds until there is a permit again, if anybody knows.
        key: Digest of the key that has none left, for those who remember refusals.
    """

    default_code = "limit.exceeded"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retry_after: float | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(message, code=code, retry_after=retry_after)
        self.key = key


class GiveUpError(ZjjError):
    """Repeating will never help."""

    default_code = "give_up"


class InvalidValue(GiveUpError, ValueError):
    """A value that cannot be what it claims to be; the message gives the reason only."""

    default_code = "invalid_value"


class IdempotencyConflict(GiveUpError):
    """The idempotency key belongs to an earlier job with another payload."""

    default_code = "idempotency.conflict"


class NotFound(GiveUpError):
    """No such job, or not this backend's."""

    default_code = "not_found"


class SealBroken(GiveUpError):
    """A sealed payload cannot be opened: wrong key, moved, altered, or forgotten on purpose."""

    default_code = "seal.broken"


class ConfigurationError(GiveUpError):
    """Settings that contradict themselves, the policy, or the safety of production."""

    default_code = "configuration"


class UnknownOutcomeError(ZjjError):
    """Bytes have left and no trustworthy answer came back."""

    default_code = "outcome.unknown"


class DeniedError(ZjjError):
    """The gate refused to let a request out; nothing was sent."""

    default_code = "egress_denied"


def raised(answer: T | ZjjError) -> T:
    """An answer of a batch, in which refusals stand among the results; a refusal is raised."""
    if isinstance(answer, ZjjError):
        raise answer
    return answer
