"""The packaged policy says what the published text and our own limits say."""

from __future__ import annotations

import pytest

from integrations.policy import Policy, load_policy, widened
from models.errors import ConfigurationError
from models.pii import PERSONAL_TYPES, DeviceInfo, Personal

POLICY = load_policy()


def test_it_is_the_policy_in_force_since_2023() -> None:
    assert POLICY.version.startswith("2023-01-01.")


@pytest.mark.parametrize("kind", PERSONAL_TYPES)
def test_every_personal_type_has_a_category_with_a_title(kind: type[Personal]) -> None:
    listed = POLICY.categories.get(kind.category) or POLICY.denied.categories[kind.category]
    assert listed.title


def test_what_a_phone_says_of_itself_has_no_place_in_the_published_policy() -> None:
    assert DeviceInfo.category in POLICY.denied.categories


def test_everything_stays_in_mainland_china() -> None:
    assert {recipient.region for recipient in POLICY.recipients.values()} == {"CN-mainland"}


def test_recipients_that_the_published_text_does_not_name_are_shown() -> None:
    unnamed = {key for key, entry in POLICY.recipients.items() if not entry.named_in_policy}

    assert unnamed == {"aliyun_sms", "aliyun_identity", "jiguang_verification", "statistics"}
    assert {"sms_gateway_unnamed", "identity_verifier_unnamed", "face", "retention"} <= set(
        POLICY.gaps
    )


def test_all_recipients_of_the_matrix_are_declared() -> None:
    hosts = {host for entry in POLICY.recipients.values() for host in entry.hosts}

    assert hosts == {
        "dysmsapi.aliyuncs.com",
        "dypnsapi.aliyuncs.com",
        "cloudauth.aliyuncs.com",
        "cloudauth.cn-shanghai.aliyuncs.com",
        "cloudauth.cn-beijing.aliyuncs.com",
        "api.jpush.cn",
        "bjapi.push.jiguang.cn",
        "push-api.cloud.huawei.com",
        "oauth-login.cloud.huawei.com",
        "api.weixin.qq.com",
        "api.verification.jpush.cn",
        "api.mch.weixin.qq.com",
        "api2.mch.weixin.qq.com",
        "openapi.alipay.com",
        "dwbillcenter.alipay.com",
    }


@pytest.mark.parametrize("recipient", ["logistics", "maps", "insurance_claims", "marketing"])
def test_recipients_that_are_denied_are_stated(recipient: str) -> None:
    assert POLICY.denied.recipients[recipient].reason
    assert recipient not in POLICY.recipients


@pytest.mark.parametrize(
    "category",
    ["user.contact.address", "user.content.self_image", "user.device.hardware", "user.biometric"],
)
def test_categories_that_are_denied_are_stated(category: str) -> None:
    assert POLICY.denied.categories[category].reason


def test_identity_is_sensitive_and_needs_separate_consent() -> None:
    assert POLICY.categories["user.government_id.national_identification_number"].sensitive
    assert POLICY.purposes["verify_identity"].basis.consent == "separate"


def test_there_is_no_marketing() -> None:
    assert not any(purpose.use.startswith("marketing") for purpose in POLICY.purposes.values())


def test_the_sms_operation_is_row_one_of_the_matrix() -> None:
    operation = POLICY.operation("aliyun.sms.send")

    assert set(operation.fields) == {
        "PhoneNumbers",
        "SignName",
        "TemplateCode",
        "TemplateParam.code",
        "OutId",
    }
    assert operation.categories == ("user.contact.phone_number", "user.authorization.credentials")
    assert set(operation.reply.keep) == {"Code", "RequestId"}
    assert operation.body == "form", "a phone number has no place in a URL"


def test_the_query_keeps_what_reconciliation_needs_and_no_text() -> None:
    operation = POLICY.operation("aliyun.sms.query")

    assert operation.categories == ("user.contact.phone_number",)
    assert not any("Content" in path or "PhoneNum" in path for path in operation.reply.keep)


def test_an_operation_tells_apart_what_each_side_decides() -> None:
    sms, refund = POLICY.operation("aliyun.sms.send"), POLICY.operation("alipay.refund")

    assert sms.held_names == {"phone", "code"}
    assert sms.configured_names == {"sign_name", "template_code", "out_id"}
    assert sms.constants == ("/", "application/json", "SendSms", "2017-05-25")
    assert sms.nested == {"TemplateParam"}
    assert sms.signed_names == frozenset()
    assert refund.signed_names == {"timestamp", "sign"}
    assert {"JSON", "utf-8", "RSA2", "1.0"} <= {*refund.constants}
    assert [refund.fields[name].source for name in ("app_id", "format", "sign")] == [
        "app_id",
        "",
        "",
    ]


def test_a_signature_must_be_there_and_only_what_is_said_to_be_may_be_missing() -> None:
    headers = POLICY.operation("aliyun.sms.send").headers
    optional = [name for name, header in headers.items() if not header.required]
    assert optional == ["x-acs-security-token"]


def test_an_operation_has_one_body_or_none() -> None:
    bodies = {name: POLICY.operation(name).body for name in ("alipay.refund", "jiguang.push.send")}
    assert bodies == {"alipay.refund": "form", "jiguang.push.send": "json"}
    assert POLICY.operation("wechat_pay.order.query").body is None


def test_an_answer_is_read_up_to_a_quarter_of_a_mebibyte_where_nothing_else_is_said() -> None:
    assert POLICY.operation("aliyun.sms.send").reply.largest == 256 * 1024


def test_an_operation_that_nobody_declared_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="jpush"):
        POLICY.operation("jpush.push")


def test_a_loaded_policy_does_not_change() -> None:
    with pytest.raises(TypeError):
        POLICY.operations["x"] = POLICY.operation("aliyun.sms.send")  # type: ignore[index]
    with pytest.raises(ValueError, match="frozen"):
        POLICY.version = "2024-01-01.1"  # type: ignore[misc]


def test_it_does_not_widen_itself() -> None:
    again: Policy = load_policy()

    assert widened(POLICY, again) == []
