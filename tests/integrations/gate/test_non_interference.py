"""What a job holds beyond the operation's fields has no influence on the bytes, clock and nonce
pinned: the wire says the same, or (where the gate finds one of those values in the request by
coincidence) nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from integrations.gate import Gate
from integrations.policy import Policy, load_policy
from models.errors import DeniedError
from models.pii import IdNumber, OpenId, Phone, PushToken, RealName, VerificationCode
from tests.integrations.gate.parts import (
    CODE,
    CONFIGURED,
    PHONE,
    MemoryLedger,
    make_attempt,
    make_gate,
    sign,
)
from tests.integrations.recording_server import RecordingServer

LISTED = {"phone": Phone(PHONE), "code": VerificationCode(CODE)}
POLICY: Policy = load_policy()

VALUES = st.one_of(
    st.text(),
    st.integers(),
    st.none(),
    st.booleans(),
    st.sampled_from([CONFIGURED["out_id"], CONFIGURED["sign_name"], PHONE, CODE]),
    st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True).map(Phone),
    st.text("王李张刘陈", min_size=2, max_size=4).map(RealName),
    st.just(IdNumber("99999919900307008X")),
    st.from_regex(r"[A-Za-z0-9_-]{28}", fullmatch=True).map(OpenId),
    st.from_regex(r"[a-z0-9]{11}", fullmatch=True).map(PushToken),
)
NESTED = VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(st.text(), VALUES, max_size=3)


@pytest.fixture
def channel() -> Iterator[tuple[Gate, RecordingServer]]:
    with RecordingServer() as server:
        gate = make_gate(POLICY, MemoryLedger(), server.url)
        yield gate, server
        gate.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extra=st.dictionaries(st.text().filter(lambda name: name not in LISTED), NESTED, max_size=4),
    identity=st.tuples(st.text(max_size=8), st.integers(1, 9), st.integers(1, 9)),
)
@example(extra={"scene": "register", "user": "user-1"}, identity=("sms", 1, 1))
def test_what_is_not_listed_never_changes_the_bytes(
    channel: tuple[Gate, RecordingServer], extra: dict[str, object], identity: tuple[str, int, int]
) -> None:
    gate, server = channel
    server.requests.clear()
    kind, number, fence = identity
    plain = make_attempt(POLICY, held=LISTED)
    wide = make_attempt(POLICY, held={**extra, **LISTED}, kind=kind, number=number, fence=fence)
    operation = POLICY.operation("aliyun.sms.send")

    gate.send(operation.minimize(plain.held, CONFIGURED), sign=sign, attempt=plain)
    try:
        gate.send(operation.minimize(wide.held, CONFIGURED), sign=sign, attempt=wide)
    except DeniedError:
        assert len(server.requests) == 1
    else:
        assert server.requests[0] == server.requests[1]
