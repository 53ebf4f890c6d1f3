"""Face verification: off without a clause, and with one no image and no token of others counts."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.aliyun import AliyunCredentials
from integrations.aliyun.face import AliyunFace, FaceVerdict
from integrations.gate import Gate, Timeouts
from integrations.policy import PACKAGED, Policy, load_policy
from integrations.sandbox import sm2_key
from integrations.sandbox.server import SandboxServer
from models.attempts import Attempt
from models.disclosures import Disclosure
from models.errors import ConfigurationError, DeniedError, GiveUpError, InvalidValue
from models.identifiers import new_id
from models.pii import DeviceInfo, IdNumber, RealName
from tests.integrations.sandbox.test_cloudauth import id_number
from workers.published import open_policy
from workers.settings import Settings

ANNEX = PACKAGED.with_name("annex_face_verification.toml")
HOST = "cloudauth.aliyuncs.com"


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged policy with a clause about faces, as a later text might have it."""
    lines = PACKAGED.read_text("utf-8").splitlines()
    kept = [
        line
        for line in lines
        if not line.startswith(("face_verification = ", '"user.device.telemetry" = '))
    ]
    text = "\n".join(kept)
    text = re.sub(r'version = "2023-01-01\.\d+"', 'version = "2027-01-01.1"', text)
    clause = '  { id = "一(1)7", gist = "人脸信息:经单独同意,用于验证真实身份" },\n'
    text = text.replace('  { id = "一(2)1"', clause + '  { id = "一(2)1"', 1)
    annex = ANNEX.read_text("utf-8").replace("clauses = []", 'clauses = ["一(1)7"]')
    file = tmp_path_factory.mktemp("policy") / "with_a_clause.toml"
    file.write_text(f"{text}\n{annex}", "utf-8")
    return file


@pytest.fixture(scope="module")
def policy(policy_file: Path) -> Policy:
    return load_policy(policy_file)


class MemoryLedger:
    def __init__(self) -> None:
        self.rows: list[Disclosure] = []

    def record(self, disclosure: Disclosure) -> None:
        self.rows.append(disclosure)


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def face(policy: Policy, ledger: MemoryLedger, server: SandboxServer) -> Iterator[AliyunFace]:
    gate = Gate(
        policy,
        ledger,
        dial={HOST: server.url},
        timeouts=Timeouts(answer=0.5),
        transforms=sm2_key.TRANSFORMS,
    )
    yield AliyunFace(
        gate,
        AliyunCredentials("sandbox", "sandbox-secret"),
        scene_id="1000000006",
        callback_url="https://workers.example.com/face",
    )
    gate.close()


def an_attempt(policy: Policy, sequence: str = "001") -> Attempt:
    return Attempt(
        job_id=new_id(),
        kind="face",
        number=1,
        fence=1,
        worker_id="worker",
        backend="shop",
        policy_version=policy.version,
        expires_at=None,
        consent_ref="consent-1",
        held={
            "name": RealName("张三"),
            "id_number": IdNumber(id_number(sequence)),
            "meta_info": DeviceInfo('{"deviceType":"ios"}'),
        },
    )


def test_a_start_with_it_and_without_a_clause_fails_with_that_sentence(tmp_path: Path) -> None:
    sentence = "no clause of the published policy permits face verification"
    with pytest.raises(ConfigurationError, match=sentence):
        open_policy(Settings(data=tmp_path, face_verification=True))
    assert "aliyun.face.begin" not in open_policy(Settings(data=tmp_path)).operations


def test_a_policy_file_that_has_the_clause_switches_it_on(
    tmp_path: Path, policy_file: Path
) -> None:
    settings = Settings(data=tmp_path, face_verification=True, policy_file=policy_file)
    policy = open_policy(settings)
    assert policy.purposes["face_verification"].basis.consent == "separate"
    assert {"aliyun.face.begin", "aliyun.face.describe"} <= set(policy.operations)


def test_the_published_policy_has_no_such_operation(server: SandboxServer) -> None:
    gate = Gate(load_policy(), MemoryLedger(), dial={HOST: server.url})
    with pytest.raises(ConfigurationError, match=r"no operation aliyun\.face"):
        AliyunFace(gate, AliyunCredentials("a", "b"), scene_id="1", callback_url="https://x/y")
    gate.close()


@pytest.mark.parametrize(
    ("sequence", "verdict"),
    [
        ("001", FaceVerdict.PASSED),
        *((f"90{n}", FaceVerdict.FAILED) for n in range(1, 7)),
        ("907", FaceVerdict.UNFINISHED),
    ],
)
def test_the_verdict_is_what_aliyun_says_when_asked(
    face: AliyunFace, policy: Policy, sequence: str, verdict: FaceVerdict
) -> None:
    attempt, token = an_attempt(policy, sequence), secrets.token_hex(16)
    certify_id = face.begin(attempt, callback_token=token)
    found = face.confirm(attempt, certify_id, expected_token=token, received_token=token)
    assert found is verdict


def test_a_callback_with_another_token_is_not_even_asked_about(
    face: AliyunFace, policy: Policy, server: SandboxServer
) -> None:
    attempt, token = an_attempt(policy), secrets.token_hex(16)
    certify_id = face.begin(attempt, callback_token=token)
    for received in ("", secrets.token_hex(16), token[:-1]):
        with pytest.raises(DeniedError) as caught:
            face.confirm(attempt, certify_id, expected_token=token, received_token=received)
        assert caught.value.code == "callback.bad_token"
    assert server.sandbox.journal.totals()["requests"] == 1


def test_no_image_and_nothing_of_the_phone_comes_back(policy: Policy) -> None:
    kept = {
        path
        for name in ("aliyun.face.begin", "aliyun.face.describe")
        for path in policy.operation(name).reply.paths
    }
    assert kept == {"Code", "RequestId", "ResultObject.CertifyId", "ResultObject.Passed"}


def test_a_verification_that_aliyun_does_not_know_is_an_error(
    face: AliyunFace, policy: Policy
) -> None:
    with pytest.raises(GiveUpError):
        face.verdict(an_attempt(policy), "0" * 32)


def test_what_a_phone_says_of_itself_must_be_an_object() -> None:
    with pytest.raises(InvalidValue):
        DeviceInfo("ios")
