"""Hand background jobs to Zhongjiujiu Workers.

::

    import zjj

    with zjj.Client() as client:  # ZJJ_URL, ZJJ_API_KEY
        job = client.sms_codes.send(phone=phone, scene="register")
        ...
        if client.sms_codes.verify(phone=phone, scene="register", code=typed).verified: ...

Needs httpx and nothing else of Zhongjiujiu Workers. It never logs, and no error or ``repr`` of
it contains a value that you handed in.
"""

from zjj._client import AsyncClient, Client
from zjj._errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    FieldError,
    GiveUpError,
    InvalidRequestError,
    InvalidWebhookError,
    NotFoundError,
    NotSettledError,
    RetryError,
    UnexpectedReplyError,
    WaitError,
    ZjjError,
)
from zjj._jobs import Attempt, Disclosure, Job
from zjj._payments import Acknowledgement, Payment, Refund
from zjj._people import Masked
from zjj._replays import JobPage, Replay
from zjj._verifications import Verification
from zjj._webhooks import verify_webhook

__all__ = [
    "Acknowledgement",
    "AsyncClient",
    "Attempt",
    "AuthenticationError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Disclosure",
    "FieldError",
    "GiveUpError",
    "InvalidRequestError",
    "InvalidWebhookError",
    "Job",
    "JobPage",
    "Masked",
    "NotFoundError",
    "NotSettledError",
    "Payment",
    "Refund",
    "Replay",
    "RetryError",
    "UnexpectedReplyError",
    "Verification",
    "WaitError",
    "ZjjError",
    "verify_webhook",
]
