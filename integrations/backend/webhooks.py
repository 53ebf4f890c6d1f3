"""Delivering a webhook to an endpoint of a web backend, through the gate."""

from __future__ import annotations

import datetime as dt
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

from integrations.backend.signature import signer
from integrations.receipt import Receipt
from models.clock import Clock, utc_now
from models.errors import GiveUpError, RetryError, UnknownOutcomeError, WaitError

if TYPE_CHECKING:
    from integrations.destinations import OwnHosts
    from integrations.gate import Gate
    from integrations.reply import Reply
    from models.attempts import Attempt
    from models.webhooks import OpenEndpoint

__all__ = ["LONGEST_PAUSE", "BackendWebhooks", "EndpointBook"]

_REFUSALS = 8
"""Attempts after which a refusal is believed: a redirect, or a 4xx that may be a slip."""
LONGEST_PAUSE = 2 * 3600.0
"""Seconds; a backend that asks for a longer one is asked again after this."""
_SHORTEST_TURN, _LONGEST_TURN = 0.25, 300.0
"""Seconds after which it is looked again whether an earlier webhook is through."""
_PATIENT = {429, 503}


class EndpointBook(Protocol):
    """What is known of endpoints; see :class:`models.webhooks.Endpoints`."""

    def open(self, endpoint_id: str, *, backend: str) -> OpenEndpoint:
        """A backend's endpoint that is in use.

        Raises:
            GiveUpError: It is disabled, or gone, or somebody else's.
        """

    def earlier(self, job_id: str) -> dt.datetime | None:
        """When the webhook is due that must be through before this one, if there is one."""

    def disable(self, endpoint_id: str, because: str) -> None:
        """Deliver nothing there any more."""


class BackendWebhooks:
    """Delivers webhooks.

    Args:
        gate: The way out.
        endpoints: Where to.
        own_hosts: Which hosts an endpoint may be at.

    Raises:
        ConfigurationError: The policy lacks the operation.
    """

    def __init__(
        self, gate: Gate, endpoints: EndpointBook, own_hosts: OwnHosts, *, clock: Clock = utc_now
    ) -> None:
        self._gate = gate
        self._operation = gate.policy.operation("backend.webhook")
        self._endpoints = endpoints
        self._own_hosts = own_hosts
        self._clock = clock

    def deliver(self, attempt: Attempt) -> Receipt:
        """Deliver the webhook that a job holds; its id is the job's, for each attempt and replay.

        Raises:
            WaitError: It is not its turn, as an earlier one of its ordering key is under way.
            RetryError: The backend did not take it. Also when nobody knows: it tells a
                repetition by the webhook's id.
            GiveUpError: The endpoint is disabled, has gone, is nowhere to send to, or has refused
                it several times.
            DeniedError: The policy does not let it out.
        """
        endpoint_id = str(attempt.held.get("endpoint"))
        endpoint = self._endpoints.open(endpoint_id, backend=attempt.backend)
        self._await_turn(attempt.job_id)
        request = self._operation.minimize(
            attempt.held, {}, destination=self._own_hosts.read(endpoint.url)
        )
        sign = signer(endpoint.keys, attempt.job_id, clock=self._clock)
        try:
            reply = self._gate.send(request, sign=sign, attempt=attempt)
        except UnknownOutcomeError as unclear:
            raise RetryError(
                "the backend gave no whole answer",
                code="webhook.no_answer",
                provider_code=unclear.provider_code,
            ) from None
        self._judge(reply, endpoint_id, attempt.number)
        return Receipt(
            recipient=self._operation.recipient,
            operation=self._operation.name,
            provider_code=str(reply.status),
            provider_request_id=None,
            fields={},
        )

    def _await_turn(self, job_id: str) -> None:
        due = self._endpoints.earlier(job_id)
        if due is not None:
            left = (due - self._clock()).total_seconds()
            raise WaitError(
                "an earlier webhook of the same ordering key is under way",
                code="webhook.turn",
                retry_after=min(max(left, 0.0) + _SHORTEST_TURN, _LONGEST_TURN),
            )

    def _judge(self, reply: Reply, endpoint_id: str, attempt: int) -> None:
        status, code = reply.status, str(reply.status)
        if 200 <= status < 300:
            return
        if status == 410:
            self._endpoints.disable(endpoint_id, "webhook.gone")
            raise GiveUpError(
                "the endpoint wants no more webhooks", code="webhook.gone", provider_code=code
            )
        if status < 500 and status not in _PATIENT | {408, 425} and attempt >= _REFUSALS:
            raise GiveUpError(
                "the endpoint refuses the webhook", code="webhook.refused", provider_code=code
            )
        raise RetryError(
            "the endpoint did not take the webhook",
            code="webhook.not_taken",
            provider_code=code,
            retry_after=self._pause(reply) if status in _PATIENT else None,
        )

    def _pause(self, reply: Reply) -> float | None:
        """Retry-After: seconds, or a date (RFC 9110, 10.2.3)."""
        text = reply.headers.get("retry-after", "")
        if text.isascii() and text.isdecimal():
            seconds = float(text[:9])
        else:
            try:
                moment = parsedate_to_datetime(text)
            except ValueError:
                return None
            if moment.tzinfo is None:
                return None
            seconds = (moment - self._clock()).total_seconds()
        return min(max(seconds, 0.0), LONGEST_PAUSE)
