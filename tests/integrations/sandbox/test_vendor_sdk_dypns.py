"""The vendor's own SDK against the sandbox's number authentication."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from alibabacloud_dypnsapi20170525 import models
from alibabacloud_dypnsapi20170525.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.models import Config

from integrations.aliyun.codes import SMS_AUTH_REMEDIES
from integrations.sandbox.server import SandboxServer
from tests.integrations.sandbox.calling import Caller

JOB = "d" * 32


@pytest.fixture
def client(server: SandboxServer) -> Any:
    return Client(
        Config(
            access_key_id="sandbox",
            access_key_secret="sandbox-secret",
            endpoint=f"127.0.0.1:{server.port}",
            protocol="HTTP",
        )
    )


def send(client: Any) -> Any:
    return client.send_sms_verify_code(
        models.SendSmsVerifyCodeRequest(
            phone_number="16400001234",
            sign_name="速通互联验证码",
            template_code="100001",
            template_param='{"code":"##code##","min":"5"}',
            out_id=JOB,
        )
    )


def check(client: Any, code: str) -> Any:
    return client.check_sms_verify_code(
        models.CheckSmsVerifyCodeRequest(phone_number="16400001234", verify_code=code)
    )


def test_it_sends_a_code_and_has_it_checked(client: Any, caller: Caller) -> None:
    sent = send(client).body
    assert (sent.code, sent.success, sent.model.out_id) == ("OK", True, JOB)
    assert sent.model.verify_code is None
    (code,) = caller.http.get("/_sandbox/codes", params={"reference": JOB}).json()["codes"]
    checked = check(client, code).body
    assert (checked.code, checked.model.verify_result) == ("OK", "PASS")


def test_it_raises_for_a_wrong_code(client: Any) -> None:
    send(client)
    with pytest.raises(ClientException) as caught:
        check(client, "00000")
    assert (caught.value.code, caught.value.status_code) == ("isv.ValidateFail", 400)


def test_it_sees_the_interval(client: Any) -> None:
    send(client)
    body = send(client).body
    assert (body.code, body.success) == ("biz.FREQUENCY", False)


@pytest.mark.parametrize("code", sorted(SMS_AUTH_REMEDIES))
@pytest.mark.parametrize("call", [send, lambda client: check(client, "246810")])
def test_it_sees_every_code_on_demand(
    client: Any, caller: Caller, call: Callable[[Any], Any], code: str
) -> None:
    code = code.replace(".*", ".Member").replace("*", "Member")
    caller.fault(kind="code", code=code, times=1)
    if code.startswith(("isv.", "isp.", "biz.")):
        body = call(client).body
        assert (body.code, body.success) == (code, False)
    else:
        with pytest.raises(ClientException) as caught:
            call(client)
        assert caught.value.code == code
