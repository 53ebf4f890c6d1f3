"""Aliyun's identity verification (Cloudauth 2019-03-07), played in memory.

Parameters and answers: alibabacloud-cloudauth20190307 3.14.0; codes: help.aliyun.com, "身份二要素核验",
"手机号三要素核验_简版" and the face verification pages of the product. ``Code`` tells whether the call
was served, ``BizCode`` whether name and number belong together.

Who exists is decided by the three digits before the check digit, so that a test chooses its person:
901 to 906 fail a face verification with SubCode 201 to 206, 907 never finishes one; 902 is nobody
of that name (BizCode 2) and 903 is in no record (BizCode 3). Everybody else is who they say.

Stricter than the real one in three points: a parameter that the operation does not have is refused,
because it would be personal data that left for nothing; so is MD5, of which nobody can tell whom it
is about; and so is an OuterOrderNo that was seen before, because what that means is written nowhere.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stdnum.cn import ric

from integrations.sandbox.acs3 import Refusal
from integrations.sandbox.face_calls import FaceCaller
from integrations.sandbox.frequency import Frequency, Limit
from integrations.sandbox.rpc import RpcProvider
from integrations.sandbox.sm2_key import open_sm2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from integrations.sandbox.config import SandboxConfig
    from integrations.sandbox.rpc import Operation

__all__ = ["SAMPLE_FACE", "SAMPLE_SCENE", "CloudauthProvider"]

SAMPLE_SCENE = "1000000006"
SAMPLE_FACE = "5a" * 16
"""A verification that is always there, and passed."""

_MISSING, _INVALID, _TOO_OFTEN = "400", "401", "403"
_UNFINISHED, _NO_SUCH_SCENE, _NO_SUCH_CHECK = "403", "404", "406"
_NAME = re.compile(r"[\u3400-\u9fff\U00020000-\U000323af·]{2,30}")
_NUMBER = re.compile(r"1[3-9][0-9]{9}")
_BIZ_CODES = {"902": "2", "903": "3"}
_SUB_CODES = {f"90{last}": f"20{last}" for last in range(1, 7)}
_NEVER_FINISHES = "907"
_SCENE = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class _Face:
    scene: str
    sequence: str = field(repr=False)
    shown_at: float = 0.0

    @property
    def sub_code(self) -> str:
        return _SUB_CODES.get(self.sequence, "200")


class CloudauthProvider(RpcProvider):
    """Tells whether names, numbers and faces belong together."""

    name = "aliyun_identity"
    hosts = frozenset(
        {
            "cloudauth.aliyuncs.com",
            "cloudauth.cn-shanghai.aliyuncs.com",
            "cloudauth.cn-beijing.aliyuncs.com",
        }
    )
    version = "2019-03-07"
    own_codes = tuple("2345")
    success = "200"

    def __init__(self, config: SandboxConfig, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(config, clock=clock)
        self.limits = config.limits
        self._per_person = Frequency(Limit("天级", 86400, 10), clock=clock)
        self._faces = {SAMPLE_FACE: _Face(SAMPLE_SCENE, "001")}
        self._orders: set[str] = set()
        self._caller = FaceCaller(config.face_callback_url)

    @property
    def operations(self) -> Mapping[str, Operation]:
        """By the name of the action."""
        return {
            "Id2MetaVerify": self._two_factors,
            "Mobile3MetaSimpleVerify": self._three_factors,
            "InitFaceVerify": self._begin_face,
            "DescribeFaceVerify": self._describe_face,
        }

    def reset(self) -> None:
        """Forget people, faces and nonces."""
        super().reset()
        self.limits = self._config.limits
        self._per_person.clear()
        self._faces = {SAMPLE_FACE: _Face(SAMPLE_SCENE, "001")}
        self._orders.clear()
        self._caller.clear()

    def _two_factors(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        del undelivered
        _take(given, "ParamType", "IdentifyNum", "UserName")
        return {"ResultObject": {"BizCode": self._verdict(_opened(given))}}

    def _three_factors(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        del undelivered
        _take(given, "ParamType", "IdentifyNum", "UserName", "Mobile")
        opened = _opened(given)
        if not _NUMBER.fullmatch(opened["Mobile"]):
            raise _refusal(_INVALID)
        verdict = self._verdict(opened)
        return {"ResultObject": {"BizCode": verdict, "IspName": "CMCC"}}

    def _begin_face(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        del undelivered
        needed = ("SceneId", "OuterOrderNo", "ProductCode", "CertType", "CertName", "CertNo")
        optional = ("CallbackUrl", "CallbackToken", "Model", "EncryptType")
        _take(given, *needed, "MetaInfo", optional=optional)
        if not _SCENE.fullmatch(given["SceneId"]):
            raise _refusal(_NO_SUCH_SCENE)
        if not re.fullmatch(r"[A-Za-z0-9]{1,32}", given["OuterOrderNo"]):
            raise _refusal(_INVALID)
        if given["ProductCode"] != "ID_PRO" or given["CertType"] != "IDENTITY_CARD":
            raise _refusal(_INVALID)
        name, number = given["CertName"], given["CertNo"]
        if (encryption := given.get("EncryptType")) is not None:
            if encryption != "SM2":
                raise _refusal(_INVALID)
            name, number = _open(name), _open(number)
        _check_person(name, number)
        if given["OuterOrderNo"] in self._orders:
            raise _refusal(_INVALID)
        self._orders.add(given["OuterOrderNo"])
        certify_id = secrets.token_hex(16)
        seconds = self._config.face_seconds
        face = _Face(given["SceneId"], number[14:17], self._clock() + seconds)
        self._faces[certify_id] = face
        if (callback := given.get("CallbackUrl")) and face.sequence != _NEVER_FINISHES:
            told = {"certifyId": certify_id, "passed": face.sub_code}
            if token := given.get("CallbackToken"):
                told["callbackToken"] = token
            self._caller.add(callback, told, seconds=seconds)
        url = f"https://picdata-test.example/index.html?certifyId={certify_id}"
        return {"ResultObject": {"CertifyId": certify_id, "CertifyUrl": url}}

    def _describe_face(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        del undelivered
        _take(given, "SceneId", "CertifyId", optional=("PictureReturnType",))
        face = self._faces.get(given["CertifyId"])
        if face is None or face.scene != given["SceneId"]:
            raise _refusal(_NO_SUCH_CHECK)
        if face.sequence == _NEVER_FINISHES or self._clock() < face.shown_at:
            raise _refusal(_UNFINISHED)
        sub_code = face.sub_code
        return {
            "ResultObject": {
                "Passed": "T" if sub_code == "200" else "F",
                "SubCode": sub_code,
                "IdentityInfo": "null",
                "DeviceToken": secrets.token_hex(16),
                "MaterialInfo": '{"facePictureUrl":"https://picdata-test.example/face.jpg"}',
            }
        }

    def _verdict(self, given: Mapping[str, str]) -> str:
        _check_person(given["UserName"], given["IdentifyNum"])
        if self.limits:
            if self._per_person.exceeded(given["IdentifyNum"]):
                raise _refusal(_TOO_OFTEN)
            self._per_person.count(given["IdentifyNum"])
        return _BIZ_CODES.get(given["IdentifyNum"][14:17], "1")


_MESSAGES = {
    "400": "参数不能为空",
    "401": "参数非法",
    "403": "异常重复调用",
    "404": "认证场景配置不存在",
    "406": "无效的CertifyId",
}


def _refusal(code: str) -> Refusal:
    return Refusal(code, _MESSAGES[code])


def _take(given: Mapping[str, str], *needed: str, optional: tuple[str, ...] = ()) -> None:
    if not all(given.get(name) for name in needed):
        raise _refusal(_MISSING)
    if given.keys() - {*needed, *optional}:
        raise _refusal(_INVALID)


def _opened(given: Mapping[str, str]) -> dict[str, str]:
    """The parameters in clear."""
    match given["ParamType"]:
        case "normal":
            return dict(given)
        case "sm2":
            return {name: v if name == "ParamType" else _open(v) for name, v in given.items()}
        case _:
            raise _refusal(_INVALID)


def _open(sealed: str) -> str:
    try:
        return open_sm2(sealed)
    except ValueError:
        raise _refusal(_INVALID) from None


def _check_person(name: str, number: str) -> None:
    if (
        not _NAME.fullmatch(name)
        or not re.fullmatch(r"[0-9]{17}[0-9X]", number)
        or ric.calc_check_digit(number) != number[-1]
    ):
        raise _refusal(_INVALID)
