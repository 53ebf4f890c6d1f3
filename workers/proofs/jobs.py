"""Canary, second half: every kind of job through the whole product, and all that is left behind.

Real processes, a real Redis, a real database. Each kind of job meets each mishap, among them a
worker that is killed while the provider is silent. Then everything is searched: what arrived at
the provider, Redis' file and its live keys, the database's file and write-ahead log (or the rows,
with PostgreSQL), all logs, every reply of the gateway and the command line.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from integrations.payments import Channel
from integrations.policy import Policy
from integrations.sandbox.faults import Fault
from integrations.sandbox.merchants import MCHID, SELLER
from integrations.sandbox.till import Buyer
from models.clock import utc_now
from models.errors import ConfigurationError
from models.pii import Phone
from models.states import SETTLED, State
from tasks.face_verification import FACE_KINDS
from tasks.payload import Payload
from tasks.registry import TASKS
from tasks.task import Task
from workers.consents import Agreement
from workers.proofs.doors import look_at_commands, look_at_routes
from workers.proofs.house import House, await_
from workers.proofs.lab import cell_faults
from workers.proofs.people import Person, made_up_payload
from workers.proofs.report import Progress, Proof, run_proof
from workers.proofs.traces import Search, Value

__all__ = ["sweep_jobs"]

_UNREACHED = 90.0
_A_WHILE = dt.timedelta(seconds=60)
"""Who asks again only after it, such as for a receipt, is not waited for."""
_A_COMMAND = dt.timedelta(seconds=15)

_MISHAPS: dict[str, Fault | None] = {
    # The crash comes first, because it ends whatever else is under way.
    "crash": Fault(kind="hang", seconds=30),
    "timeout": Fault(kind="hang", seconds=30),
    "success": None,
    "4xx": Fault(kind="status", status=403),
    "5xx": Fault(kind="status", status=502),
    "garbage": Fault(kind="garbage"),
    "reset": Fault(kind="reset"),
    "retry": Fault(kind="code", code="Throttling.User", retry_after=100),
    "dead": Fault(kind="code", code="isv.MOBILE_NUMBER_ILLEGAL"),
}
"""What goes wrong until every job has met it."""
_TILLS: dict[Channel, str] = {"wechat_pay_v3": MCHID, "wechat_pay_v2": MCHID, "alipay": SELLER}
_PRICE = 12_345
"""Fen."""
_SWEPT = [task for task in TASKS.values() if task.kind not in FACE_KINDS]
"""The house has faces switched off; their operations are swept without it."""


def sweep_jobs(
    policy: Policy,
    progress: Progress,
    *,
    policy_file: Path | None = None,
    database_url: str | None = None,
) -> Proof:
    """Run every kind of job through every mishap, then search everything.

    Args:
        database_url: An empty PostgreSQL database to sweep instead of a SQLite file.
    """
    place = "PostgreSQL" if database_url else "SQLite"
    proof = Proof(
        f"canary, whole product on {place}",
        "no value of a person is anywhere but in the policy's cells on the wire",
        "除政策列明的传输字段外，任何地方都找不到个人信息",
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zjj-")))
        house = House(folder, policy_file=policy_file, database_url=database_url)
        sweep = _Sweep(stack.enter_context(house), policy)
        cases: list[Callable[[], Iterable[str]]] = [
            partial(sweep.meet, mishap) for mishap in _MISHAPS
        ]
        cases += [sweep.be_paid, sweep.refuse, sweep.settle, sweep.replay, sweep.settle, sweep.look]
        cases += [sweep.object]
        cases += [sweep.search_wire, sweep.search_places]
        run_proof(proof, cases, progress)
        proof.notes += sweep.notes
    return proof


class _Sweep:
    """One run over one house."""

    def __init__(self, house: House, policy: Policy) -> None:
        self._house = house
        self._policy = policy
        self._code = f"{secrets.randbelow(10**6):06d}"
        self._people: dict[str, Person] = {}
        """By job."""
        self._others: list[Value] = []
        self._known: dict[str, str] = {}
        """What stands for the parameters of the gateway's paths."""
        self.notes: list[str] = []

    def meet(self, mishap: str) -> Iterator[str]:
        """Let one job of each kind meet a mishap, all of them side by side."""
        sandbox = self._house.sandbox.sandbox
        heard = sandbox.journal.totals()["requests"]
        sandbox.faults.clear()
        if fault := _MISHAPS[mishap]:
            sandbox.faults.add(fault.model_copy())
        met: set[str] = set()
        kinds = {self._enqueue(task): task.kind for task in _SWEPT}

        def all_have_met() -> bool:
            self._house.close_circuits()
            met.update(filter(self._was_tried, kinds.keys() - met))
            silent = sandbox.journal.totals()["requests"] - heard if mishap == "crash" else 0
            return len(met) + silent >= len(kinds)

        try:
            await_(all_have_met, f"every kind of job meets {mishap}")
        except ConfigurationError:
            names = ", ".join(kinds[job_id] for job_id in kinds.keys() - met)
            yield f"did not meet {mishap} in time: {names}"
        if mishap == "crash":
            self._house.kill_worker()
        sandbox.faults.clear()
        if mishap == "crash":
            self._house.start_worker()

    def be_paid(self) -> Iterator[str]:
        """Have buyers pay on every channel; callbacks, answers and refunds name them, we do not."""
        tills = self._house.sandbox.sandbox.tills
        for channel, merchant in _TILLS.items():
            buyer = Buyer(*(f"{part}{secrets.token_hex(8)}" for part in ("o", "2088", "buyer@")))
            tills.book(channel).buyer = buyer
            self._others += [Value(f"buyer's {name}", text) for name, text in asdict(buyer).items()]
            number, back = (f"proof-{secrets.token_hex(8)}" for _ in range(2))
            order: dict[str, str] = {"channel": channel, "merchant": merchant, "order_no": number}
            until = utc_now() + dt.timedelta(hours=1)
            payment = order | {"amount": _PRICE, "expires_at": until.isoformat()}
            refund = {
                "refund_no": back,
                "amount": _PRICE,
                "reason": "other",
            }
            if self._house.ask("POST", "/v1/payments", payment)[0] != 200:
                yield f"a payment by {channel} was not expected"
            tills.change(channel, "pay", order["order_no"], _PRICE)
            path = f"/v1/payments/{order['order_no']}"
            await_(partial(self._says, path, '"state": "paid"'), f"paid by {channel}")
            if self._house.ask("POST", "/v1/refunds", order | refund)[0] != 202:
                yield f"money was not given back by {channel}"
            await_(partial(self._says, path, '"state": "refunded"'), f"given back by {channel}")
            self._known |= {"order_no": number, "refund_no": back}

    def _says(self, path: str, words: str) -> bool:
        return words in json.dumps(self._house.ask("GET", path)[1])

    def refuse(self) -> Iterator[str]:
        """What the gateway and the command line refuse must not come back in the refusal."""
        person = Person(self._code)
        phone = person.text(Phone)
        self._others += [
            Value("refused phone", phone),
            Value("refused text", person.address),
            Value("another's user", person.user),
        ]
        for body in (
            {"phone": phone + "0", "code": self._code, "scene": "register"},
            {"phone": phone, "code": self._code, "scene": person.address},
            {"phone": phone, "code": self._code, "scene": "login", "name": person.user},
            {"phone": {"number": phone}},
            [phone],
        ):
            status, _ = self._house.ask("POST", "/v1/sms-codes", body, Idempotency_Key="k-1")
            if status < 400:
                yield "the gateway took a malformed job"
        with ThreadPoolExecutor() as pool:
            for words in (
                ("jobs", "enqueue", "sms_code", f"phone={phone}0", f"code={phone}"),
                ("privacy", "subject", "--phone", phone),
            ):
                pool.submit(self._house.command, *words)

    def settle(self) -> Iterator[str]:
        """Wait until every job has ended, or is left to a clock that is not ours."""
        self._house.sandbox.sandbox.faults.clear()
        states: dict[str, str] = {}

        def ended() -> bool:
            for job_id in self._people:
                view = self._house.entrance.service.find(job_id)
                states[job_id] = view.state.value if view else "lost"
                if view and view.state is State.RETRYING and view.run_at > utc_now() + _A_WHILE:
                    states[job_id] = "waiting"
            return all(state in {*SETTLED, "lost", "waiting"} for state in states.values())

        await_(ended, "every job has ended", _UNREACHED)
        if "lost" in states.values():
            yield "a job is lost"
        counts = {state: [*states.values()].count(state) for state in sorted({*states.values()})}
        self.notes.append(", ".join(f"{count} {state}" for state, count in counts.items()))

    def replay(self) -> Iterator[str]:
        """Have what failed done again."""
        views = map(self._house.entrance.service.find, self._people)
        # What lives for seconds is past it by now.
        by = utc_now() + _A_COMMAND
        failed = [
            view.id
            for view in views
            if view
            and view.state is State.FAILED
            and not TASKS[view.kind].forgets
            and (view.expires_at or by) >= by
        ]
        words = ("--reason", "proof of the canaries", "--json", "--even-if-sent")
        if not failed:
            yield "no job has failed, so none can be replayed"
        elif self._house.command("jobs", "replay", *failed, *words):
            yield "a failed job was not replayed"
        else:
            self.notes.append(f"{len(failed)} replayed")
        self._known["job_id"] = next(iter(self._people))
        path = f"/v1/jobs/{self._known['job_id']}/replay"
        status, batch = self._house.ask("POST", path, {"reason": "proof"}, Idempotency_Key="r-1")
        if status != 200:
            yield "a replay cannot be asked for over HTTP"
        else:
            self._known["replay_id"] = batch["id"]

    def look(self) -> Iterator[str]:
        """Look at every job by every door."""
        for job_id in self._people:
            status, _ = self._house.ask("GET", f"/v1/jobs/{job_id}")
            if status != 200:
                yield "a job cannot be looked at"
        self._house.ask("GET", "/metrics")
        yield from look_at_routes(self._house, self._known)
        yield from look_at_commands(self._house, self._known)
        first, *_ = self._people
        person = self._people[first]
        phone = person.text(Phone)
        if self._house.ask("POST", "/v1/jobs/search", {"phone": phone})[0] != 200:
            yield "a person's jobs cannot be searched for"
        with ThreadPoolExecutor() as pool:
            done = [
                pool.submit(self._house.command, *words, typed=f"{phone}\n")
                for words in (
                    ("privacy", "subject", "--phone", "-"),
                    ("privacy", "subject", "--phone", "-", "--json"),
                )
            ]
        if any(each.result() for each in done):
            yield "a command failed that shows disclosures"

    def object(self) -> Iterator[str]:
        """Agree, change one's mind, object and be shown what is known of that, by every door."""
        first, *_ = self._people
        person = self._people[first]
        phone = person.text(Phone)
        agreement = {
            "ref": "agreed",
            "kind": "separate",
            "purpose": "verify_phone",
            "phone": phone,
            "user": person.user,
            "granted_at": utc_now().isoformat(),
        }
        if self._house.ask("POST", "/v1/consents", agreement)[0] != 200:
            yield "a consent was not recorded"
        malformed = {"phone": phone + "0", "user": person.address}
        self._house.ask("POST", "/v1/consents", agreement | malformed)
        for ref in ("agreed", person.user):
            self._house.ask("POST", f"/v1/consents/{ref}/withdraw")
        body = {"phone": phone, "reason": "objection"}
        status, restriction = self._house.ask("PUT", "/v1/restrictions", body)
        if status != 200:
            yield "a person was not restricted"
            return
        with ThreadPoolExecutor() as pool:
            shown = pool.submit(
                self._house.command, "privacy", "consents", "--phone", "-", typed=phone
            )
            mine = ("privacy", "subject", "--user", "-", "--backend", "proof")
            found = pool.submit(self._house.command, *mine, typed=person.user)
        if shown.result() or found.result():
            yield "a command failed that shows consents and disclosures"
        if self._house.ask("DELETE", f"/v1/restrictions/{restriction['id']}")[0] != 200:
            yield "a restriction was not lifted"

    def search_wire(self) -> Iterator[str]:
        """Each request carries one person's cells and nothing else of anybody."""
        requests = self._house.tap.requests()
        people = self._people.values()
        search = Search(value for person in people for value in person.values)
        others = Search(self._others)
        for request in requests:
            yield from cell_faults(self._policy, request, people, search)
            for trace in others.find(request):
                yield f"a request carries {trace.value.name}"
        self.notes.append(f"{len(requests)} requests")
        if not requests:
            yield "nothing arrived"

    def search_places(self) -> Iterator[str]:
        """Nothing is left anywhere: while it runs, and after it has stopped."""
        values = [value for person in self._people.values() for value in person.values]
        values = [*{value.text: value for value in (*values, *self._others)}.values()]
        search = Search(values)
        searched: dict[str, bytes] = {}
        size = 0
        for stopped in (False, True):
            if stopped:
                self._house.stop()
            for place, data in self._house.places():
                if searched.get(place) == data:
                    continue
                searched[place] = data
                size += len(data)
                for trace in search.find(data):
                    yield f"{place} holds {trace.value.name} ({trace.form})"
        self.notes.append(f"{len(values)} values sought in {len(searched)} places, {size:,} bytes")

    def _was_tried(self, job_id: str) -> bool:
        view = self._house.entrance.service.find(job_id)
        return view is not None and (
            view.state in SETTLED or any(each.result is not None for each in view.disclosures)
        )

    def _enqueue(self, task: Task) -> str:
        person = Person(self._code)
        payload = made_up_payload(task.payload, person)
        if "ordering_key" in task.payload.model_fields:
            # What waits to be tried again would hold up those behind it.
            payload = payload.model_copy(update={"ordering_key": secrets.token_hex(8)})
        self._agree(task, payload, person)
        key = f"key-{secrets.token_hex(8)}"
        job = self._house.entrance.service.enqueue(payload, backend="proof", idempotency_key=key)
        self._people[job.id] = person
        self._others.append(Value("idempotency key", key))
        return job.id

    def _agree(self, task: Task, payload: Payload, person: Person) -> None:
        """Record the consent that the payload names."""
        purposes = {self._policy.operation(name).purpose for name in task.operations}
        if "consent_ref" not in payload.held():
            return
        for purpose in purposes:
            basis = self._policy.purposes[purpose].basis
            if basis.consent != "none":
                agreement = Agreement(
                    ref=person.consent,
                    kind=basis.consent,
                    purpose=purpose,
                    user=person.user,
                    granted_at=utc_now(),
                )
                self._house.entrance.consents.record(agreement, backend="proof")
