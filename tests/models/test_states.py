"""The life of a job, as one table: everything that is possible, and nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import GiveUpError
from models.states import (
    CLAIMABLE,
    SETTLED,
    TRANSITIONS,
    Event,
    ImpossibleTransition,
    State,
    next_state,
)

# One line for each state, one column for each event; written down again, on purpose.
TABLE = """
              promote  claim    succeed    retry     wait      fail    lose     expire   cancel     replay
scheduled     queued   -        -          -         -         -       -        expired  cancelled  -
queued        -        running  -          -         -         -       -        expired  cancelled  -
running       -        -        succeeded  retrying  retrying  failed  unknown  expired  -          -
retrying      queued   running  -          -         -         -       -        expired  cancelled  -
succeeded     -        -        -          -         -         -       -        -        -          -
failed        -        -        -          -         -         -       -        -        -          queued
unknown       -        -        succeeded  retrying  -         failed  -        -        -          queued
expired       -        -        -          -         -         -       -        -        -          -
cancelled     -        -        -          -         -         -       -        -        -          -
"""


def _cells() -> Iterator[tuple[State, Event, State | None]]:
    header, *lines = TABLE.strip().splitlines()
    for line in lines:
        state, *cells = line.split()
        for event, cell in zip(header.split(), cells, strict=True):
            yield State(state), Event(event), None if cell == "-" else State(cell)


CELLS = list(_cells())


def test_the_table_speaks_of_every_state_and_event() -> None:
    assert {(state, event) for state, event, _ in CELLS} == {(s, e) for s in State for e in Event}
    assert len(CELLS) == len(State) * len(Event)


@pytest.mark.parametrize(("state", "event", "following"), CELLS)
def test_an_event_leads_where_the_table_says(
    state: State, event: Event, following: State | None
) -> None:
    if following is None:
        with pytest.raises(ImpossibleTransition) as caught:
            next_state(state, event)
        assert isinstance(caught.value, GiveUpError)
        assert str(caught.value) == f"{event} cannot happen to a {state} job"
    else:
        assert next_state(state, event) is following


def test_the_named_sets_follow_from_the_table() -> None:
    assert {State.QUEUED, State.RETRYING} == CLAIMABLE
    assert set(State) - {State.SCHEDULED, State.QUEUED, State.RUNNING, State.RETRYING} == SETTLED


def test_only_a_claim_makes_a_job_run() -> None:
    assert {event for (_, event), to in TRANSITIONS.items() if to is State.RUNNING} == {Event.CLAIM}


def test_what_has_forgotten_its_payload_stays_where_it_is() -> None:
    ends = {state for state in State if not any(begin is state for begin, _ in TRANSITIONS)}
    assert ends == {State.SUCCEEDED, State.EXPIRED, State.CANCELLED}


def test_every_state_can_be_reached() -> None:
    reached = {State.SCHEDULED}
    for _ in State:
        reached |= {to for (begin, _), to in TRANSITIONS.items() if begin in reached}
    assert reached == set(State)


@given(st.lists(st.sampled_from(Event), max_size=60))
def test_no_sequence_of_events_reopens_what_is_settled(events: list[Event]) -> None:
    state = State.SCHEDULED
    for event in events:
        following = TRANSITIONS.get((state, event), state)
        if state in SETTLED and following not in SETTLED:
            assert event is Event.REPLAY or (state, event) == (State.UNKNOWN, Event.RETRY)
        state = following


# All that two workers, a rescuer and a person can do to one job, step by step, breadth first.
# The rules beside the table are those of claims.py, settlement.py and ledger.py.


@dataclass(frozen=True)
class _Worker:
    """What a worker believes; it may be paused for as long as it likes between any two steps."""

    fence: int = 0
    """Of the claim it works under; 0 for none."""
    disclosed: bool = False
    sent: bool = False


@dataclass(frozen=True)
class _World:
    state: State = State.QUEUED
    fence: int = 0
    workers: tuple[_Worker, _Worker] = (_Worker(), _Worker())
    disclosed: frozenset[int] = frozenset()
    """Fences on whose behalf a disclosure stands."""
    unsent: frozenset[int] = frozenset()
    """Fences of which is known that nothing left."""
    sends: int = 0
    replays: int = 0

    def after(self, event: Event, **changes: object) -> _World:
        return replace(self, state=next_state(self.state, event), **changes)  # type: ignore[arg-type]

    def with_worker(self, number: int, worker: _Worker) -> _World:
        pair = list(self.workers)
        pair[number] = worker
        return replace(self, workers=(pair[0], pair[1]))

    def live_claims(self) -> int:
        return sum(
            self.state is State.RUNNING and worker.fence == self.fence for worker in self.workers
        )


_MOST_CLAIMS = 4


def _steps(
    world: _World, *, fenced: bool = True, careful: bool = True
) -> Iterator[tuple[str, _World]]:
    """Everything that can happen next.

    Args:
        fenced: A disclosure counts only while its claim is held.
        careful: A rescuer looks for disclosures.
    """
    for number, worker in enumerate(world.workers):
        if worker.fence:
            yield from _steps_of(world, number, worker, fenced=fenced)
        elif world.state in CLAIMABLE and world.fence < _MOST_CLAIMS:
            claimed = world.after(Event.CLAIM, fence=world.fence + 1)
            yield "claim", claimed.with_worker(number, _Worker(claimed.fence))
    if world.state is State.RUNNING:  # its worker is silent: dead, or only slow
        left = careful and world.fence in world.disclosed - world.unsent
        yield "rescue", world.after(Event.LOSE if left else Event.RETRY)
        return
    for event in (Event.PROMOTE, Event.EXPIRE, Event.CANCEL):
        if (world.state, event) in TRANSITIONS:
            yield str(event), world.after(event)
    if (world.state, Event.REPLAY) in TRANSITIONS and world.replays < 1:
        yield "replay", world.after(Event.REPLAY, replays=world.replays + 1)


def _steps_of(
    world: _World, number: int, worker: _Worker, *, fenced: bool
) -> Iterator[tuple[str, _World]]:
    idle = world.with_worker(number, _Worker())
    yield "crash", idle
    held = world.fence == worker.fence and world.state is State.RUNNING
    if worker.disclosed and not worker.sent:
        sent = replace(world, sends=world.sends + 1)
        yield "send", sent.with_worker(number, replace(worker, sent=True))
    elif not worker.disclosed and (held or not fenced):
        disclosed = replace(world, disclosed=world.disclosed | {worker.fence})
        yield "disclose", disclosed.with_worker(number, replace(worker, disclosed=True))
    for event in _honest_outcomes(worker):
        settled = idle
        if worker.disclosed and not worker.sent:
            settled = replace(settled, unsent=world.unsent | {worker.fence})
        counts = world.fence == worker.fence and world.state in {State.RUNNING, State.UNKNOWN}
        if counts and (world.state, event) in TRANSITIONS:
            settled = settled.after(event)
        yield f"settle {event}", settled


def _honest_outcomes(worker: _Worker) -> tuple[Event, ...]:
    if worker.sent:
        return (Event.SUCCEED, Event.FAIL, Event.LOSE)
    return (Event.RETRY, Event.WAIT, Event.FAIL, Event.EXPIRE)


def _fault(name: str, before: _World, after: _World) -> str | None:
    if after.live_claims() > 1:
        return "two live claims"
    if before.state in SETTLED and after.state not in SETTLED:
        late = before.state is State.UNKNOWN and name.startswith("settle")
        if name != "replay" and not late:
            return "a settled job was reopened"
    if after.sends > 1 + after.replays:
        return "sent twice"
    return None


def _explore(**rules: bool) -> tuple[int, set[str]]:
    """How many worlds there are, and the faults in them."""
    start = _World()
    seen, waiting, faults = {start}, deque([start]), set()
    while waiting:
        world = waiting.popleft()
        for name, following in _steps(world, **rules):
            if fault := _fault(name, world, following):
                faults.add(fault)
            elif following not in seen:
                seen.add(following)
                waiting.append(following)
    return len(seen), faults


def test_in_no_world_is_a_job_held_twice_reopened_or_sent_twice() -> None:
    worlds, faults = _explore()
    assert faults == set()
    assert worlds > 1000


def test_a_world_without_fenced_disclosures_sends_twice() -> None:
    assert _explore(fenced=False)[1] == {"sent twice"}


def test_a_world_whose_rescuer_does_not_look_sends_twice() -> None:
    assert _explore(careful=False)[1] == {"sent twice"}
