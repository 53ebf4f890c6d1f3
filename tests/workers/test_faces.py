"""Faces, from the backend's request to the verdict, with everything real but Aliyun and the person."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, update

from integrations.sandbox.app import create_sandbox
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from models.api_keys import ApiKeys, Scope, create_api_key
from models.clock import utc_now
from models.database import writing
from models.dump import dump_rows
from models.endings import take_unannounced
from models.errors import ConfigurationError
from models.jobs import JobView
from models.ledger import LedgerWriter, SqlLedger, verify_ledger
from models.pseudonyms import Pseudonyms
from models.states import SETTLED, State
from models.tables import jobs
from tasks.face_verification import FaceVerification
from tasks.task import UnknownKind
from tests.faces import write_policy_with_faces
from tests.integrations.sandbox.test_cloudauth import id_number
from tests.workers.rows import KEYS_TEXT, PSEUDONYM_KEY, read_job
from tests.workers.test_identity_checks import a_childs_number
from workers.circuits import Circuits
from workers.entrance import Entrance, open_entrance
from workers.execution import Execution
from workers.faces import FACE_CALLBACK, FaceCallbacks, open_faces
from workers.gateway import create_gateway, gateway_server
from workers.gateway.logins import LoginDoor
from workers.maintenance.expirer import Expirer
from workers.maintenance.scheduler import Scheduler
from workers.merchants import Merchants
from workers.outlet import open_outlet
from workers.payments import PaymentService
from workers.settings import Settings

PERSON = {
    "name": "张三",
    "id_number": id_number(),
    "meta_info": '{"deviceType":"ios"}',
    "consent_ref": "face-1",
    "user": "u-17",
}
CONSENT = {
    "ref": "face-1",
    "kind": "separate",
    "purpose": "face_verification",
    "user": "u-17",
    "granted_at": "2026-11-24T00:00:00Z",
}


@dataclass
class Shop:
    """A gateway, a worker and a sandbox, and a backend's client of the first."""

    http: httpx.Client
    entrance: Entrance
    execution: Execution
    sandbox: SandboxServer
    scheduler: Scheduler

    @property
    def engine(self) -> Engine:
        return self.entrance.engine

    def begin(self, **changes: Any) -> JobView:
        """Have a verification begun, over HTTP and by the worker."""
        reply = self.http.post(
            "/v1/face-verifications",
            json=PERSON | changes,
            headers={"Idempotency-Key": f"try-{time.monotonic_ns()}"},
        )
        assert reply.status_code == 202, reply.text
        return self.work(reply.json()["id"])

    def work(self, job_id: str) -> JobView:
        """Let the worker take a job once, if it may."""
        self.scheduler.round()
        while True:
            self.execution.run(job_id)
            view = self.entrance.service.find(job_id)
            assert view is not None
            if view.state is not State.QUEUED:
                return view
            # Whoever notes that it could not be dispatched holds its row for a moment.
            time.sleep(0.02)

    def call_back(self, job_id: str, token: str | None = None, **query: str) -> int:
        """Call as Aliyun does, or as somebody who would like to be Aliyun."""
        callbacks = Pseudonyms(PSEUDONYM_KEY)
        token = token or callbacks.fingerprint("face callback", {"job_id": job_id})[:32]
        query = {"callbackToken": token, **query}
        return self.http.get(f"{FACE_CALLBACK}/{job_id}", params=query).status_code

    def sent(self, action: str) -> int:
        entries = self.sandbox.sandbox.journal.entries()
        return sum(entry["action"] == action for entry in entries)


