"""A file that is malformed, contradicts itself or allows too much stops with line and reason."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.policy import PACKAGED, PolicyError, load_policy
from integrations.policy._lines import Lines

TEXT = PACKAGED.read_text("utf-8")


def _line(needle: str, text: str = TEXT) -> int:
    assert text.count(needle) >= 1, needle
    return text[: text.index(needle)].count("\n") + 1


def _load(folder: Path, text: str) -> PolicyError:
    path = folder / "shop.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(PolicyError) as refused:
        load_policy(path)
    return refused.value


def test_another_shop_brings_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(TEXT.replace("钟久久隐私政策", "另一家店的隐私政策"), "utf-8")

    assert load_policy(path).title == "另一家店的隐私政策"


PHONE_FIELD = 'PhoneNumbers = { title = "接收短信的手机号码", from = "phone"'
SIGN_FIELD = 'SignName = { title = "短信签名", configured = "sign_name"'
ACCEPT = 'accept = { title = "回复格式", const = "application/json"'


@pytest.mark.parametrize(
    ("old", "new", "at", "reason"),
    [
        # Malformed.
        ('place = "form"\nnote', 'plaice = "form"\nnote', "plaice", "is not a key"),
        ('role = "entrusted"', 'role = "friend"', 'role = "friend"', "Input should be"),
        ('method = "POST"', 'method = "DELETE"', "DELETE", "Input should be"),
        ('version = "2023-01-01.3"', 'version = "1"', 'version = "1"', "pattern"),
        ('company = "阿里云计算有限公司"\n', "", "[recipients.aliyun_sms]", "is missing"),
        ('id = "一(1)1"', 'id = "1.1"', 'id = "1.1"', "pattern"),
        (
            "pattern = '1\\d{10}'",
            "pattern = '1(\\d{10}'",
            "1(\\d{10}',",
            "not a regular expression",
        ),
        ("pattern = '1\\d{10}'", 'pattern = ""', 'pattern = ""', "must be a regular expression"),
        ("pattern = '1\\d{10}'", "pattern = 1", "pattern = 1,", "must be a regular expression"),
        ("max = 11", "max = 0", "max = 0", "greater than or equal"),
        ("sensitive = true", 'sensitive = "yes"', 'sensitive = "yes"', "boolean"),
        # Not bounded, or from two sources.
        (", max = 11", "", PHONE_FIELD, "must bound"),
        ("pattern = '1\\d{10}', ", "", PHONE_FIELD, "must bound"),
        (', transform = "raw"', "", PHONE_FIELD, "category and transform"),
        (', category = "user.contact.phone_number"', "", PHONE_FIELD, "category and transform"),
        ('transform = "raw"', 'transform = "md5"', 'transform = "md5"', "Input should be"),
        ('from = "phone"', 'from = "phone", const = "1"', 'const = "1"', "exactly one"),
        (
            'configured = "sign_name"',
            'configured = "sign_name", category = "user.name"',
            SIGN_FIELD,
            "only what the job holds",
        ),
        (
            'configured = "sign_name"',
            'configured = "sign_name", transform = "raw"',
            SIGN_FIELD,
            "only what the job holds",
        ),
        ('configured = "sign_name", ', "", 'SignName = { title = "短信签名"', "exactly one"),
        (
            'configured = "sign_name"',
            "configured = \"sign_name\", signed = 'x'",
            SIGN_FIELD,
            "exactly one",
        ),
        ('from = "phone"', 'from = "phone", configured = "phone"', PHONE_FIELD, "exactly one"),
        ('configured = "sign_name"', "signed = 'x'", "signed = 'x'", "is bounded by signed"),
        (
            "configured = \"sign_name\", pattern = '[\\u4e00-\\u9fffA-Za-z0-9]{2,12}', max = 12",
            "signed = 'x'",
            "signed = 'x'",
            "must bound",
        ),
        ('const = "50"', 'const = "50", max = 2', 'const = "50"', "bounded by itself"),
        ('const = "50"', "const = \"50\", pattern = '50'", 'const = "50"', "bounded by itself"),
        ('const = "50"', 'const = "50", required = false', 'const = "50"', "bounded by itself"),
        (
            ACCEPT,
            f"{ACCEPT}, signed = 'x', max = 1",
            f"{ACCEPT}, signed",
            "exactly one of const and signed",
        ),
        (ACCEPT, 'accept = { title = "回复格式"', "accept = {", "exactly one of const and signed"),
        (ACCEPT, f"{ACCEPT}, max = 99", f"{ACCEPT}, max", "only that"),
        (
            "signed = '[0-9a-f]{32}', max = 32",
            "signed = '[0-9a-f]{32}'",
            "x-acs-signature-nonce",
            "max must bound what the signer makes",
        ),
        # Half an address.
        (
            '\nhost = "dysmsapi.aliyuncs.com"',
            "",
            '[operations."aliyun.sms.send"]',
            "host and path belong together",
        ),
        ('path = "/"\n', "", '[operations."aliyun.sms.send"]', "host and path belong together"),
        (
            'consent = "consent", pia_ref = "PIA-002"',
            'consent = "none", pia_ref = "PIA-002"',
            'consent = "none", pia_ref = "PIA-002"',
            "consent must say which",
        ),
        # Against the published policy.
        ('"一(1)6", "五(1)"]', '"一(1)6", "五(9)3"]', "五(9)3", "no clause 五(9)3"),
        (
            'category = "user.contact.phone_number"',
            'category = "user.contact.address.city"',
            "user.contact.address.city",
            "is denied: user.contact.address",
        ),
        (
            'category = "user.contact.phone_number"',
            'category = "user.contact.fax_number"',
            "user.contact.fax_number",
            "is not listed",
        ),
        (
            '"user.name" = { title = "真实姓名",',
            '"user.location.precise" = { title = "位置",',
            "user.location.precise",
            "is denied: user.location",
        ),
        (
            'category = "user.contact.phone_number"',
            'category = "user.government_id.national_identification_number"',
            'purpose = "verify_phone"',
            "sensitive and needs separate consent",
        ),
        (', pia_ref = "PIA-001"', "", 'purpose = "verify_phone"', "impact assessment"),
        (
            'purpose = "verify_phone"',
            'purpose = "marketing"',
            'purpose = "marketing"',
            "no purpose",
        ),
        (
            'recipient = "aliyun_sms"',
            'recipient = "logistics"',
            'recipient = "logistics"',
            "no recipient",
        ),
        (
            "[recipients.china_mobile_auth]",
            "[recipients.maps]",
            "[recipients.maps]",
            "denied and listed",
        ),
        (
            "[purposes.stability]",
            "[purposes.marketing]",
            "[purposes.marketing]",
            "denied and listed",
        ),
        (
            'region = "CN-mainland"\nrole = "entrusted"\nnamed_in_policy = false',
            'region = "SG"\nrole = "entrusted"\nnamed_in_policy = false',
            'region = "SG"',
            "CN-mainland",
        ),
        (
            '\nhost = "dysmsapi.aliyuncs.com"',
            '\nhost = "openapi.alipay.com"',
            'host = "openapi.alipay.com"\nmethod',
            "not a host of aliyun_sms",
        ),
        (
            'hosts = ["openapi.alipay.com", "dwbillcenter.alipay.com"]',
            'hosts = ["127.0.0.1"]',
            '"127.0.0.1"',
            "pattern",
        ),
        (
            'hosts = ["openapi.alipay.com", "dwbillcenter.alipay.com"]',
            'hosts = ["api.jpush.cn"]',
            'hosts = ["api.jpush.cn", "bjapi',
            "more than one recipient",
        ),
        ('gap = "政策写明', 'note = "政策写明', "[recipients.aliyun_sms]", "gap must say"),
        ('named_as = "微信支付"\n', "", "[recipients.wechat_pay]", "named_as must say"),
        # What leaves besides fields.
        ("accept = {", "cookie = {", "cookie = {", "about a person or a visit"),
        ("accept = {", "x-forwarded-for = {", "x-forwarded-for = {", "about a person or a visit"),
        ("accept = {", "host = {", "host = {", "written by the gate"),
        ("accept = {", "Accept = {", "Accept = {", "lower case"),
        ('const = "application/json"', 'const = "应用"', 'const = "应用"', "printable ASCII"),
        (
            'accept = { title = "回复格式", const = "application/json" }',
            "user-agent = { title = \"x\", signed = '.*', max = 9 }",
            "user-agent",
            "must be constant",
        ),
        ('const = "50"', 'const = "16400001234"', "16400001234", "looks like a person's"),
        # Shapes that cannot be.
        (
            'OutId = { title = "任务编号(随机)"',
            'TemplateParam = { title = "x", const = "{}" }\nOutId = { title = "任务编号(随机)"',
            '"TemplateParam.code"',
            None,
        ),
        ('method = "POST"', 'method = "GET"', 'method = "GET"', "GET has no body"),
        ("OutId = { title", 'OutId = { place = "json", title', None, "at once"),
        ('place = "form"\nnote', 'place = "xml"\nnote', '"TemplateParam.code"', "no nested fields"),
        ('const = "50"', "const = 50", "const = 50", "only JSON"),
        # What comes back.
        ('"Code", "RequestId"]', '"Code", "RequestId", "PhoneNum"]', None, "PhoneNum is never"),
        ('reply.code = "Code"', 'reply.code = "Status"', 'reply.code = "Status"', "is not kept"),
        ("excerpts = { Message", "excerpts = { Code", None, "kept whole already"),
        ("excerpts = { Message", "excerpts = { Content", None, "Content is never kept"),
    ],
)
def test_a_policy_that_cannot_be_relied_on_is_refused(
    tmp_path: Path, old: str, new: str, at: str | None, reason: str | None
) -> None:
    text = TEXT.replace(old, new, 1)
    assert text != TEXT, old
    error = _load(tmp_path, text)

    if reason is not None:
        assert any(reason in problem.reason for problem in error.problems), str(error)
    if at is not None:
        assert _line(at, text) in {problem.line for problem in error.problems}, str(error)
    assert str(error).startswith(f"{tmp_path / 'shop.toml'}:")


def test_broken_toml_is_refused_at_its_line(tmp_path: Path) -> None:
    error = _load(tmp_path, 'version = "1"\ncompany = \n')

    assert error.problems[0].line == 2


def test_an_unfinished_file_is_refused(tmp_path: Path) -> None:
    assert _load(tmp_path, 'version = "1').problems[0].line == 1
    assert _load(tmp_path, "").problems


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_bytes(b'title = "\xd6\xd3"')
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(path)


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    text = TEXT.replace('purpose = "verify_phone"', 'purpose = "profit"').replace(
        'host = "dysmsapi', 'host = "xysmsapi'
    )
    error = _load(tmp_path, text)

    spoilt = TEXT.count('purpose = "verify_phone"') + TEXT.count('host = "dysmsapi')
    assert len(error.problems) == spoilt
    assert [problem.line for problem in error.problems] == sorted(
        problem.line for problem in error.problems
    )


def test_a_body_is_found_where_only_one_field_stands_in_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    text = TEXT.replace('place = "form"\nnote', 'place = "query"\nnote', 1)
    path.write_text(text.replace("OutId = { title", 'OutId = { place = "form", title', 1), "utf-8")

    assert load_policy(path).operation("aliyun.sms.send").body == "form"


def test_no_operation_names_itself(tmp_path: Path) -> None:
    text = TEXT.replace('title = "发送短信验证码', 'name = "other"\ntitle = "发送短信验证码', 1)

    assert "other" not in load_text(tmp_path, text)


def load_text(folder: Path, text: str) -> list[str]:
    path = folder / "shop.toml"
    path.write_text(text, "utf-8")
    try:
        return list(load_policy(path).operations)
    except PolicyError:
        return []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_file_with_a_line_missing_is_loaded_or_refused_in_order(
    tmp_path: Path, data: st.DataObject
) -> None:
    lines = TEXT.splitlines(keepends=True)
    number = data.draw(st.integers(0, len(lines) - 1))
    path = tmp_path / "shop.toml"
    path.write_text("".join(lines[:number] + lines[number + 1 :]), "utf-8")
    refused: PolicyError | None = None
    try:
        load_policy(path)
    except PolicyError as error:
        refused = error
    if refused is not None:
        assert all(1 <= problem.line <= len(lines) for problem in refused.problems)
        assert re.match(r".+:\d+: .+: .+", str(refused))


def test_lines_are_found_in_any_toml() -> None:
    text = """
# a comment with = and [table]
title = "a # b"          # line 3
words = ["x",  # ]
  "y"]
tables = [ { a = 1 },
  { a = [2] } ]
inline = { a = 1, b = [1, 2] }
[table."quoted.key"]
text = '''
[not.a.table]
key = 1
'''
after = 1
[[row]]
x = 1
[row.inner]
y = 1
[[row]]
x = 2
a.b = 3
"""
    lines = Lines(text)

    tomllib.loads(text)
    assert lines.of(("title",)) == 3
    assert lines.of(("words", 1)) == 4
    assert lines.of(("tables", 0, "a")) == 6
    assert lines.of(("tables", 1, "a")) == 7
    assert lines.of(("inline", "b", 0)) == 8
    assert lines.of(("table", "quoted.key")) == 9
    assert lines.of(("table", "quoted.key", "after")) == 14
    assert lines.of(("row", 0, "x")) == 16
    assert lines.of(("row", 0, "inner", "y")) == 18
    assert lines.of(("row", 1, "x")) == 20
    assert lines.of(("row", 1, "a", "b")) == 21
    assert lines.of(("nowhere",)) == 1
