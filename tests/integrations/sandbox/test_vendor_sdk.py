"""The vendor's own SDK is the judge of whether the sandbox is faithful."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from alibabacloud_dysmsapi20170525 import models
from alibabacloud_dysmsapi20170525.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException, ThrottlingException
from alibabacloud_tea_openapi.models import Config

from integrations.aliyun.codes import REMEDIES
from integrations.aliyun.receipts import REASONS
from integrations.sandbox.server import SandboxServer
from tests.integrations.sandbox.calling import Caller
from tests.integrations.sandbox.serving import Clock

JOB = "e" * 32


def sdk(server: SandboxServer, *, key: str = "sandbox", secret: str = "sandbox-secret") -> Any:
    return Client(
        Config(
            access_key_id=key,
            access_key_secret=secret,
            security_token="sts-token" if key == "STS.sandbox" else None,
            endpoint=f"127.0.0.1:{server.port}",
            protocol="HTTP",
        )
    )


def a_request(**changes: str) -> Any:
    fields = {
        "phone_numbers": "16400001234",
        "sign_name": "钟久久",
        "template_code": "SMS_164000001",
        "template_param": '{"code":"246810"}',
        "out_id": JOB,
        **changes,
    }
    return models.SendSmsRequest(**fields)


def details(client: Any, clock: Clock) -> Any:
    """What became of today's texts to the number."""
    day = dt.datetime.fromtimestamp(clock(), dt.timezone(dt.timedelta(hours=8)))
    return client.query_send_details(
        models.QuerySendDetailsRequest(
            phone_number="16400001234",
            send_date=day.strftime("%Y%m%d"),
            page_size=10,
            current_page=1,
        )
    ).body


def test_it_sends(server: SandboxServer, caller: Caller) -> None:
    reply = sdk(server).send_sms(a_request())
    assert reply.status_code == 200
    assert (reply.body.code, reply.body.message) == ("OK", "OK")
    assert reply.body.biz_id
    assert reply.body.request_id
    assert caller.seen(JOB) == (1, 1)


def test_it_sends_with_a_temporary_key(server: SandboxServer) -> None:
    reply = sdk(server, key="STS.sandbox", secret="sts-secret").send_sms(a_request())
    assert reply.body.code == "OK"


def test_it_sees_the_limit_of_a_number(server: SandboxServer) -> None:
    client = sdk(server)
    client.send_sms(a_request())
    body = client.send_sms(a_request()).body
    assert (body.code, body.message) == ("isv.BUSINESS_LIMIT_CONTROL", "触发分钟级流控Permits:1")


def test_it_sees_a_bad_template(server: SandboxServer) -> None:
    assert sdk(server).send_sms(a_request(template_code="SMS_1")).body.code == (
        "isv.SMS_TEMPLATE_ILLEGAL"
    )


def test_it_sees_a_wrong_secret(server: SandboxServer) -> None:
    with pytest.raises(ClientException) as caught:
        sdk(server, secret="wrong").send_sms(a_request())
    assert caught.value.code == "SignatureDoesNotMatch"
    assert caught.value.status_code == 400


def test_it_sees_an_unknown_key(server: SandboxServer) -> None:
    with pytest.raises(ClientException) as caught:
        sdk(server, key="nobody").send_sms(a_request())
    assert caught.value.code == "InvalidAccessKeyId.NotFound"


def test_it_sees_throttling_by_the_header(server: SandboxServer, caller: Caller) -> None:
    caller.fault(kind="code", code="Throttling.User", retry_after=1500, times=1)
    with pytest.raises(ThrottlingException) as caught:
        sdk(server).send_sms(a_request())
    assert (caught.value.code, caught.value.retry_after) == ("Throttling.User", 1500)


@pytest.mark.parametrize("code", sorted(REMEDIES))
def test_it_sees_every_code_on_demand(server: SandboxServer, caller: Caller, code: str) -> None:
    code = code.replace(".*", ".Member").replace("*", "Member")
    caller.fault(kind="code", code=code, times=1)
    if code.startswith(("isv.", "isp.")):
        assert sdk(server).send_sms(a_request()).body.code == code
    else:
        with pytest.raises(ClientException) as caught:
            sdk(server).send_sms(a_request())
        assert caught.value.code == code
    assert caller.seen(JOB) == (1, 0)


@pytest.mark.parametrize("code", sorted(REASONS))
def test_it_sees_every_reason_why_a_text_did_not_arrive(
    server: SandboxServer, caller: Caller, clock: Clock, code: str
) -> None:
    caller.fault(kind="undelivered", code=code, times=1)
    client = sdk(server)
    assert client.send_sms(a_request()).body.code == "OK"
    (row,) = details(client, clock).sms_send_detail_dtos.sms_send_detail_dto
    assert (row.send_status, row.err_code) == (2, code)


def test_it_reads_what_became_of_a_text(server: SandboxServer, clock: Clock) -> None:
    client = sdk(server)
    client.send_sms(a_request())
    body = details(client, clock)
    assert (body.code, body.total_count) == ("OK", "1")
    (row,) = body.sms_send_detail_dtos.sms_send_detail_dto
    assert (row.send_status, row.err_code, row.out_id) == (3, "DELIVERED", JOB)


def test_it_sends_a_batch_with_fields_in_query_and_form(server: SandboxServer) -> None:
    body = (
        sdk(server)
        .send_batch_sms(
            models.SendBatchSmsRequest(
                phone_number_json='["16400001234","16400001235"]',
                sign_name_json='["钟久久","钟久久"]',
                template_code="SMS_164000009",
                template_param_json='[{"incident":"2026-1"},{"incident":"2026-1"}]',
            )
        )
        .body
    )
    assert body.code == "OK"
