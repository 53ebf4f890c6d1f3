from __future__ import annotations

from pathlib import Path

import pytest

from integrations.policy import PACKAGED, Policy, PolicyError, load_policy, widened

OLD = load_policy()
TEXT = PACKAGED.read_text("utf-8")


def _changed(folder: Path, old: str, new: str) -> Policy:
    text = TEXT.replace(old, new, 1)
    assert text != TEXT
    path = folder / "new.toml"
    path.write_text(text, "utf-8")
    return load_policy(path)


# Where an operation of its own begins, so that one of its lines can be changed.
QUERY = """\
recipient = "aliyun_sms"
purpose = "verify_phone"
host = "dysmsapi.aliyuncs.com"
method = "POST"
path = "/"
place = "form" # as for aliyun.sms.send
"""
QUICK_LOGIN = (
    'basis = { kind = "consent", law = "个人信息保护法第十三条第一款第一项", '
    'consent = "consent", pia_ref = "PIA-002"'
)


def _widened(folder: Path, old: str, new: str) -> list[str]:
    """What the new file allows beyond the old one, whatever else is wrong with it."""
    path = folder / "new.toml"
    text = TEXT.replace(old, new, 1)
    assert text != TEXT
    path.write_text(text, "utf-8")
    with pytest.raises(PolicyError) as refused:
        load_policy(path, against=OLD)
    return [each.reason.removeprefix("widened: ") for each in refused.value.problems]


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
            QUICK_LOGIN,
            QUICK_LOGIN.replace('"consent"', '"contract"', 1).replace('"consent"', '"none"'),
            "purpose quick_login asks for less consent",
        ),
        (
            'consent = "separate", pia_ref = "PIA-003"',
            'consent = "consent", pia_ref = "PIA-003"',
            "purpose verify_identity asks for less consent",
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
        (
            "BizId = '\\d{1,20}\\^\\d{1,5}'",
            "BizId = '.*'",
            "operation aliyun.sms.send keeps another excerpt of BizId",
        ),
        (
            "BizId = '\\d{1,20}\\^\\d{1,5}'",
            "Region = '.*'",
            "operation aliyun.sms.send keeps another excerpt of Region",
        ),
        (
            "reply.personal = { ",
            'reply.personal = { "Other.Mobile" = "phone", ',
            "operation aliyun.login.phone keeps Other.Mobile as somebody's",
        ),
        (
            '"retry-after"]',
            '"retry-after", "x-request-source"]',
            "operation aliyun.sms.send keeps a new reply header x-request-source",
        ),
        (
            'accept = { title = "回复格式", const = "application/json" }',
            'accept = { title = "回复格式", const = "application/xml" }',
            "operation aliyun.sms.send header accept has another constant",
        ),
        (
            'accept = { title = "回复格式", const = "application/json" }',
            "accept = { title = \"回复格式\", signed = '.*', max = 9 }",
            "operation aliyun.sms.send header accept is signed in another shape",
        ),
        (
            'const = "50"',
            'const = "500"',
            "operation aliyun.sms.query field PageSize has another constant",
        ),
        (
            'from = "phone"',
            'from = "recipient"',
            "operation aliyun.sms.send field PhoneNumbers takes its value from elsewhere",
        ),
        (
            "OutId = { title",
            'OutId = { place = "path", title',
            "operation aliyun.sms.send field OutId moves into the URL",
        ),
        (
            'category = "user.contact.phone_number", transform = "raw"',
            'category = "user.contact.phone_number", transform = "sm2"',
            "operation aliyun.sms.send field PhoneNumbers is transformed differently",
        ),
        (
            "profiling = { title",
            "scoring = { title",
            "denied.purposes: profiling is no longer denied",
        ),
        (
            QUERY,
            QUERY.replace("aliyun_sms", "alipay"),
            "operation aliyun.sms.query changes its recipient",
        ),
        (
            QUERY,
            QUERY.replace("verify_phone", "payment"),
            "operation aliyun.sms.query changes its purpose",
        ),
        (
            QUERY,
            QUERY.replace("dysmsapi.aliyuncs.com", "openapi.alipay.com"),
            "operation aliyun.sms.query changes its host",
        ),
        (
            QUERY,
            QUERY.replace('path = "/"', 'path = "/details"'),
            "operation aliyun.sms.query changes its path",
        ),
        (
            'method = "GET"\npath = "/v3/pay/transactions',
            'method = "POST"\npath = "/v3/pay/transactions',
            "operation wechat_pay.order.query changes its method",
        ),
        (
            'max = 64, required = false }\n"data.state"',
            'max = 64 }\n"data.state"',
            "operation backend.webhook field data.refund_no can no longer be left out",
        ),
    ],
)
def test_what_a_new_policy_allows_beyond_the_old_is_named(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert sentence in _widened(tmp_path, old, new)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"dwbillcenter.alipay.com"]', '"a.example.com"]', "[recipients.alipay]"),
        (
            QUICK_LOGIN,
            QUICK_LOGIN.replace('"consent"', '"contract"', 1).replace('"consent"', '"none"'),
            "[purposes.quick_login]",
        ),
        ('"user.name" = ', '"user.x" = { title = "x" }\n"user.name" = ', '"user.x" = '),
        (
            ", sensitive = true }",
            " }",
            '"user.government_id.national_identification_number" =',
        ),
        ("maps = { title", "atlas = { title", "[denied.recipients]"),
        (QUERY, QUERY.replace("verify_phone", "payment"), 'purpose = "payment"\nhost = "dysms'),
        ("OutId = {", 'X = { title = "x", const = "1" }\nOutId = {', 'X = { title = "x"'),
        ('configured = "out_id"', 'configured = "user_id"', 'OutId = { title = "任务编号(随机)"'),
        ("accept = {", 'x = { title = "x", const = "1" }\naccept = {', 'x = { title = "x"'),
        (
            'accept = { title = "回复格式", const = "application/json"',
            'accept = { title = "回复格式", const = "x"',
            'accept = { title = "回复格式", const = "x"',
        ),
        ('"Code", "RequestId"]', '"Code", "RequestId", "X"]', '"Code", "RequestId", "X"]'),
    ],
)
def test_a_widening_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: str) -> None:
    text = TEXT.replace(old, new, 1)
    path = tmp_path / "new.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(PolicyError) as refused:
        load_policy(path, against=OLD)

    number = text[: text.index(line)].count("\n") + 1
    found = {each.line for each in refused.value.problems if each.reason.startswith("widened: ")}
    assert found == {number}


def test_a_new_operation_is_named(tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    path.write_text(TEXT.replace('"aliyun.sms.query"', '"aliyun.sms.details"'), "utf-8")

    assert widened(OLD, load_policy(path)) == ["operation aliyun.sms.details is new"]
    with pytest.raises(PolicyError) as refused:
        load_policy(path, against=OLD)
    number = TEXT[: TEXT.index('[operations."aliyun.sms.query"]')].count("\n") + 1
    assert [each.line for each in refused.value.problems] == [number]


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
        (
            "pattern = 'SMS_\\d{1,20}', max = 24 }",
            "pattern = 'SMS_\\d{1,20}', max = 24, required = false }",
        ),
        ('title = "钟久久隐私政策"', 'title = "隐私政策"'),
        (
            "maps = { title",
            'bank = { title = "银行", reason = "没有提及" }\nmaps = { title',
        ),
    ],
)
def test_what_only_narrows_or_renames_needs_nothing(tmp_path: Path, old: str, new: str) -> None:
    assert widened(OLD, _changed(tmp_path, old, new)) == []
