"""One device, one reviewed wording, one cid; each answer of Jiguang leads somewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.gate import Gate, Timeouts
from integrations.jiguang import JiguangCredentials, JPush, load_notices
from integrations.jiguang.push import CID_WAITS
from integrations.jiguang.push_codes import PUSH_REMEDIES, push_fault
from integrations.policy import load_policy
from integrations.reply import Reply
from integrations.sandbox import jiguang_key
from integrations.sandbox.exchange import Request
from integrations.sandbox.jpush import SAMPLE_CID
from integrations.sandbox.server import SandboxServer
from models.attempts import Attempt
from models.disclosures import Disclosure
from models.errors import (
    ConfigurationError,
    DeniedError,
    GiveUpError,
    RetryError,
    UnknownOutcomeError,
    WaitError,
    ZjjError,
)
from models.identifiers import new_id
from models.pii import Phone, PushToken, RealName
from tasks.push import Notice
from tests.integrations.sandbox.calling import Caller
from tests.integrations.sandbox.serving import Clock

HOST = "api.jpush.cn"
TOKEN = "13065ffa4e3ae5f7c4b"
SANDBOX = JiguangCredentials(jiguang_key.APP_KEY, jiguang_key.MASTER_SECRET)
POLICY = load_policy()
NOTICES = load_notices(POLICY, get_args(Notice))


class MemoryLedger:
    def __init__(self) -> None:
        self.rows: list[Disclosure] = []

    def record(self, disclosure: Disclosure) -> None:
        self.rows.append(disclosure)


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def gate(ledger: MemoryLedger, server: SandboxServer) -> Iterator[Gate]:
    gate = Gate(POLICY, ledger, dial={HOST: server.url}, timeouts=Timeouts(answer=0.5))
    yield gate
    gate.close()


@pytest.fixture
def jpush(gate: Gate) -> JPush:
    return JPush(gate, SANDBOX, NOTICES)


def an_attempt(**held: object) -> Attempt:
    wide = {"push_token": PushToken(TOKEN), "notice": "order_update", "user": "u-17", **held}
    return Attempt(
        job_id=new_id(),
        kind="push",
        number=1,
        fence=1,
        worker_id="worker",
        backend="shop",
        policy_version=POLICY.version,
        expires_at=None,
        held=wide,
    )


def test_one_device_gets_one_reviewed_wording(jpush: JPush, ledger: MemoryLedger) -> None:
    receipt = jpush.push(an_attempt(), SAMPLE_CID)
    assert receipt.fields["msg_id"].isdecimal()
    (row,) = ledger.rows
    assert row.categories == ("user.device.device_id",)
    assert row.stripped == ("notice", "user")
    assert row.purpose == "notify"


def test_a_repetition_under_a_cid_gets_the_first_success_again(
    jpush: JPush, server: SandboxServer
) -> None:
    attempt, cid = an_attempt(), jpush.new_cid(an_attempt())
    assert jpush.push(attempt, cid) == jpush.push(attempt, cid)
    journal = server.sandbox.journal
    assert (journal.count(cid), journal.accepted(cid)) == (2, 1)


def test_another_cid_is_another_push(jpush: JPush) -> None:
    first, second = jpush.new_cid(an_attempt()), jpush.new_cid(an_attempt())
    assert jpush.push(an_attempt(), first) != jpush.push(an_attempt(), second)


def test_a_pooled_cid_is_given_away_while_most_of_its_day_is_left(gate: Gate) -> None:
    now = [0.0]
    jpush = JPush(gate, SANDBOX, NOTICES, clock=lambda: now[0])
    cids = {jpush.new_cid(an_attempt()) for _ in range(50)}
    assert len(cids) == 50
    fetches: list[str] = []
    for now[0] in (1.0, CID_WAITS, CID_WAITS + 2):
        attempt = an_attempt()
        cids.add(jpush.new_cid(attempt))
        fetches += [attempt.job_id] * len(attempt.results)
    assert len(cids) == 53
    assert len(fetches) == 2, "the 51st, and the one whose store had grown old"


class Wire:
    """Takes a request to pieces before it would leave."""

    policy = POLICY

    def send(self, request: Any, **_: Any) -> Reply:
        self.values: Mapping[str, object] = request.values
        return Reply(200, {"msg_id": "1"}, {}, None, None, "")


@given(
    name=st.text("龘靐齉爩麤灪", min_size=2, max_size=4),
    extra=st.dictionaries(st.from_regex(r"[a-z_]{3,12}", fullmatch=True), st.text(max_size=40)),
    notice=st.sampled_from(get_args(Notice)),
)
def test_whatever_else_a_job_holds_stays_inside(
    name: str, extra: dict[str, str], notice: Notice
) -> None:
    wire: Any = Wire()
    fixed = {"name": RealName(name), "phone": Phone("16400001234"), "notice": notice}
    attempt = an_attempt(**{**extra, **fixed, "push_token": PushToken(TOKEN)})
    JPush(wire, SANDBOX, NOTICES).push(attempt, SAMPLE_CID)
    assert wire.values == {
        "cid": SAMPLE_CID,
        "audience.registration_id.[0]": PushToken(TOKEN),
        "notification.alert": NOTICES[notice],
    }


@pytest.mark.parametrize(
    "wording",
    [
        "张三,您的订单 2023 已发货。",
        "您的验证码是246810,请勿告诉他人。",
        "Your order is on its way.",
        "您的戒指¥9999已退款,请查看。",
    ],
)
def test_a_wording_with_digits_letters_or_amounts_does_not_leave(
    gate: Gate, wording: str, ledger: MemoryLedger, server: SandboxServer
) -> None:
    with pytest.raises(DeniedError):
        JPush(gate, SANDBOX, {"order_update": wording}).push(an_attempt(), SAMPLE_CID)
    assert ledger.rows[-1].reason == "field_shape:notification.alert"
    assert server.sandbox.journal.totals()["requests"] == 0


def test_a_wording_with_a_name_of_the_job_does_not_leave(gate: Gate) -> None:
    attempt = an_attempt(name=RealName("龘靐齉"))
    with pytest.raises(DeniedError, match="held_value:name"):
        JPush(gate, SANDBOX, {"order_update": "龘靐齉,请打开应用查看。"}).push(attempt, SAMPLE_CID)


def test_a_token_that_is_no_registration_id_does_not_leave(jpush: JPush) -> None:
    with pytest.raises(DeniedError):
        jpush.push(an_attempt(push_token=PushToken("https:__x.example_a-b")), SAMPLE_CID)


@pytest.mark.parametrize("code", PUSH_REMEDIES)
def test_each_code_says_what_to_do(jpush: JPush, caller: Caller, code: str) -> None:
    caller.fault(kind="code", code=code, times=1)
    remedy = PUSH_REMEDIES[code]
    with pytest.raises(remedy.error) as caught:
        jpush.push(an_attempt(), SAMPLE_CID)
    assert (caught.value.code, caught.value.provider_code) == (remedy.code, code)
    assert caught.value.stops_recipient is remedy.stops_recipient


@pytest.mark.parametrize(
    ("code", "error"),
    [("1000", RetryError), ("2002", WaitError), ("1004", GiveUpError), ("9", RetryError)],
)
def test_asking_for_cids_is_harmless_so_what_is_unclear_is_asked_again(
    jpush: JPush, caller: Caller, code: str, error: type[ZjjError]
) -> None:
    caller.fault(kind="code", code=code, times=1)
    with pytest.raises(error):
        jpush.new_cid(an_attempt())


@pytest.mark.parametrize("kind", ["reset", "drop", "garbage"])
def test_a_lost_answer_leaves_a_push_unknown_and_a_fetch_undone(
    jpush: JPush, caller: Caller, kind: str
) -> None:
    caller.fault(kind=kind, times=2)
    with pytest.raises(UnknownOutcomeError):
        jpush.push(an_attempt(), SAMPLE_CID)
    with pytest.raises(RetryError, match="no cids"):
        jpush.new_cid(an_attempt())


@pytest.mark.parametrize(
    ("seconds", "wait"), [("7", 7.0), ("0", 1.0), ("999999", 3600.0), ("soon", 60.0), (None, 60.0)]
)
def test_the_wait_is_the_one_that_jiguang_names(seconds: str | None, wait: float) -> None:
    headers = {} if seconds is None else {"x-rate-limit-reset": seconds}
    error = push_fault(Reply(429, {}, headers, "2002", None, ""), asks=False)
    assert isinstance(error, WaitError)
    assert error.retry_after == wait


@given(status=st.integers(100, 599), code=st.none() | st.text(max_size=8))
def test_no_answer_is_taken_for_a_success_that_is_none(status: int, code: str | None) -> None:
    error = push_fault(Reply(status, {}, {}, code, None, ""), asks=False)
    assert (error is None) == (200 <= status < 300 and code is None)
    if status >= 500:
        assert isinstance(error, UnknownOutcomeError)


def test_the_sandbox_limits_calls_and_says_until_when(
    jpush: JPush, server: SandboxServer, clock: Clock
) -> None:
    clock.moved = 60 - clock() % 60
    for _ in range(600):
        server.sandbox._by_host[HOST].answer(server.sandbox._by_host[HOST].read(_A_FETCH))
    with pytest.raises(WaitError) as caught:
        jpush.push(an_attempt(), SAMPLE_CID)
    assert 30 <= (caught.value.retry_after or 0) <= 60
    clock.moved += 60
    jpush.push(an_attempt(), SAMPLE_CID)


_PAIR = base64.b64encode(f"{jiguang_key.APP_KEY}:{jiguang_key.MASTER_SECRET}".encode()).decode()
_A_FETCH = Request(
    "GET", "/v3/push/cid", "count=1&type=push", (("authorization", f"Basic {_PAIR}"),), b""
)


def _notices(folder: Path, **changes: str) -> Path:
    path = folder / "notices.toml"
    lines = {"purpose": "notify", "wording": "您的订单有新的进展,请打开应用查看。", **changes}
    fields = "\n".join(f"{name} = {json.dumps(value)}" for name, value in lines.items())
    path.write_text(f"[order_update]\n{fields}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"purpose": "marketing"}, "denies its purpose"),
        ({"purpose": "payment"}, "pushes are sent for notify only"),
        ({"wording": "满1000减100!"}, "does not allow this wording"),
        ({"wording": ""}, "at least 1 character"),
        ({"link": "https://shop.example"}, "Extra inputs"),
    ],
)
def test_a_catalogue_that_the_policy_does_not_allow_stops_the_start(
    tmp_path: Path, changes: dict[str, str], because: str
) -> None:
    with pytest.raises(ConfigurationError, match=because):
        load_notices(POLICY, ["order_update"], _notices(tmp_path, **changes))


def test_the_catalogue_has_a_wording_for_each_notice_and_no_other(tmp_path: Path) -> None:
    path = _notices(tmp_path)
    assert set(load_notices(POLICY, ["order_update"], path)) == {"order_update"}
    with pytest.raises(ConfigurationError, match="service_reply: is missing"):
        load_notices(POLICY, ["order_update", "service_reply"], path)
    with pytest.raises(ConfigurationError, match="order_update: is no notice"):
        load_notices(POLICY, [], path)


def test_the_policy_lets_nothing_else_of_a_push_out() -> None:
    operation = POLICY.operation("jiguang.push.send")
    held = {name: field.held for name, field in operation.fields.items() if field.held}
    assert held == {"audience.registration_id.[0]": "push_token"}
    assert POLICY.operation("jiguang.push.cid").held_names == frozenset()
