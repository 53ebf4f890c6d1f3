from __future__ import annotations

from pathlib import Path

import pytest

from integrations.policy import PACKAGED, Policy, load_policy, widened

OLD = load_policy()
TEXT = PACKAGED.read_text("utf-8")


def _changed(folder: Path, old: str, new: str) -> Policy:
    text = TEXT.replace(old, new, 1)
    assert text != TEXT
    path = folder / "new.toml"
    path.write_text(text, "utf-8")
    return load_policy(path)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            '"dwbillcenter.alipay.com"]',
            '"dwbillcenter.alipay.com", "pay.example.com"]',
            "recipient alipay has a new host pay.example.com",
        ),
        (
            'company = "财付通支付科技有限公司"',
            'company = "另一家公司"',
            "recipient wechat_pay is another company",
        ),
        ("[recipients.china_mobile_auth]", "[recipients.bank]", "recipient bank is new"),
        (
            (
                'product = "微信支付"\nhosts = ["api.mch.weixin.qq.com", "api2.mch.weixin.qq.com"]\n'
                'region = "CN-mainland"\nrole = "independent"'
            ),
            (
                'product = "微信支付"\nhosts = ["api.mch.weixin.qq.com", "api2.mch.weixin.qq.com"]\n'
                'region = "CN-mainland"\nrole = "entrusted"'
            ),
            "recipient wechat_pay changes its role from independent to entrusted",
        ),
        (
            '"user.name" = ',
            '"user.demographic.gender" = { title = "性别" }\n"user.name" = ',
            "category user.demographic.gender is new",
        ),
        (
            ", sensitive = true }",
            " }",
            "category user.government_id.national_identification_number is no longer sensitive",
        ),
        ("[purposes.stability]", "[purposes.credit]", "purpose credit is new"),
        (
            'use = "essential.service.payment_processing"',
            'use = "essential.fraud_detection"',
            (
                "purpose payment changes its use from essential.service.payment_processing"
                " to essential.fraud_detection"
            ),
        ),
        (
            'consent = "consent", pia_ref = "PIA-002"',
            'consent = "none", pia_ref = "PIA-002"',
            "purpose quick_login asks for less consent",
        ),
        (
            'basis = { kind = "consent", law = "个人信息保护法第二十八条',
            'basis = { kind = "contract", law = "个人信息保护法第二十八条',
            "purpose verify_identity changes its basis from consent to contract",
        ),
        ("maps = { title", "atlas = { title", "denied.recipients: maps is no longer denied"),
        (
            '"user.contact.email" = { title = "电子邮箱", reason = "政策没有收集" }\n',
            "",
            "denied.categories: user.contact.email is no longer denied",
        ),
        (
            'Content = { title = "短信全文", reason = "含验证码" }\n',
            "",
            "denied.reply_fields: Content is no longer denied",
        ),
        (
            'OutId = { title = "任务编号(随机)"',
            (
                'SmsUpExtendCode = { title = "上行扩展码", configured = "extend", '
                "pattern = '\\d+', max = 9 }\nOutId = { title = \"任务编号(随机)\""
            ),
            "operation aliyun.sms.send sends a new field SmsUpExtendCode",
        ),
        (
            'configured = "out_id"',
            'configured = "user_id"',
            "operation aliyun.sms.send field OutId takes its value from elsewhere",
        ),
        (
            "pattern = '\\d{4,6}'",
            "pattern = '.{4,6}'",
            "operation aliyun.sms.send field TemplateParam.code has another pattern",
        ),
        (
            "max = 6 }",
            "max = 60 }",
            "operation aliyun.sms.send field TemplateParam.code may be longer",
        ),
        (
            'category = "user.authorization.credentials"',
            'category = "user.name"',
            "operation aliyun.sms.send field TemplateParam.code carries another category",
        ),
        (
            'place = "form"\nnote',
            'place = "query"\nnote',
            "operation aliyun.sms.send field PhoneNumbers moves into the URL",
        ),
        (
            "accept = {",
            'x-device = { title = "x", const = "1" }\naccept = {',
            "operation aliyun.sms.send sends a new header x-device",
        ),
        (
            '"Code", "RequestId"]',
            '"Code", "RequestId", "Region"]',
            "operation aliyun.sms.send keeps a new reply field Region",
        ),
    ],
)
def test_what_a_new_policy_allows_beyond_the_old_is_named(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert sentence in widened(OLD, _changed(tmp_path, old, new))


def test_a_new_operation_is_named(tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    path.write_text(TEXT.replace('"aliyun.sms.query"', '"aliyun.sms.details"'), "utf-8")

    assert widened(OLD, load_policy(path)) == ["operation aliyun.sms.details is new"]


def test_keeping_all_of_what_was_an_excerpt_is_named(tmp_path: Path) -> None:
    text = TEXT.replace('Message = "触发(?:分钟|小时|天)级流控", ', "", 1).replace(
        '"Code", "RequestId"]', '"Code", "RequestId", "Message"]', 1
    )
    path = tmp_path / "new.toml"
    path.write_text(text, "utf-8")

    assert widened(OLD, load_policy(path)) == [
        "operation aliyun.sms.send keeps the whole of Message"
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('consent = "none", pia_ref = "PIA-005"', 'consent = "consent", pia_ref = "PIA-005"'),
        ('hosts = ["api.jpush.cn", "bjapi.push.jiguang.cn"]', 'hosts = ["api.jpush.cn"]'),
        (", BizId = '\\d{1,20}\\^\\d{1,5}' }", " }"),
        ("max = 512 }", "max = 400 }"),
        ('title = "钟久久隐私政策"', 'title = "隐私政策"'),
        (
            "maps = { title",
            'bank = { title = "银行", reason = "没有提及" }\nmaps = { title',
        ),
    ],
)
def test_what_only_narrows_or_renames_needs_nothing(tmp_path: Path, old: str, new: str) -> None:
    assert widened(OLD, _changed(tmp_path, old, new)) == []