@pytest.fixture
def open_shop(database_url: str, tmp_path: Path) -> Callable[..., Any]:
    """A shop whose policy has the clause."""
    file = write_policy_with_faces(tmp_path)

    @contextmanager
    def opened(**settings: Any) -> Iterator[Shop]:
        chosen = Settings(
            **{
                "data": tmp_path,
                "database_url": database_url,
                "redis_url": "redis://127.0.0.1:1/0",
                "policy_file": file,
                "face_verification": True,
                "master_keys": SecretStr(KEYS_TEXT),
                "pseudonym_key": SecretStr("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
                **settings,
            }
        )
        entrance = open_entrance(chosen)
        with writing(entrance.engine) as connection:
            key = create_api_key(connection, "shop", scopes=list(Scope))
        app = create_gateway(
            entrance.service,
            ApiKeys(entrance.engine),
            codes=entrance.codes,
            consents=entrance.consents,
            login_door=LoginDoor(entrance.phones, "aliyun"),
            desk=entrance.desk,
            payments=PaymentService.behind(entrance, Merchants([]), pause=30),
            dependencies=(),
            faces=FaceCallbacks(entrance.engine, entrance.pseudonyms)
            if chosen.face_verification
            else None,
        )
        server = gateway_server(app, host="127.0.0.1", port=0)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            thread.join(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        config = SandboxConfig(face_callback_url=f"{url}/", face_seconds=0.3)
        with SandboxServer(create_sandbox(config)) as sandbox:
            ledger = LedgerWriter(PSEUDONYM_KEY)
            outlet = open_outlet(
                chosen.model_copy(update={"sandbox_url": sandbox.url}),
                SqlLedger(entrance.commits, ledger),
                entrance.engine,
            )
            execution = Execution(
                worker_id="0" * 32,
                commits=entrance.commits,
                ledger=ledger,
                sealer=entrance.sealer,
                context=outlet,
                circuits=Circuits(entrance.engine, entrance.commits, outlet.gate.policy),
            )
            headers = {"Authorization": f"Bearer {key}"}
            http = httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False)
            scheduler = Scheduler(entrance.engine, entrance.dispatcher)
            try:
                yield Shop(http, entrance, execution, sandbox, scheduler)
            finally:
                http.close()
                server.should_exit = True
                thread.join()
                outlet.close()
                entrance.close()

    return opened


@pytest.fixture
def shop(engine: Engine, open_shop: Callable[..., Any]) -> Iterator[Shop]:
    del engine
    with open_shop() as opened:
        opened.http.post("/v1/consents", json=CONSENT).raise_for_status()
        yield opened


def settle(shop: Shop, verdict_job: str, *, seconds: float = 5.0) -> JobView:
    """Wait for Aliyun's callback, and let the worker ask."""
    deadline = time.monotonic() + seconds
    while (view := shop.work(verdict_job)).state not in SETTLED:
        assert time.monotonic() < deadline, "no callback came"
        time.sleep(0.05)
    return view


def test_a_face_is_verified_from_the_request_to_the_verdict(shop: Shop) -> None:
    begun = shop.begin()
    assert begun.state is State.SUCCEEDED
    assert begun.result.keys() == {"certify_id", "verdict_job"}
    assert read_job(shop.engine, begun.id).sealed is None, "name and number are gone at once"
    settle(shop, begun.result["verdict_job"])
    told = shop.http.get(f"/v1/jobs/{begun.result['verdict_job']}").json()
    assert (told["state"], told["result"]["verdict"]) == ("succeeded", "match")
    assert shop.sent("DescribeFaceVerify") == 1
    with shop.engine.connect() as connection:
        assert list(verify_ledger(connection, PSEUDONYM_KEY)) == []
        everything = b"".join(dump_rows(connection))
    for value in (PERSON["name"], PERSON["id_number"], "deviceType"):
        assert value.encode() not in everything


def test_the_backend_is_told_of_both_ends(shop: Shop) -> None:
    begun = shop.begin()
    settle(shop, begun.result["verdict_job"])
    with writing(shop.engine) as connection:
        endings = take_unannounced(connection)
    assert [(e.kind, e.state, e.verdict) for e in endings] == [
        ("face_verification", State.SUCCEEDED, None),
        ("face_result", State.SUCCEEDED, "match"),
    ]


def test_what_a_callback_says_is_not_believed(shop: Shop) -> None:
    begun = shop.begin(id_number=id_number("904"))
    time.sleep(0.4)
    assert shop.call_back(begun.id, passed="200", certifyId="0" * 32) == 200
    view = shop.work(begun.result["verdict_job"])
    assert view.result["verdict"] == "mismatch"


@pytest.mark.parametrize("token", ["", "0" * 32, "ff"])
def test_a_callback_with_another_token_changes_nothing(shop: Shop, token: str) -> None:
    begun = shop.begin(id_number=id_number("907"))
    before = read_job(shop.engine, begun.result["verdict_job"])
    query = {"callbackToken": token} if token else {}
    assert shop.http.get(f"{FACE_CALLBACK}/{begun.id}", params=query).status_code == 404
    assert read_job(shop.engine, begun.result["verdict_job"]) == before
    assert shop.work(begun.result["verdict_job"]).state is State.SCHEDULED


def test_each_verification_has_a_token_of_its_own(shop: Shop) -> None:
    first, second = shop.begin(id_number=id_number("907")), shop.begin(id_number=id_number("907"))
    pseudonyms = Pseudonyms(PSEUDONYM_KEY)
    token = pseudonyms.fingerprint("face callback", {"job_id": first.id})[:32]
    assert shop.call_back(second.id, token) == 404


def test_a_callback_that_is_faster_than_we_are_comes_again(shop: Shop) -> None:
    assert shop.call_back("a" * 32) == 503


def test_a_callback_without_a_face_brings_no_verdict(shop: Shop) -> None:
    begun = shop.begin(id_number=id_number("907"))
    assert shop.call_back(begun.id) == 200
    view = shop.work(begun.result["verdict_job"])
    assert (view.state, view.reason) == (State.RETRYING, "face.unfinished")
    assert view.run_at > utc_now() + dt.timedelta(minutes=4)


def test_who_never_shows_a_face_has_no_verdict_in_the_end(shop: Shop) -> None:
    begun = shop.begin(id_number=id_number("907"))
    job_id = begun.result["verdict_job"]
    expirer = Expirer(shop.engine, clock=lambda: utc_now() + dt.timedelta(minutes=36))
    expirer.round()
    view = shop.entrance.service.find(job_id)
    assert view is not None
    assert view.state is State.EXPIRED
    assert shop.call_back(begun.id) == 200
    assert shop.work(job_id).state is State.EXPIRED


def test_without_a_callback_it_is_asked_all_the_same(shop: Shop) -> None:
    begun = shop.begin(id_number=id_number("904"))
    job_id = begun.result["verdict_job"]
    planned = read_job(shop.engine, job_id).run_at - utc_now()
    assert dt.timedelta(minutes=4) < planned <= dt.timedelta(minutes=5)
    time.sleep(0.4)
    with writing(shop.engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(run_at=utc_now()))
    assert shop.work(job_id).result["verdict"] == "mismatch"


def test_a_question_without_an_answer_is_asked_again(shop: Shop) -> None:
    begun = shop.begin()
    shop.sandbox.sandbox.faults.add(Fault(kind="drop", action="DescribeFaceVerify", times=1))
    job_id = begun.result["verdict_job"]
    time.sleep(0.4)
    shop.call_back(begun.id)
    assert shop.work(job_id).state is State.RETRYING
    shop.call_back(begun.id)
    assert shop.work(job_id).result["verdict"] == "match"


def test_a_beginning_without_an_answer_is_not_begun_again(shop: Shop) -> None:
    shop.sandbox.sandbox.faults.add(Fault(kind="drop", action="InitFaceVerify", times=1))
    view = shop.begin()
    assert (view.state, view.result) == (State.UNKNOWN, {"verdict": "unavailable"})
    assert shop.work(view.id).state is State.UNKNOWN
    assert shop.sent("InitFaceVerify") == 1
    assert read_job(shop.engine, view.id).sealed is None


def test_a_second_try_has_an_order_number_of_its_own(shop: Shop) -> None:
    hidden = Fault(kind="status", status=502, action="InitFaceVerify", times=1)
    shop.sandbox.sandbox.faults.add(hidden)
    view = shop.begin()
    assert view.state is State.RETRYING
    with writing(shop.engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == view.id).values(run_at=utc_now()))
    assert shop.work(view.id).state is State.SUCCEEDED
    assert shop.sent("InitFaceVerify") == 2


