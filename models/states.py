"""The life of a job, as one pure table.

Everything that affects a job's state lives here: who may go where, and by which event. The rows
of the database only follow (``models/claims.py``, ``models/settlement.py``, ``models/upkeep.py``).
"""

from __future__ import annotations

from enum import StrEnum

from models.errors import GiveUpError

__all__ = [
    "CLAIMABLE",
    "SETTLED",
    "TRANSITIONS",
    "Event",
    "ImpossibleTransition",
    "State",
    "next_state",
]


class State(StrEnum):
    """Where a job stands."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What can happen to a job."""

    PROMOTE = "promote"
    """Its time has come."""
    CLAIM = "claim"
    """A worker takes it."""
    SUCCEED = "succeed"
    RETRY = "retry"
    """An attempt failed and may be repeated later."""
    WAIT = "wait"
    """Handed back without an attempt: rate limit, pause, shutdown."""
    FAIL = "fail"
    LOSE = "lose"
    """Bytes may have left and nobody knows the result."""
    EXPIRE = "expire"
    CANCEL = "cancel"
    REPLAY = "replay"
    """A person, or a rule, sends a settled job on its way again."""


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.SCHEDULED, Event.PROMOTE): State.QUEUED,
    (State.SCHEDULED, Event.EXPIRE): State.EXPIRED,
    (State.SCHEDULED, Event.CANCEL): State.CANCELLED,
    (State.QUEUED, Event.CLAIM): State.RUNNING,
    (State.QUEUED, Event.EXPIRE): State.EXPIRED,
    (State.QUEUED, Event.CANCEL): State.CANCELLED,
    (State.RETRYING, Event.PROMOTE): State.QUEUED,
    (State.RETRYING, Event.CLAIM): State.RUNNING,
    (State.RETRYING, Event.EXPIRE): State.EXPIRED,
    (State.RETRYING, Event.CANCEL): State.CANCELLED,
    (State.RUNNING, Event.SUCCEED): State.SUCCEEDED,
    (State.RUNNING, Event.RETRY): State.RETRYING,
    (State.RUNNING, Event.WAIT): State.RETRYING,
    (State.RUNNING, Event.FAIL): State.FAILED,
    (State.RUNNING, Event.LOSE): State.UNKNOWN,
    (State.RUNNING, Event.EXPIRE): State.EXPIRED,
    # A worker that was thought dead, or a reconciliation, may still bring the truth.
    (State.UNKNOWN, Event.SUCCEED): State.SUCCEEDED,
    (State.UNKNOWN, Event.FAIL): State.FAILED,
    (State.UNKNOWN, Event.RETRY): State.RETRYING,
    # Expired and cancelled jobs have forgotten their payload: there is nothing to replay.
    (State.UNKNOWN, Event.REPLAY): State.QUEUED,
    (State.FAILED, Event.REPLAY): State.QUEUED,
}

SETTLED = frozenset({State.SUCCEEDED, State.FAILED, State.UNKNOWN, State.EXPIRED, State.CANCELLED})
"""States in which no worker has anything to do."""

CLAIMABLE = frozenset(state for (state, event) in TRANSITIONS if event is Event.CLAIM)


class ImpossibleTransition(GiveUpError):
    """The event cannot happen to a job in that state."""

    default_code = "state.impossible"


def next_state(state: State, event: Event) -> State:
    """Where ``event`` leads from ``state``.

    Raises:
        ImpossibleTransition: The table has no such row.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleTransition(f"{event} cannot happen to a {state} job") from None
