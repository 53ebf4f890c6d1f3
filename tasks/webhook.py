"""Tell a backend what has become of something: one signed webhook, delivered in order."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pydantic import Field

from models.states import Event
from tasks.announcements import Announcement, Id
from tasks.outcomes import Outcome, succeeded
from tasks.retries import RetryRule
from tasks.task import Context, Task

if TYPE_CHECKING:
    from models.attempts import Attempt

__all__ = ["EXAMPLE_ENDPOINT", "WEBHOOK", "Announcement", "Webhook"]

EXAMPLE_ENDPOINT = "0" * 31 + "e"


class Webhook(Announcement):
    """An announcement to one endpoint."""

    endpoint: Id = Field(examples=[EXAMPLE_ENDPOINT])

    def held(self) -> dict[str, object]:
        """The fields that are set, as the text that they leave as."""
        return {
            name: str(value)
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
        }


def _deliver(_payload: Webhook, attempt: Attempt, context: Context) -> Outcome:
    receipt = context.webhooks.deliver(attempt)
    return succeeded(provider_code=receipt.provider_code)


def _deliver_again(
    _payload: Webhook, _attempt: Attempt, _context: Context, _sent_at: dt.datetime
) -> Outcome:
    """A worker died on the way; whoever has received it already knows it by its id."""
    return Outcome(event=Event.RETRY, code="webhook.again")


def _lane(payload: Webhook) -> str | None:
    key = payload.ordering_key
    return None if key is None else f"{payload.endpoint}/{key}"


WEBHOOK = Task(
    kind="webhook",
    payload=Webhook,
    queue="standard",
    handle=_deliver,
    # The pauses of 26 attempts are between 25 and 33 hours together.
    retry=RetryRule(attempts=26, base=1, cap=9000, jitter=0.2),
    # Time for a person to repair the endpoint and to have its webhooks replayed.
    lifetime=dt.timedelta(days=7),
    retention=dt.timedelta(days=7),
    subject=lambda _payload: None,
    operations=("backend.webhook",),
    reconcile=_deliver_again,
    repeatable=True,
    lane=_lane,
)