def test_nothing_of_a_child_leaves_without_a_guardian(shop: Shop) -> None:
    view = shop.begin(id_number=a_childs_number())
    assert (view.state, view.reason) == (State.FAILED, "guardian_consent_required")
    assert read_job(shop.engine, view.id).sealed is None
    assert shop.sent("InitFaceVerify") == 0


def test_a_child_is_verified_with_a_guardian_who_agrees(shop: Shop) -> None:
    agreement = CONSENT | {"ref": "guardian-1", "kind": "guardian"}
    shop.http.post("/v1/consents", json=agreement).raise_for_status()
    begun = shop.begin(id_number=a_childs_number(), guardian_ref="guardian-1")
    assert settle(shop, begun.result["verdict_job"]).result["verdict"] == "match"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"consent_ref": "face-2"}, "consent_unknown"), ({"user": "u-18"}, "consent_person")],
)
def test_without_the_persons_own_consent_nothing_leaves(
    shop: Shop, changes: dict[str, str], reason: str
) -> None:
    view = shop.begin(**changes)
    assert (view.state, view.reason) == (State.FAILED, "egress_denied")
    assert view.disclosures[0].reason == reason
    assert shop.sent("InitFaceVerify") == 0


def test_a_consent_to_something_else_does_not_do(shop: Shop) -> None:
    other = CONSENT | {"ref": "identity-1", "purpose": "verify_identity"}
    shop.http.post("/v1/consents", json=other).raise_for_status()
    assert shop.begin(consent_ref="identity-1").disclosures[0].reason == "consent_purpose"


