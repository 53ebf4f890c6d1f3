"""Identity verification in the sandbox, judged by the vendor's own SDK."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from alibabacloud_cloudauth20190307 import models
from alibabacloud_cloudauth20190307.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.models import Config
from stdnum.cn import ric

from integrations.sandbox.server import SandboxServer
from integrations.sandbox.sm2_key import PUBLIC_KEY
from integrations.sm2 import ALIYUN_KEY, Sm2Cipher
from tests.integrations.sandbox.calling import Caller

NAME = "张三"
PHONE = "16400001234"
SEAL = Sm2Cipher(PUBLIC_KEY)


def id_number(sequence: str = "001") -> str:
    head = f"99999919900101{sequence}"
    return head + str(ric.calc_check_digit(head + "0"))


@pytest.fixture
def sdk(server: SandboxServer) -> Any:
    return Client(
        Config(
            access_key_id="sandbox",
            access_key_secret="sandbox-secret",
            endpoint=f"127.0.0.1:{server.port}",
            protocol="HTTP",
        )
    )


def two_factors(sdk: Any, **changes: str) -> Any:
    fields = {
        "param_type": "normal",
        "user_name": NAME,
        "identify_num": id_number(),
        **changes,
    }
    return sdk.id_2meta_verify(models.Id2MetaVerifyRequest(**fields)).body


def three_factors(sdk: Any, **changes: str) -> Any:
    fields = {
        "param_type": "normal",
        "user_name": NAME,
        "identify_num": id_number(),
        "mobile": PHONE,
        **changes,
    }
    return sdk.mobile_3meta_simple_verify(models.Mobile3MetaSimpleVerifyRequest(**fields)).body


def begin_face(sdk: Any, sequence: str = "001", **changes: str) -> str:
    body = sdk.init_face_verify(
        models.InitFaceVerifyRequest(
            scene_id=1000000006,
            outer_order_no=secrets.token_hex(16),
            product_code="ID_PRO",
            cert_type="IDENTITY_CARD",
            meta_info="{}",
            **{"cert_name": NAME, "cert_no": id_number(sequence), **changes},
        )
    ).body
    assert body.code == "200"
    certify_id: str = body.result_object.certify_id
    return certify_id


def describe_face(sdk: Any, certify_id: str) -> Any:
    return sdk.describe_face_verify(
        models.DescribeFaceVerifyRequest(scene_id=1000000006, certify_id=certify_id)
    ).body


@pytest.mark.parametrize("check", [two_factors, three_factors])
@pytest.mark.parametrize(("sequence", "verdict"), [("001", "1"), ("902", "2"), ("903", "3")])
def test_the_sdk_reads_each_verdict(sdk: Any, check: Any, sequence: str, verdict: str) -> None:
    body = check(sdk, identify_num=id_number(sequence))
    assert (body.code, body.result_object.biz_code) == ("200", verdict)
    assert body.request_id


def test_the_simple_form_tells_the_carrier_as_the_real_one_does(sdk: Any) -> None:
    assert three_factors(sdk).result_object.isp_name == "CMCC"


SEALED = {
    "param_type": "sm2",
    "user_name": SEAL.encrypt(NAME),
    "identify_num": SEAL.encrypt(id_number("902")),
    "mobile": SEAL.encrypt(PHONE),
}


def test_the_sdk_hands_over_what_was_encrypted(sdk: Any) -> None:
    without_phone = {name: value for name, value in SEALED.items() if name != "mobile"}
    assert two_factors(sdk, **without_phone).result_object.biz_code == "2"
    assert three_factors(sdk, **SEALED).result_object.biz_code == "2"


@pytest.mark.parametrize(
    "changes",
    [
        {"mobile": PHONE},
        {"mobile": SEAL.encrypt("16400")},
        {"user_name": Sm2Cipher(ALIYUN_KEY).encrypt(NAME)},
        {"identify_num": SEAL.encrypt(id_number())[:-4]},
    ],
)
def test_what_is_not_encrypted_for_it_is_refused(sdk: Any, changes: dict[str, str]) -> None:
    assert three_factors(sdk, **(SEALED | changes)).code == "401"


@pytest.mark.parametrize("check", [two_factors, three_factors])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"user_name": ""}, "400"),
        ({"identify_num": ""}, "400"),
        ({"param_type": ""}, "400"),
        ({"user_name": "张3"}, "401"),
        ({"identify_num": id_number()[:-1] + "0"}, "401"),
        ({"param_type": "md5"}, "401"),
    ],
)
def test_what_is_missing_or_malformed_is_refused(
    sdk: Any, check: Any, changes: dict[str, str], code: str
) -> None:
    body = check(sdk, **changes)
    assert (body.code, body.result_object) == (code, None)


def test_a_phone_that_cannot_be_one_is_refused(sdk: Any) -> None:
    assert three_factors(sdk, mobile="16400").code == "401"


def test_a_field_too_many_is_refused(caller: Caller) -> None:
    fields = {"ParamType": "normal", "UserName": NAME, "IdentifyNum": id_number()}
    reply = caller.call(
        "Id2MetaVerify",
        {**fields, "Mobile": PHONE},
        version="2019-03-07",
        host="cloudauth.aliyuncs.com",
    )
    assert reply.json()["Code"] == "401"


def test_the_same_person_again_and_again_is_refused(sdk: Any) -> None:
    codes = [two_factors(sdk).code for _ in range(11)]
    assert codes == ["200"] * 10 + ["403"]


@pytest.mark.parametrize("code", ["402", "405", "410", "411", "412", "500"])
def test_every_other_code_comes_on_demand(sdk: Any, caller: Caller, code: str) -> None:
    caller.fault(kind="code", code=code, times=1)
    assert two_factors(sdk).code == code


def test_a_wrong_secret_is_refused_at_the_door(server: SandboxServer) -> None:
    config = Config(
        access_key_id="sandbox",
        access_key_secret="wrong",
        endpoint=f"127.0.0.1:{server.port}",
        protocol="HTTP",
    )
    with pytest.raises(ClientException) as caught:
        two_factors(Client(config))
    assert caught.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("sequence", "passed", "sub_code"),
    [("001", "T", "200"), *((f"90{n}", "F", f"20{n}") for n in range(1, 7))],
)
def test_the_sdk_reads_what_became_of_a_face(
    sdk: Any, sequence: str, passed: str, sub_code: str
) -> None:
    result = describe_face(sdk, begin_face(sdk, sequence)).result_object
    assert (result.passed, result.sub_code) == (passed, sub_code)


def test_the_sdk_begins_with_what_was_encrypted(sdk: Any) -> None:
    certify_id = begin_face(
        sdk,
        encrypt_type="SM2",
        cert_name=SEAL.encrypt(NAME),
        cert_no=SEAL.encrypt(id_number("904")),
    )
    assert describe_face(sdk, certify_id).result_object.sub_code == "204"


@pytest.mark.parametrize(
    "code", ["403", "404", "406", "414", "415", "416", "417", "418", "424", "427", "500"]
)
def test_every_code_about_faces_comes_on_demand(sdk: Any, caller: Caller, code: str) -> None:
    certify_id = begin_face(sdk)
    caller.fault(kind="code", code=code, times=1)
    assert describe_face(sdk, certify_id).code == code


def test_an_unfinished_or_unknown_face_has_no_result(sdk: Any) -> None:
    assert describe_face(sdk, begin_face(sdk, "907")).code == "403"
    assert describe_face(sdk, "0" * 32).code == "406"
