"""A backend never holds a code: it asks for one, and hands back what the person typed."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from models.clock import utc_now
from models.codes import Verification, hand_over
from models.database import writing
from models.dump import dump_rows
from models.errors import (
    ConfigurationError,
    IdempotencyConflict,
    InvalidValue,
    RetryError,
    Throttled,
)
from models.group_commit import GroupCommit
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer, seal_identity
from models.states import State
from models.tables import codes, jobs
from tasks.preparation import Preparation
from tasks.sms_code import Scene
from tests.models.rows import all_rows
from tests.workers.rows import KEYS, PSEUDONYM_KEY, a_code, read_job
from workers.codes import CodeGuess, CodeService
from workers.dispatch import Dispatcher
from workers.limits import Shield
from workers.service import JobService
from workers.settings import Settings
from workers.sms_limits import SmsLimits

PHONE = "16400001234"


@pytest.fixture
def sealer(engine: Engine) -> Sealer:
    return Sealer(engine, KEYS)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta()

    def __call__(self) -> dt.datetime:
        return utc_now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(
    engine: Engine, dispatcher: Dispatcher, sealer: Sealer, clock: Clock
) -> Iterator[CodeService]:
    commits, pseudonyms = GroupCommit(engine), Pseudonyms(PSEUDONYM_KEY)
    preparation = Preparation(sealer, pseudonyms, policy_version="2023-01-01", clock=clock)
    jobs_ = JobService(
        engine,
        commits,
        preparation,
        dispatcher,
        limits=SmsLimits.from_settings(Settings(), pseudonyms, clock=clock),
        shield=Shield(None),
    )
    yield CodeService(jobs_, commits, pseudonyms, clock=clock)
    commits.close()


def sent(engine: Engine, sealer: Sealer, job_id: str) -> str:
    """The code as the provider would get it."""
    row = read_job(engine, job_id)
    identity = seal_identity(row.id, row.kind, row.policy_version)
    code: str = sealer.open(row.sealed, identity=identity, bucket=row.bucket)["code"]
    return code


def verify(service: CodeService, code: str, **changes: Any) -> Verification:
    given = {"phone": PHONE, "scene": "login", "code": code} | changes
    backend, key = given.pop("backend", "shop"), given.pop("key", None)
    return service.verify(CodeGuess.model_validate(given), backend=backend, idempotency_key=key)


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}d}"


@pytest.mark.parametrize("length", [4, 5, 6])
def test_a_code_is_made_sent_and_verified(
    service: CodeService, engine: Engine, sealer: Sealer, length: int
) -> None:
    job = service.issue(PHONE, "login", backend="shop", length=length)
    code = sent(engine, sealer, job.id)
    assert re.fullmatch(rf"[0-9]{{{length}}}", code)
    assert verify(service, code) == Verification(verified=True, attempts_left=0, reason=None)
    assert verify(service, code).reason == "used"


@pytest.mark.parametrize("length", [3, 7])
def test_a_code_has_four_to_six_digits(service: CodeService, length: int) -> None:
    with pytest.raises(InvalidValue, match="4 to 6"):
        service.issue(PHONE, "login", backend="shop", length=length)


@pytest.mark.parametrize(
    "elsewhere", [{"scene": "register"}, {"phone": "16400001235"}, {"backend": "forum"}]
)
def test_it_is_good_for_its_phone_scene_and_backend_alone(
    service: CodeService, engine: Engine, sealer: Sealer, elsewhere: dict[str, str]
) -> None:
    code = sent(engine, sealer, service.issue(PHONE, "login", backend="shop").id)
    assert verify(service, code, **elsewhere).reason == "none"
    assert verify(service, code, phone=f"+86 {PHONE}").verified


def test_it_stands_in_clear_nowhere(service: CodeService, engine: Engine, sealer: Sealer) -> None:
    job = service.issue(PHONE, "login", backend="shop")
    code = sent(engine, sealer, job.id)
    with engine.connect() as connection:
        # Six digits may come up by chance within a longer value, as one of their own they do not.
        assert code.encode() not in list(dump_rows(connection))
    (row,) = all_rows(engine, codes)
    assert re.fullmatch(r"[0-9a-f]{64}", row.digest)
    assert PHONE not in str(row)


def test_a_repeated_request_is_the_same_code_sent_once(
    service: CodeService, engine: Engine, sealer: Sealer
) -> None:
    first = service.issue(PHONE, "login", backend="shop", idempotency_key="k")
    code = sent(engine, sealer, first.id)
    again = service.issue(PHONE, "login", backend="shop", idempotency_key="k")
    assert (again.id, again.created) == (first.id, False)
    assert verify(service, code).verified
    with pytest.raises(IdempotencyConflict):
        service.issue(PHONE, "register", backend="shop", idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        service.jobs.enqueue(a_code(), backend="shop", idempotency_key="k")


def test_a_new_code_replaces_the_older(
    service: CodeService, engine: Engine, sealer: Sealer, clock: Clock
) -> None:
    first = service.issue(PHONE, "login", backend="shop").id
    older = sent(engine, sealer, first)
    clock.ahead = dt.timedelta(seconds=61)
    newer = sent(engine, sealer, service.issue(PHONE, "login", backend="shop").id)
    # It still waited to be sent: whoever got both would type the wrong one.
    assert read_job(engine, first).state == State.EXPIRED
    assert older == newer or verify(service, older).reason == "wrong"
    assert verify(service, newer).verified


def test_nothing_is_sent_or_verified_after_its_lifetime(
    service: CodeService, engine: Engine, sealer: Sealer, clock: Clock
) -> None:
    job = service.issue(PHONE, "login", backend="shop")
    (row,) = all_rows(engine, codes)
    assert read_job(engine, job.id).expires_at == row.expires_at
    assert row.expires_at - row.created_at == dt.timedelta(minutes=5)
    clock.ahead = dt.timedelta(minutes=5)
    assert verify(service, sent(engine, sealer, job.id)).reason == "expired"


def test_a_lost_reply_is_made_up_for_under_the_same_key(
    service: CodeService, engine: Engine, sealer: Sealer
) -> None:
    code = sent(engine, sealer, service.issue(PHONE, "login", backend="shop").id)
    assert verify(service, code, key="once").verified
    assert verify(service, code, key="once").verified
    assert verify(service, code, key="twice").reason == "used"


def test_fifty_people_with_the_right_code_are_one(
    service: CodeService, engine: Engine, sealer: Sealer
) -> None:
    code = sent(engine, sealer, service.issue(PHONE, "login", backend="shop").id)
    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(lambda _: verify(service, code).verified, range(50)))
    assert outcomes.count(True) == 1


def test_five_wrong_guesses_and_no_more(
    service: CodeService, engine: Engine, sealer: Sealer
) -> None:
    code = sent(engine, sealer, service.issue(PHONE, "login", backend="shop").id)
    with ThreadPoolExecutor(50) as pool:
        reasons = list(pool.map(lambda _: verify(service, other_than(code)).reason, range(50)))
    assert reasons.count("wrong") == 5
    assert verify(service, code).reason == "too_many_attempts"


def test_what_cannot_be_a_code_uses_up_no_guess(service: CodeService) -> None:
    service.issue(PHONE, "login", backend="shop")
    with pytest.raises(ValidationError):
        verify(service, "12a4")
    assert verify(service, "000000").attempts_left in (4, 0)


def test_a_refused_code_leaves_the_older_as_it_is(
    service: CodeService, engine: Engine, sealer: Sealer
) -> None:
    code = sent(engine, sealer, service.issue(PHONE, "login", backend="shop").id)
    with pytest.raises(Throttled):
        service.issue(PHONE, "login", backend="shop")
    assert verify(service, code).verified


# Limits, as they are unless somebody sets others.


def asked_at(
    service: CodeService, clock: Clock, seconds: int, scene: Scene = "login"
) -> str | None:
    """Why a code is refused then, or None."""
    clock.ahead = dt.timedelta(seconds=seconds)
    try:
        service.issue(PHONE, scene, backend="shop")
    except Throttled as refusal:
        return refusal.code
    return None


def test_a_phone_gets_one_code_a_minute_five_an_hour_and_ten_a_day_for_a_scene(
    service: CodeService, clock: Clock
) -> None:
    refused = "limit.phone_scene"
    story = {
        **dict.fromkeys([0, 60, 120, 180, 240], None),
        **dict.fromkeys([50, 110, 300, 3500], refused),
        **dict.fromkeys([3600, 3660, 3720, 3780, 3840], None),
        # The hour has permits again, the day has none: it rolls, whatever the calendar says.
        **dict.fromkeys([3900, 7500, 50_000, 86_300], refused),
        86_400: None,
    }
    assert {at: asked_at(service, clock, at) for at in sorted(story)} == story


def test_a_phone_gets_forty_codes_a_day_over_all_scenes(service: CodeService, clock: Clock) -> None:
    *four, fifth = get_args(Scene)
    for at in (0, 60, 120, 180, 240, 3600, 3660, 3720, 3780, 3840):
        assert [asked_at(service, clock, at, scene) for scene in four] == [None] * 4
    assert asked_at(service, clock, 3900, fifth) == "limit.phone"


# Codes of a provider.


@contextmanager
def a_provider(engine: Engine, **columns: Any) -> Iterator[list[str]]:
    """Questions to it end as a worker would have ended them, with those columns."""
    asked: list[str] = []
    over = threading.Event()

    def answer() -> None:
        while not over.wait(0.01):
            with writing(engine) as connection:
                ended = connection.scalars(
                    update(jobs)
                    .where(jobs.c.kind == "sms_code_check", jobs.c.state == State.QUEUED)
                    .values(settled_at=utc_now(), updated_at=utc_now(), **columns)
                    .returning(jobs.c.id)
                ).all()
            asked.extend(ended)

    thread = threading.Thread(target=answer)
    thread.start()
    yield asked
    over.set()
    thread.join()


def handed_over(service: CodeService, engine: Engine, name: str = "aliyun_sms_auth") -> None:
    job = service.issue(PHONE, "login", backend="shop")
    with writing(engine) as connection:
        hand_over(connection, job.id, name)


def test_a_providers_code_is_asked_about_there(service: CodeService, engine: Engine) -> None:
    handed_over(service, engine)
    said = {"state": State.SUCCEEDED}
    with a_provider(engine, **said, result={"verdict": "fail"}) as asked:
        assert verify(service, "777777").attempts_left == 4
    with a_provider(engine, **said, result={"verdict": "pass"}) as asked:
        guess = CodeGuess.model_validate({"phone": PHONE, "scene": "login", "code": "777777"})
        assert asyncio.run(service.verify_async(guess, backend="shop")).verified
        # The provider is not asked about what has passed already.
        assert verify(service, "777777").reason == "used"
    assert len(asked) == 1


def test_a_provider_that_says_nothing_leaves_the_guess_counted(
    service: CodeService, engine: Engine
) -> None:
    handed_over(service, engine)
    with (
        a_provider(engine, state=State.FAILED, reason="provider.unavailable"),
        pytest.raises(RetryError) as caught,
    ):
        verify(service, "777777")
    assert caught.value.code == "code.unsaid"
    with a_provider(engine, state=State.SUCCEEDED, result={"verdict": "fail"}):
        assert verify(service, "777777").attempts_left == 3


def test_whoever_asks_again_before_the_reply_came_asks_the_provider_once(
    service: CodeService, engine: Engine
) -> None:
    handed_over(service, engine)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(verify, service, "777777", key="once") for _ in range(2)]
        while [row.guesses for row in all_rows(engine, codes)] != [2]:
            time.sleep(0.01)
        with a_provider(engine, state=State.SUCCEEDED, result={"verdict": "pass"}) as asked:
            assert [each.result().verified for each in both] == [True, True]
    assert len(asked) == 1


def test_under_the_same_key_another_code_is_another_question(
    service: CodeService, engine: Engine
) -> None:
    handed_over(service, engine)
    with a_provider(engine, state=State.SUCCEEDED, result={"verdict": "fail"}) as asked:
        assert verify(service, "777777", key="once").attempts_left == 4
        assert verify(service, "888888", key="once").attempts_left == 3
    assert len(asked) == 2


@pytest.mark.parametrize("in_loop", [False, True], ids=["sync", "async"])
def test_a_question_that_came_to_nothing_is_asked_anew(
    service: CodeService, engine: Engine, in_loop: bool
) -> None:
    def ask() -> Verification:
        if not in_loop:
            return verify(service, "777777", key="once")
        guess = CodeGuess.model_validate({"phone": PHONE, "scene": "login", "code": "777777"})
        return asyncio.run(service.verify_async(guess, backend="shop", idempotency_key="once"))

    handed_over(service, engine)
    with a_provider(engine, state=State.EXPIRED), pytest.raises(RetryError):
        ask()
    with a_provider(engine, state=State.SUCCEEDED, result={"verdict": "pass"}):
        assert ask().verified


def test_a_road_that_nobody_can_ask_is_a_fault_of_the_configuration(
    service: CodeService, engine: Engine
) -> None:
    handed_over(service, engine, "nobody")
    with pytest.raises(ConfigurationError):
        verify(service, "777777")


# In a transaction of one's own.


def test_job_and_code_stand_or_fall_with_the_callers_transaction(
    service: CodeService, engine: Engine
) -> None:
    with Session(engine) as session:
        service.issue(PHONE, "login", backend="shop", transaction=session)
        session.rollback()
    assert (all_rows(engine, jobs), all_rows(engine, codes)) == ([], [])
    with Session(engine) as session, session.begin():
        service.issue(PHONE, "register", backend="shop", transaction=session)
        with pytest.raises(Throttled):
            service.issue(PHONE, "register", backend="shop", transaction=session)
    assert (len(all_rows(engine, jobs)), len(all_rows(engine, codes))) == (1, 1)


def test_nobody_waits_for_the_callers_commit_but_those_of_the_same_code(
    service: CodeService, engine: Engine
) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time, whoever it is")
    with Session(engine) as session, session.begin():
        service.issue(PHONE, "login", backend="shop", transaction=session)
        # The same phone, the same backend, the same alarm.
        service.issue(PHONE, "register", backend="shop")


def test_it_serves_an_event_loop(service: CodeService, engine: Engine, sealer: Sealer) -> None:
    async def issue_and_verify() -> bool:
        job = await service.issue_async(PHONE, "login", backend="shop")
        code = await asyncio.to_thread(sent, engine, sealer, job.id)
        guess = CodeGuess.model_validate({"phone": PHONE, "scene": "login", "code": code})
        return (await service.verify_async(guess, backend="shop")).verified

    assert asyncio.run(issue_and_verify())


def test_an_async_session_takes_them_along(service: CodeService, engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("there is no driver for it here")

    async def issue() -> None:
        other = create_async_engine(engine.url)
        async with AsyncSession(other) as session, session.begin():
            await service.issue_async(PHONE, "login", backend="shop", transaction=session)
        await other.dispose()

    asyncio.run(issue())
    assert len(all_rows(engine, codes)) == 1
