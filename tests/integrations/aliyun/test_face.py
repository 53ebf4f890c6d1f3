"""Face verification at Aliyun: off without a clause, and with one no image passes through here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from integrations.aliyun import AliyunCredentials
from integrations.aliyun.face import AliyunFace
from integrations.aliyun.identity import IdentityVerdict
from integrations.gate import Gate, Timeouts
from integrations.policy import Policy, load_policy
from integrations.sandbox import sm2_key
from integrations.sandbox.cloudauth import SAMPLE_SCENE
from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer
from integrations.sandbox.sm2_key import open_sm2
from models.attempts import Attempt
from models.disclosures import Disclosure
from models.errors import (
    ConfigurationError,
    GiveUpError,
    InvalidValue,
    RetryError,
    UnknownOutcomeError,
    ZjjError,
)
from models.identifiers import new_id
from models.pii import DeviceInfo, IdNumber, RealName
from tests.faces import write_policy_with_faces
from tests.integrations.recording_server import RecordingServer
from tests.integrations.sandbox.test_cloudauth import id_number
from workers.published import open_policy
from workers.settings import Settings

HOST = "cloudauth.aliyuncs.com"
CREDENTIALS = AliyunCredentials("sandbox", "sandbox-secret")


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policy_with_faces(tmp_path_factory.mktemp("policy"))


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
    yield AliyunFace(gate, CREDENTIALS, scene_id=SAMPLE_SCENE)
    gate.close()


def an_attempt(policy: Policy, sequence: str = "001", **held: object) -> Attempt:
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
            **held,
        },
    )


def begin(face: AliyunFace, policy: Policy, sequence: str = "001") -> str:
    return face.begin(
        an_attempt(policy, sequence),
        order_no=new_id(),
        callback_url="https://workers.example.com/v1/callbacks/aliyun-face/1",
        callback_token="5" * 32,
    )


def ask(face: AliyunFace, policy: Policy, certify_id: str) -> IdentityVerdict | None:
    checked = face.verdict(an_attempt(policy, certify_id=certify_id))
    return None if checked is None else checked.verdict


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
        AliyunFace(gate, CREDENTIALS, scene_id="1")
    gate.close()


@pytest.mark.parametrize(
    ("sequence", "verdict"),
    [
        ("001", IdentityVerdict.MATCH),
        *((f"90{n}", IdentityVerdict.MISMATCH) for n in range(1, 7)),
        ("907", None),
    ],
)
def test_the_verdict_is_what_aliyun_says_when_asked(
    face: AliyunFace, policy: Policy, sequence: str, verdict: IdentityVerdict | None
) -> None:
    assert ask(face, policy, begin(face, policy, sequence)) is verdict


@pytest.mark.parametrize("code", ["403", "424"])
def test_who_has_not_shown_a_face_has_no_verdict_yet(
    face: AliyunFace, policy: Policy, server: SandboxServer, code: str
) -> None:
    certify_id = begin(face, policy)
    server.sandbox.faults.add(Fault(kind="code", code=code, times=1))
    assert ask(face, policy, certify_id) is None


@pytest.mark.parametrize(
    ("code", "error", "ours"),
    [
        ("404", GiveUpError, "provider.scene_refused"),
        ("406", GiveUpError, "provider.scene_refused"),
        ("414", GiveUpError, "provider.device_refused"),
        ("415", GiveUpError, "provider.device_refused"),
        ("416", GiveUpError, "provider.device_refused"),
        ("417", GiveUpError, "provider.source_refused"),
        ("418", GiveUpError, "provider.person_throttled"),
        ("427", GiveUpError, "provider.rules_refused"),
        ("500", RetryError, "provider.unavailable"),
        ("599", UnknownOutcomeError, "provider.outcome_unknown"),
    ],
)
def test_a_refusal_is_no_verdict(
    face: AliyunFace,
    policy: Policy,
    server: SandboxServer,
    code: str,
    error: type[ZjjError],
    ours: str,
) -> None:
    certify_id = begin(face, policy)
    server.sandbox.faults.add(Fault(kind="code", code=code, times=1))
    with pytest.raises(error) as caught:
        ask(face, policy, certify_id)
    assert (caught.value.code, caught.value.provider_code) == (ours, code)


def test_name_and_number_leave_encrypted_and_nothing_else_of_the_person(
    policy: Policy, ledger: MemoryLedger, server: SandboxServer
) -> None:
    with RecordingServer() as recorder:
        gate = Gate(
            policy,
            ledger,
            dial={HOST: recorder.url},
            timeouts=Timeouts(answer=0.5),
            transforms=sm2_key.TRANSFORMS,
        )
        try:
            begin(AliyunFace(gate, CREDENTIALS, scene_id=SAMPLE_SCENE), policy)
        except ZjjError:
            pass
        finally:
            gate.close()
        body = recorder.requests[0].partition(b"\r\n\r\n")[2].decode()
    cells = {name: values[0] for name, values in parse_qs(body).items()}
    assert cells.keys() == {
        "SceneId",
        "OuterOrderNo",
        "ProductCode",
        "CertType",
        "EncryptType",
        "CertName",
        "CertNo",
        "MetaInfo",
        "CallbackUrl",
        "CallbackToken",
    }
    assert (open_sm2(cells["CertName"]), open_sm2(cells["CertNo"])) == ("张三", id_number())
    assert "PictureReturnType" not in cells


def test_no_image_and_nothing_of_the_phone_comes_back(policy: Policy) -> None:
    kept = {
        path
        for name in ("aliyun.face.begin", "aliyun.face.describe")
        for path in policy.operation(name).reply.paths
    }
    assert kept == {
        "Code",
        "RequestId",
        "ResultObject.CertifyId",
        "ResultObject.Passed",
    }


def test_a_verification_that_aliyun_does_not_know_is_an_error(
    face: AliyunFace, policy: Policy
) -> None:
    with pytest.raises(GiveUpError):
        ask(face, policy, "0" * 32)


def test_what_a_phone_says_of_itself_must_be_an_object() -> None:
    with pytest.raises(InvalidValue):
        DeviceInfo("ios")
