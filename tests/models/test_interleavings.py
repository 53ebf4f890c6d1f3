"""Claims, disclosures, settles, crashes, rescues, questions and replays in any order, on real SQL.

Workers are honest and may be slow for any time: between any two of their steps everything else may
happen. Any COMMIT may be cut off, and is then repeated as the writer thread would.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
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

from models.claims import Claim, ClaimRequest, expire, write_claims
from models.database import writing
from models.disclosures import Disclosure, DisclosureResult, SendResult
from models.errors import ClaimLost
from models.group_commit import Transaction, WriteApart
from models.identifiers import new_id
from models.job_search import JobFilter
from models.ledger import LedgerWriter, verify_ledger
from models.reconciliation import Answer, Question, claim_question, settle_answers
from models.replays import Replay, candidates, open_replay, put_back
from models.settlement import Settlement
from models.states import SETTLED, TRANSITIONS, Event, State
from models.tables import disclosures, jobs, metadata
from models.upkeep import find_orphans, lost_claims, promote_due
from tests.models.rows import (
    KEY,
    NOW,
    SECOND,
    a_disclosure,
    a_job,
    a_result,
    a_settlement,
    all_rows,
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


@dataclass(eq=False)
class _Asking:
    """A worker that asks a recipient what became of a job."""

    worker_id: str
    question: Question


@dataclass
class _Seen:
    """What we know of one job."""

    state: State = State.QUEUED
    sends: int = 0
    replays: int = 0
    fences: list[int] = field(default_factory=list)


def _one(those: Sequence[P], which: int) -> P:
    return those[which % len(those)]


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
        self.asking: list[_Asking] = []
        self.batches: list[tuple[Replay, str]] = []
        self.replayed: set[str] = set()
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
        job_id = _one([*self.seen], which)
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
        self._disclose(_one(self._those(disclosed=False), which), cut)

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
        attempt = _one(self._those(disclosed=True, sent=False), which)
        attempt.sent = True
        self.seen[attempt.claimed.job_id].sends += 1

    @precondition(lambda self: self.working)
    @rule(which=ANY, outcome=ANY, cut=CUTS)
    def settle(self, which: int, outcome: int, cut: Cut) -> None:
        attempt = self.working.pop(which % len(self.working))
        honest = _AFTER_SENDING if attempt.sent else _WITHOUT_SENDING
        event = _one(honest, outcome)
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
        row = self._row(attempt.claimed.job_id)
        held = attempt.claimed.fence == row.fence - row.asked
        assert counted == (
            held and before in {State.RUNNING, State.UNKNOWN} and (before, event) in TRANSITIONS
        )

    def _in(self, *states: State) -> list[str]:
        return [job_id for job_id, seen in self.seen.items() if seen.state in states]

    def _those(self, *, disclosed: bool, sent: bool = False) -> list[_Attempt]:
        return [
            attempt
            for attempt in self.working
            if (attempt.disclosure is not None) is disclosed and attempt.sent is sent
        ]

    # What becomes of unknown outcomes.

    @precondition(lambda self: self._in(State.UNKNOWN))
    @rule(which=ANY, worker_id=WORKERS)
    def ask(self, which: int, worker_id: str) -> None:
        job_id = _one(self._in(State.UNKNOWN), which)
        with writing(self.engine) as connection:
            question = claim_question(
                connection, job_id, worker_id, again_at=self.now + SECOND, now=self.now
            )
        if question is not None:
            self.seen[job_id].fences.append(question.fence)
            self.asking.append(_Asking(worker_id, question))

    @precondition(lambda self: self.asking)
    @rule(which=ANY, outcome=ANY, disclosed=st.booleans(), cut=CUTS)
    def answer(self, which: int, outcome: int, disclosed: bool, cut: Cut) -> None:
        """The recipient knows whether it got something; what is still to come it does not."""
        asking = self.asking.pop(which % len(self.asking))
        job_id = asking.question.job_id
        honest = _AFTER_SENDING if self.seen[job_id].sends else (Event.FAIL, Event.LOSE)
        ledger = self.ledgers[asking.worker_id]
        results: tuple[DisclosureResult, ...] = ()
        if disclosed:
            disclosure = a_disclosure(asking.question, at=self.now)
            (refused,) = self.write(ledger.write_disclosures, disclosure)
            if refused is not None:
                return
            self.disclosed.add(disclosure.id)
            results = (a_result(disclosure),)
        event = _one(honest, outcome)
        self.because = {event}
        answer = Answer(
            question=asking.question,
            worker_id=asking.worker_id,
            event=event,
            code="asked",
            provider_code=None,
            at=self.now,
            milliseconds=1,
            disclosure_results=results,
        )
        self.write(partial(settle_answers, write_results=ledger.write_results), answer, cut=cut)

    # What the others do.

    @precondition(lambda self: self.seen)
    @rule(rescuer=WORKERS, live=st.sets(WORKERS), late=st.none() | ANY)
    def rescue(self, rescuer: str, live: set[str], late: int | None) -> None:
        """Who is not live is dead, or only slow: it may go on between a rescuer's look and word."""
        with self.engine.connect() as connection:
            orphans = find_orphans(connection, live)
        undisclosed = self._those(disclosed=False)
        if late is not None and undisclosed:
            self._disclose(_one(undisclosed, late), "")
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
    def settle_stray_claims(self, worker_id: str) -> None:
        mine = {a.claimed.job_id for a in self.working if a.worker_id == worker_id}
        with self.engine.connect() as connection:
            strays = lost_claims(connection, worker_id, mine, before=self.now)
        self.because = {Event.WAIT, Event.LOSE}
        for stray in strays:
            settlement = Settlement(
                job_id=stray.job_id,
                fence=stray.fence,
                number=stray.attempt,
                worker_id=worker_id,
                event=Event.LOSE if stray.open_disclosures else Event.WAIT,
                started_at=stray.claimed_at,
                at=self.now,
                milliseconds=0,
                run_at=None if stray.open_disclosures else self.now,
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

    # What a person does.

    @precondition(lambda self: self._in(State.FAILED, State.UNKNOWN))
    @rule(which=ANY)
    def choose_for_replay(self, which: int) -> None:
        chosen = _one(self._in(State.FAILED, State.UNKNOWN), which)
        replay = Replay(
            id=new_id(), created_at=self.now, actor="op", reason="test", even_if_sent=True
        )
        with writing(self.engine) as connection:
            open_replay(connection, replay, candidates(connection, JobFilter(ids=(chosen,))))
        self.batches.append((replay, chosen))

    @precondition(lambda self: self.batches)
    @rule(which=ANY)
    def replay(self, which: int) -> None:
        """Perhaps long after it was chosen, perhaps for the second time."""
        replay, chosen = _one(self.batches, which)
        self.because = {Event.REPLAY}
        with writing(self.engine) as connection:
            (job,) = candidates(connection, JobFilter(ids=(chosen,)))
            done = job.state in {State.FAILED, State.UNKNOWN} and put_back(
                connection, replay, job, sealed=b"again", policy_version="2024", now=self.now
            )
        if done:
            assert replay.id not in self.replayed, "a batch replays nothing twice"
            self.replayed.add(replay.id)
            self.seen[chosen].replays += 1

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
        if row.claimed_by is not None:
            assert state is State.RUNNING or (state is State.UNKNOWN and row.asked)
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
