"""Claims, disclosures, settles, crashes, rescues and replays in any order, on the real SQL.

Workers are honest and may be slow for any time: between any two of their steps everything else may
happen. Any COMMIT may be cut off, and is then repeated as the writer thread would.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine

from models.claims import Claim, ClaimRequest, expire, lost_claims, write_claims
from models.database import writing
from models.disclosures import Disclosure, SendResult
from models.errors import ClaimLost
from models.group_commit import Transaction, WriteApart
from models.ledger import LedgerWriter, verify_ledger
from models.settlement import Settlement
from models.states import SETTLED, TRANSITIONS, Event, State, next_state
from models.tables import disclosures, jobs, metadata
from models.upkeep import find_orphans, promote_due
from tests.models.rows import (
    KEY,
    NOW,
    SECOND,
    a_disclosure,
    a_job,
    a_result,
    a_settlement,
    all_rows,
    change_job,
    store,
    write,
)

MOMENT = dt.timedelta(microseconds=1)
P = TypeVar("P")
R = TypeVar("R")
Cut = Literal["", "lost", "stands"]
"""What becomes of a COMMIT: heard, or cut off with the batch lost or standing."""

ANY = st.integers(0, 11)
"""One of those that there are, counted round and round."""
WORKERS = st.sampled_from(["a" * 32, "b" * 32])
CUTS = st.sampled_from(["", "", "", "lost", "stands"])


_AFTER_SENDING = (Event.SUCCEED, Event.LOSE, Event.FAIL)
_WITHOUT_SENDING = (Event.RETRY, Event.WAIT, Event.FAIL, Event.EXPIRE)


@dataclass(eq=False)
class _Attempt:
    """What one thread of one worker believes."""

    worker_id: str
    claimed: Claim
    disclosure: Disclosure | None = None
    sent: bool = False

    def results(self) -> tuple[Any, ...]:
        if self.disclosure is None:
            return ()
        result = SendResult.ANSWERED if self.sent else SendResult.UNSENT
        return (a_result(self.disclosure, result=result),)


@dataclass
class _Seen:
    """What we know of one job."""

    state: State = State.QUEUED
    sends: int = 0
    replays: int = 0
    fences: list[int] = field(default_factory=list)


class Interleavings(RuleBasedStateMachine):
    def __init__(self, engine: Engine) -> None:
        super().__init__()
        with writing(engine) as connection:
            for table in metadata.sorted_tables:
                connection.execute(table.delete())
        self.engine = engine
        self.now = NOW
        self.ledgers = {worker: LedgerWriter(KEY) for worker in ("a" * 32, "b" * 32)}
        self.seen: dict[str, _Seen] = {}
        self.working: list[_Attempt] = []
        self.disclosed: set[str] = set()
        self.because: set[Event] = set()

    def write(
        self,
        writer: Callable[[Transaction, Sequence[P]], Sequence[R]],
        *items: P,
        cut: Cut = "",
    ) -> list[R]:
        """As the writer thread does it: cut commits are repeated, batches are taken apart."""
        self.now += MOMENT  # no two things happen at the same moment
        if cut == "lost":
            with self.engine.connect() as connection, connection.begin() as transaction:
                try:
                    writer(Transaction(connection), items)
                except WriteApart:
                    cut = ""
                transaction.rollback()
        try:
            if cut == "stands":
                write(self.engine, writer, *items, acknowledged=False)
            return write(self.engine, writer, *items, repeated=bool(cut))
        except WriteApart:
            return [answer for item in items for answer in write(self.engine, writer, item)]

    # What workers do.

    @precondition(lambda self: len(self.seen) < 3)
    @rule(lifetime=st.integers(2, 9) | st.none(), delay=st.sampled_from([0, 0, 1]))
    def enqueue(self, lifetime: int | None, delay: int) -> None:
        run_at = self.now + delay * SECOND
        job = a_job(
            state=State.SCHEDULED if delay else State.QUEUED,
            run_at=run_at,
            expires_at=None if lifetime is None else run_at + lifetime * SECOND,
            created_at=self.now,
        )
        store(self.engine, job)
        self.seen[job.id] = _Seen(job.state)

    @precondition(lambda self: self.seen)
    @rule(which=ANY, worker_id=WORKERS, cut=CUTS)
    def claim(self, which: int, worker_id: str, cut: Cut) -> None:
        job_id = self._job(which)
        self.because = {Event.CLAIM, Event.EXPIRE}
        request = ClaimRequest(job_id=job_id, worker_id=worker_id, at=self.now)
        # The message was delivered three times, twice to one worker.
        other = ClaimRequest(job_id=job_id, worker_id="c" * 32, at=self.now)
        given = self.write(write_claims, request, request, other, cut=cut)
        claims = [claimed for claimed in given if claimed is not None]
        assert len(claims) <= 1
        for claimed in claims:
            self.seen[job_id].fences.append(claimed.fence)
            self.working.append(_Attempt(worker_id, claimed))

    @precondition(lambda self: self._those(disclosed=False))
    @rule(which=ANY, cut=CUTS)
    def disclose(self, which: int, cut: Cut) -> None:
        attempts = self._those(disclosed=False)
        self._disclose(attempts[which % len(attempts)], cut)

    def _disclose(self, attempt: _Attempt, cut: Cut) -> None:
        disclosure = a_disclosure(attempt.claimed, at=self.now)
        writer = self.ledgers[attempt.worker_id].write_disclosures
        (answer,) = self.write(writer, disclosure, cut=cut)
        if isinstance(answer, ClaimLost):
            self.working.remove(attempt)
        else:
            attempt.disclosure = disclosure
            self.disclosed.add(disclosure.id)

    @precondition(lambda self: self._those(disclosed=True, sent=False))
    @rule(which=ANY)
    def send(self, which: int) -> None:
        attempts = self._those(disclosed=True, sent=False)
        attempt = attempts[which % len(attempts)]
        attempt.sent = True
        self.seen[attempt.claimed.job_id].sends += 1

    @precondition(lambda self: self.working)
    @rule(which=ANY, outcome=ANY, cut=CUTS)
    def settle(self, which: int, outcome: int, cut: Cut) -> None:
        attempt = self.working.pop(which % len(self.working))
        honest = _AFTER_SENDING if attempt.sent else _WITHOUT_SENDING
        event = honest[outcome % len(honest)]
        self.because = {event}
        self._settle(attempt, event, cut)

    @precondition(lambda self: self.working)
    @rule(which=ANY)
    def crash(self, which: int) -> None:
        self.working.pop(which % len(self.working))

    def _settle(self, attempt: _Attempt, event: Event, cut: Cut) -> None:
        settlement = a_settlement(
            attempt.claimed,
            event,
            worker_id=attempt.worker_id,
            at=self.now,
            run_at=self.now if event in {Event.RETRY, Event.WAIT} else None,
            disclosure_results=attempt.results(),
        )
        writer = self.ledgers[attempt.worker_id].write_settlements
        (counted,) = self.write(writer, settlement, cut=cut)
        before = self.seen[attempt.claimed.job_id].state
        held = attempt.claimed.fence == self._row(attempt.claimed.job_id).fence
        assert counted == (
            held and before in {State.RUNNING, State.UNKNOWN} and (before, event) in TRANSITIONS
        )

    def _job(self, which: int) -> str:
        return [*self.seen][which % len(self.seen)]

    def _those(self, *, disclosed: bool, sent: bool = False) -> list[_Attempt]:
        return [
            attempt
            for attempt in self.working
            if (attempt.disclosure is not None) is disclosed and attempt.sent is sent
        ]

    # What the others do.

    @precondition(lambda self: self.seen)
    @rule(rescuer=WORKERS, live=st.sets(WORKERS), late=st.none() | ANY)
    def rescue(self, rescuer: str, live: set[str], late: int | None) -> None:
        """Who is not live is dead, or only slow: it may go on between a rescuer's look and word."""
        with self.engine.connect() as connection:
            orphans = find_orphans(connection, live)
        undisclosed = self._those(disclosed=False)
        if late is not None and undisclosed:
            self._disclose(undisclosed[late % len(undisclosed)], "")
        self.because = {Event.RETRY, Event.LOSE}
        settlements = [
            Settlement(
                job_id=orphan.job_id,
                fence=orphan.fence,
                number=orphan.attempt,
                worker_id=orphan.worker_id,
                event=Event.LOSE if orphan.open_disclosures else Event.RETRY,
                started_at=orphan.claimed_at,
                at=self.now,
                milliseconds=0,
                run_at=None if orphan.open_disclosures else self.now,
                rescued=True,
            )
            for orphan in orphans
        ]
        if settlements:
            self.write(self.ledgers[rescuer].write_settlements, *settlements)

    @rule(worker_id=WORKERS)
    def give_back_stray_claims(self, worker_id: str) -> None:
        mine = {a.claimed.job_id for a in self.working if a.worker_id == worker_id}
        with self.engine.connect() as connection:
            strays = lost_claims(connection, worker_id, mine, before=self.now)
        self.because = {Event.WAIT}
        for job_id, fence in strays:
            settlement = Settlement(
                job_id=job_id,
                fence=fence,
                number=0,
                worker_id=worker_id,
                event=Event.WAIT,
                started_at=self.now,
                at=self.now,
                milliseconds=0,
                run_at=self.now,
            )
            self.write(self.ledgers[worker_id].write_settlements, settlement)

    @precondition(lambda self: self.seen)
    @rule(seconds=st.integers(0, 3))
    def time_passes(self, seconds: int) -> None:
        """Due jobs are promoted, those past their lifetime expire."""
        self.now += seconds * SECOND
        self.because = {Event.PROMOTE, Event.EXPIRE}
        with writing(self.engine) as connection:
            expire(connection, self.now)
            promote_due(connection, now=self.now)

    @precondition(lambda self: self._replayable())
    @rule(which=ANY)
    def replay(self, which: int) -> None:
        job_ids = self._replayable()
        job_id = job_ids[which % len(job_ids)]
        state = self.seen[job_id].state
        self.because = {Event.REPLAY}
        change_job(
            self.engine,
            job_id,
            state=next_state(state, Event.REPLAY),
            run_at=self.now,
            settled_at=None,
        )
        self.seen[job_id].replays += 1

    def _replayable(self) -> list[str]:
        return [i for i, seen in self.seen.items() if (seen.state, Event.REPLAY) in TRANSITIONS]

    # What must hold after every step.

    def _row(self, job_id: str) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(jobs.select().where(jobs.c.id == job_id)).one()

    @invariant()
    def every_job_is_where_the_table_leads(self) -> None:
        rows = {row.id: row for row in all_rows(self.engine, jobs)}
        assert rows.keys() == self.seen.keys(), "no job is lost, none appears"
        for job_id, seen in self.seen.items():
            state = State(rows[job_id].state)
            if state is not seen.state:
                self._step_is_allowed(seen.state, state)
                seen.state = state
            self._row_is_sound(rows[job_id], state)
            assert seen.fences == sorted(set(seen.fences)), "each claim has a newer fence"
            assert seen.sends <= 1 + seen.replays, "sent twice"
        live = Counter(
            attempt.claimed.job_id
            for attempt in self.working
            if self.seen[attempt.claimed.job_id].state is State.RUNNING
            and rows[attempt.claimed.job_id].fence == attempt.claimed.fence
        )
        assert all(count == 1 for count in live.values()), "two live claims"
        self.because = set()

    def _step_is_allowed(self, before: State, after: State) -> None:
        steps = {TRANSITIONS.get((before, event)) for event in self.because}
        assert after in steps, f"{before} -> {after} by {self.because}"
        if before in SETTLED and after not in SETTLED:
            late = before is State.UNKNOWN and Event.RETRY in self.because
            assert Event.REPLAY in self.because or late, "a settled job was reopened"

    @staticmethod
    def _row_is_sound(row: Any, state: State) -> None:
        assert (row.claimed_by is not None) == (state is State.RUNNING)
        assert (row.settled_at is not None) == (state in SETTLED)
        forgotten = state in {State.SUCCEEDED, State.EXPIRED, State.CANCELLED}
        assert (row.sealed is None) == forgotten
        assert row.fence >= row.claims >= 0
        assert row.attempts >= 0

    def teardown(self) -> None:
        stored = {row.id for row in all_rows(self.engine, disclosures)}
        assert self.disclosed <= stored, "what was sent is on record"
        with self.engine.connect() as connection:
            assert list(verify_ledger(connection, KEY)) == []


def test_in_any_order_no_job_is_lost_and_none_is_done_twice(engine: Engine) -> None:
    class OnThisEngine(Interleavings):
        def __init__(self) -> None:
            super().__init__(engine)

    chosen = settings()
    share = 4 if engine.dialect.name == "sqlite" else 10
    run_state_machine_as_test(
        OnThisEngine,
        settings=settings(
            chosen,
            max_examples=chosen.max_examples // share,
            stateful_step_count=40,
            report_multiple_bugs=False,
        ),
    )