def test_a_withdrawn_consent_stops_the_question_as_well(shop: Shop) -> None:
    begun = shop.begin(id_number=id_number("907"))
    shop.http.post("/v1/consents/face-1/withdraw").raise_for_status()
    view = shop.work(begun.result["verdict_job"])
    assert view.state is State.CANCELLED
    assert shop.call_back(begun.id) == 200
    assert shop.sent("DescribeFaceVerify") == 0


def test_faces_count_towards_what_one_person_is_asked_in_a_day(
    engine: Engine, open_shop: Callable[..., Any]
) -> None:
    del engine
    with open_shop(identity_daily_limit=2) as shop:
        shop.http.post("/v1/consents", json=CONSENT).raise_for_status()
        views = [shop.begin() for _ in range(3)]
        assert [view.reason for view in views] == [None, None, "identity.daily_limit"]
        assert views[2].result == {"verdict": "unavailable"}
        shop.work(views[0].result["verdict_job"])
        assert shop.sent("InitFaceVerify") == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"id_number": id_number()[:-1] + "0"}, "id_number"), ({"picture": "QUFB"}, "picture")],
)
def test_a_wrong_number_and_an_image_are_turned_away_at_the_door(
    shop: Shop, changes: dict[str, str], field: str
) -> None:
    reply = shop.http.post("/v1/face-verifications", json=PERSON | changes)
    assert reply.status_code == 422
    assert field in reply.text
    assert "QUFB" not in reply.text


def test_where_it_is_off_there_is_neither_route_nor_kind(
    engine: Engine, open_shop: Callable[..., Any]
) -> None:
    del engine
    with open_shop(face_verification=False) as shop:
        assert shop.http.post("/v1/face-verifications", json=PERSON).status_code == 404
        assert shop.http.get(f"{FACE_CALLBACK}/{'a' * 32}").status_code == 404
        assert "/v1/face-verifications" not in shop.http.get("/openapi.json").json()["paths"]
        with pytest.raises(UnknownKind):
            shop.entrance.service.enqueue(FaceVerification.model_validate(PERSON), backend="shop")


def test_where_it_is_on_the_description_says_so(shop: Shop) -> None:
    paths = shop.http.get("/openapi.json").json()["paths"]
    assert "/v1/face-verifications" in paths
    assert not any(path.startswith(FACE_CALLBACK) for path in paths)


def test_no_door_opens_with_it_on_and_no_clause(tmp_path: Path, database_url: str) -> None:
    settings = Settings(data=tmp_path, database_url=database_url, face_verification=True)
    with pytest.raises(ConfigurationError, match="no clause of the published policy permits"):
        open_entrance(settings)


def test_a_real_account_needs_a_scene_and_an_address(tmp_path: Path, engine: Engine) -> None:
    settings = Settings(
        data=tmp_path,
        face_verification=True,
        aliyun_access_key_id="LTAI0000",
        aliyun_access_key_secret=SecretStr("secret"),
    )
    gate: Any = None
    with pytest.raises(ConfigurationError, match="ZJJ_FACE_CALLBACK_URL"):
        open_faces(gate, engine, settings)
