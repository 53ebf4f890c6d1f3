"""What can go wrong, sorted by what the caller must do.

::

    ZjjError
    ├── RetryError               try again later, with the same idempotency key
    │   └── WaitError            the same, but the gateway asks to slow down
    ├── GiveUpError              repeating will never help
    │   ├── InvalidRequestError  .errors names the fields
    │   ├── ConflictError        the idempotency key or number was used for something else
    │   ├── AuthenticationError  the API key is missing, wrong or revoked
    │   ├── NotFoundError        no such job or order, or another backend's
    │   ├── InvalidWebhookError  a webhook that is not to be believed: answer 401
    │   ├── ConfigurationError   no usable URL, API key or webhook secret
    │   └── UnexpectedReplyError something answered, but not the gateway
    └── NotSettledError          jobs.wait() ran out of time; .job is how it stands

Messages name fields and reasons, never values: an error may end in your log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zjj._jobs import Job

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "ConflictError",
    "FieldError",
    "GiveUpError",
    "InvalidRequestError",
    "InvalidWebhookError",
    "NotFoundError",
    "NotSettledError",
    "RetryError",
    "UnexpectedReplyError",
    "WaitError",
    "ZjjError",
]


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field, without the value."""

    field: str
    reason: str
    code: str


class ZjjError(Exception):
    """Root of the tree.

    Attributes:
        message: One sentence, free of values.
        status: HTTP status of the reply, if there was one.
        retry_after: Seconds to wait, if the gateway said so.
        idempotency_key: The key of the failed request. Use it again to repeat that request:
            whatever the gateway did the first time then counts, and nothing happens twice.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.idempotency_key = idempotency_key


class RetryError(ZjjError):
    """The same call, with the same idempotency key, may succeed later."""


class WaitError(RetryError):
    """Too many requests; wait ``retry_after`` seconds."""


class GiveUpError(ZjjError):
    """Repeating will never help."""


class InvalidRequestError(GiveUpError):
    """The request is at fault.

    Attributes:
        errors: The fields and the reasons.
    """

    def __init__(
        self,
        errors: tuple[FieldError, ...],
        *,
        status: int | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(
            "; ".join(f"{error.field} {error.reason}" for error in errors)
            or "the request is invalid",
            status=status,
            idempotency_key=idempotency_key,
        )
        self.errors = errors


class ConflictError(GiveUpError):
    """The idempotency key or number belongs to something else, or the job's state forbids this."""


class AuthenticationError(GiveUpError):
    """The API key is missing, wrong or revoked."""


class NotFoundError(GiveUpError):
    """No such job, order, refund or merchant, or another backend's."""


class InvalidWebhookError(GiveUpError):
    """A webhook that is not from whom it claims to be, or is too old."""


class ConfigurationError(GiveUpError):
    """No usable URL, API key or webhook secret."""


class UnexpectedReplyError(GiveUpError):
    """Something answered, but not as the gateway does; is the URL right?"""


class NotSettledError(ZjjError):
    """The time given to ``jobs.wait`` is over and the job still has something to do.

    Attributes:
        job: The job as it stands.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(f"the job is still {job.state}")
        self.job = job
