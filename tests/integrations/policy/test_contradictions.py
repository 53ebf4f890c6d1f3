"""A policy that contradicts itself, or allows what must not be, is refused at the line that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from integrations.policy import PACKAGED, PolicyError, Problem, load_policy

TEXT = PACKAGED.read_text("utf-8")
NEVER = (
    *("baggage", "sentry-trace", "traceparent", "tracestate", "x-correlation-id"),
    *("cookie", "from", "origin", "referer", "x-request-id"),
    *("forwarded", "via", "x-client-ip", "x-real-ip"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
)
ORDER = 'out_trade_no = { title = "订单编号", from = "order_no", category = "system.operations"'
SENSITIVE_AND_DENIED = ("user.biometric", "user.childrens", "user.location")
LOGIN = "/v3/pay/transactions/out-trade-no/{out_trade_no}"


def _refused(folder: Path, text: str) -> tuple[Problem, ...]:
    path = folder / "shop.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(PolicyError) as refused:
        load_policy(path)
    return refused.value.problems


def _problems(folder: Path, text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.reason) for problem in _refused(folder, text)]


def _expect(folder: Path, old: str, new: str, at: str, reason: str) -> None:
    text = TEXT.replace(old, new, 1)
    assert text != TEXT, old
    line = text[: text.index(at)].count("\n") + 1
    found = _problems(folder, text)
    assert any(line == each[0] and reason in each[1] for each in found), (line, found)


@pytest.mark.parametrize(
    ("old", "new", "at", "reason"),
    [
        ('id = "一(1)2"', 'id = "一(1)1"', '{ id = "一(1)1", gist = "购买', "is listed twice"),
        # Clauses that nobody has written, wherever one is cited.
        (
            '"user.name" = { title = "真实姓名", clauses = ["一(1)2"',
            '"user.name" = { title = "真实姓名", clauses = ["一(9)2"',
            '"user.name" = {',
            "no clause 一(9)2",
        ),
        (
            'clauses = ["一(2)3", "三(4)9"]',
            'clauses = ["一(9)3"]',
            '["一(9)3"]',
            "no clause 一(9)3",
        ),
        (
            'clauses = ["一(1)1", "四(3)5"]',
            'clauses = ["四(9)5"]',
            '["四(9)5"]',
            "no clause 四(9)5",
        ),
        (
            (
                'title = "物流、快递公司", reason = "政策没有写明任何接收方;发货由网站后台另行处理", '
                'clauses = ["一(1)3"'
            ),
            'title = "物流、快递公司", reason = "x", clauses = ["一(9)3"',
            "logistics = {",
            "no clause 一(9)3",
        ),
        (
            'reason = "风险信号只在内部使用", clauses = ["一(3)"]',
            'reason = "x", clauses = ["一(9)"]',
            "profiling = {",
            "no clause 一(9)",
        ),
        (
            'reason = "没有任何接收方需要", clauses = ["一(1)3"',
            'reason = "没有任何接收方需要", clauses = ["一(9)3"',
            '"user.contact.address" = {',
            "no clause 一(9)3",
        ),
        (
            'Content = { title = "短信全文", reason = "含验证码" }',
            'Content = { title = "短信全文", reason = "含验证码", clauses = ["一(9)3"] }',
            "Content = {",
            "no clause 一(9)3",
        ),
        (
            'hosts = []\nregion = "CN-mainland"\nrole = "authority"',
            'hosts = ["a.example.cn"]\nregion = "CN-mainland"\nrole = "authority"',
            'hosts = ["a.example.cn"]',
            "by machine to an authority",
        ),
        (
            'hosts = []\nregion = "CN-mainland"\nrole = "public"',
            'hosts = ["a.example.cn"]\nregion = "CN-mainland"\nrole = "public"',
            'hosts = ["a.example.cn"]',
            "by machine to an public",
        ),
        (
            'company = "钟久久(山东)珠宝有限公司"\nproduct',
            'company = "别的公司"\nproduct',
            'role = "own"',
            "is not our own: it is another company",
        ),
        # What a person may rely on.
        (
            ", sensitive = true }",
            " }",
            '"user.government_id.national_identification_number" = {',
            "is sensitive by law",
        ),
        (
            'clauses = ["一(2)3", "三(4)9"]\nbasis = { kind = "contract"',
            'clauses = ["一(2)3", "三(4)9"]\nbasis = { kind = "legal_duty"',
            'basis = { kind = "legal_duty"',
            "a legal duty has the use essential.legal_obligation",
        ),
        # Addresses.
        (
            'host = "dysmsapi.aliyuncs.com"\nmethod = "POST"\npath = "/"\n',
            'method = "POST"\n',
            '[operations."aliyun.sms.send"]',
            "must be stated",
        ),
        (LOGIN, "/v3/pay/transactions/out-trade-no/x", 'path = "/v3/pay/transactions/o', "braces"),
        (LOGIN, f"{LOGIN[:-14]}{{order}}", 'path = "/v3/pay/transactions/o', "braces"),
        (
            f'{ORDER}, transform = "raw"',
            (
                'out_trade_no = { title = "x", from = "payer", category = "user.unique_id.pseudonymous"'
                ', transform = "raw"'
            ),
            'out_trade_no = { title = "x"',
            "about no person",
        ),
        (
            f'{ORDER}, transform = "raw"',
            'out_trade_no = { title = "x", configured = "order_no"',
            'out_trade_no = { title = "x"',
            "about no person",
        ),
        (
            'max = 32, place = "path" }',
            'max = 32, place = "path", required = false }',
            'max = 32, place = "path", required',
            "no optional segments",
        ),
        (
            'category = "user.contact.phone_number", transform = "raw"',
            'category = "user.contact.phone_number", transform = "number"',
            'transform = "number"',
            "only JSON has numbers",
        ),
        (
            'OutId = { title = "任务编号(随机)", configured = "out_id", pattern = ',
            'x-acs-date = { title = "x", signed = ',
            'x-acs-date = { title = "x"',
            "a header and a field of the signer",
        ),
        ('place = "form"\nnote', 'place = "multipart"\nnote', '"TemplateParam.code"', "no nested"),
        # What is kept of a reply.
        (
            'reply.request_id = "RequestId"',
            'reply.request_id = "Id"',
            'reply.request_id = "Id"',
            "Id is not kept",
        ),
        ('reply.error = "code"', 'reply.error = "why"', 'reply.error = "why"', "why is not kept"),
        (
            '"SmsSendDetailDTOs.SmsSendDetailDTO[].OutId"',
            '"SmsSendDetailDTOs.SmsSendDetailDTO[].Content"',
            "reply.keep = [\n",
            "Content is never kept",
        ),
        (
            '"SmsSendDetailDTOs.SmsSendDetailDTO[].OutId"',
            '"Content[].OutId"',
            "reply.keep = [\n",
            "OutId is never kept",
        ),
        (
            'reply.personal = { "GetMobileResultDTO.Mobile"',
            'reply.personal = { "Code"',
            'reply.personal = { "Code"',
            "Code is kept unlabelled as well",
        ),
        (
            "reply.personal = {",
            "reply.excerpts = { \"GetMobileResultDTO.Mobile\" = '1' }\nreply.personal = {",
            "reply.personal = {",
            "Mobile is kept unlabelled as well",
        ),
        (
            '"user.contact.phone_number" = { title',
            '"user.contact.fax_number" = { title',
            "reply.personal = {",
            "phone_number is not listed",
        ),
    ],
)
def test_a_contradiction_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, at: str, reason: str
) -> None:
    if reason == "OutId is never kept":
        reason = "Content[].OutId is never kept"
    _expect(tmp_path, old, new, at, reason)


SMS, QUERY = "operations > aliyun.sms.send", "operations > wechat_pay.order.query"


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ("clauses = [\n", 'clauses = [\n  { id = "一(1)1", gist = "x" },\n', ["clauses > 2 > id"]),
        (
            '"user.name" = { title = "真实姓名", clauses = ["一(1)2"',
            '"user.name" = { title = "真实姓名", clauses = ["一(9)2"',
            ["categories > user.name > clauses"],
        ),
        (
            'clauses = ["一(2)3", "三(4)9"]',
            'clauses = ["一(9)3"]',
            ["purposes > payment > clauses"],
        ),
        (
            'named_as = "我们"\nclauses = ["四(3)3"]',
            'named_as = "我们"\nclauses = ["四(9)3"]',
            ["recipients > own_backend > clauses"],
        ),
        (
            'clauses = ["一(1)1", "四(3)5"]',
            'clauses = ["四(9)5"]',
            ["gaps > sms_gateway_unnamed > clauses"],
        ),
        (
            'reason = "风险信号只在内部使用", clauses = ["一(3)"]',
            'reason = "x", clauses = ["一(9)"]',
            ["denied > purposes > profiling > clauses"],
        ),
        (
            'hosts = ["openapi.alipay.com"',
            'hosts = ["api.jpush.cn", "openapi.alipay.com"',
            ["recipients > jiguang_push > hosts", "recipients > alipay > hosts"],
        ),
        (
            'hosts = []\nregion = "CN-mainland"\nrole = "authority"',
            'hosts = ["a.example.cn"]\nregion = "CN-mainland"\nrole = "authority"',
            ["recipients > authorities > hosts"],
        ),
        (
            'company = "钟久久(山东)珠宝有限公司"\nproduct',
            'company = "别的公司"\nproduct',
            ["recipients > own_backend > role"],
        ),
        ("[recipients.china_mobile_auth]", "[recipients.maps]", ["recipients > maps"]),
        ("[purposes.stability]", "[purposes.marketing]", ["purposes > marketing"]),
        (
            '"user.name" = {',
            '"user.contact.address" = { title = "x" }\n"user.name" = {',
            ["categories > user.contact.address"],
        ),
        (
            '"user.name" = {',
            '"user.financial" = { title = "x" }\n"user.name" = {',
            ["categories > user.financial"],
        ),
        (
            'basis = { kind = "contract"',
            'basis = { kind = "legal_duty"',
            ["purposes > verify_phone > basis"],
        ),
        # Of an operation.
        ('recipient = "aliyun_sms"', 'recipient = "logistics"', [f"{SMS} > recipient"]),
        (
            'host = "dysmsapi.aliyuncs.com"\nmethod = "POST"\npath = "/"\n',
            'method = "POST"\n',
            [f"{SMS} > host"],
        ),
        ('host = "dysmsapi', 'host = "xysmsapi', [f"{SMS} > host"]),
        ('purpose = "verify_phone"', 'purpose = "marketing"', [f"{SMS} > purpose"]),
        (
            'category = "user.contact.phone_number"',
            'category = "user.government_id.national_identification_number"',
            [f"{SMS} > purpose"],
        ),
        (
            ', pia_ref = "PIA-002"',
            "",
            [
                "operations > aliyun.login.phone > purpose",
                "operations > jiguang.login.phone > purpose",
            ],
        ),
        # Of its fields.
        (LOGIN, f"{LOGIN[:-14]}{{order}}", [f"{QUERY} > path"]),
        ("OutId = { title", 'OutId = { place = "json", title', [f"{SMS} > fields"]),
        ('method = "POST"', 'method = "GET"', [f"{SMS} > method"]),
        (
            'category = "user.contact.phone_number"',
            'category = "user.contact.fax_number"',
            [f"{SMS} > fields > PhoneNumbers > category"],
        ),
        (
            'const = "50"',
            'const = "16400001234"',
            ["operations > aliyun.sms.query > fields > PageSize > const"],
        ),
        (
            'const = "50"',
            "const = 50",
            ["operations > aliyun.sms.query > fields > PageSize > const"],
        ),
        (
            f'{ORDER}, transform = "raw"',
            'out_trade_no = { title = "x", configured = "order_no"',
            [f"{QUERY} > fields > out_trade_no > place"],
        ),
        (
            'max = 32, place = "path" }',
            'max = 32, place = "path", required = false }',
            [f"{QUERY} > fields > out_trade_no > required"],
        ),
        (
            'category = "user.contact.phone_number", transform = "raw"',
            'category = "user.contact.phone_number", transform = "number"',
            [f"{SMS} > fields > PhoneNumbers > transform"],
        ),
        (
            'OutId = { title = "任务编号(随机)", configured = "out_id", pattern = ',
            'x-acs-date = { title = "x", signed = ',
            [f"{SMS} > fields > x-acs-date"],
        ),
        (
            'place = "form"\nnote',
            'place = "xml"\nnote',
            [f"{SMS} > fields > TemplateParam.code"],
        ),
        (
            'OutId = { title = "任务编号(随机)"',
            'TemplateParam = { title = "x", const = "{}" }\nOutId = { title = "任务编号(随机)"',
            [f"{SMS} > fields > TemplateParam.code"],
        ),
        # Of its headers.
        ("accept = {", "cookie = {", [f"{SMS} > headers > cookie"]),
        ("accept = {", "host = {", [f"{SMS} > headers > host"]),
        ("accept = {", "Accept = {", [f"{SMS} > headers > Accept"]),
        (
            'accept = { title = "回复格式", const = "application/json" }',
            "user-agent = { title = \"x\", signed = '.*', max = 9 }",
            [f"{SMS} > headers > user-agent"],
        ),
        ('const = "application/json"', 'const = "应用"', [f"{SMS} > headers > accept"]),
        ('const = "application/json"', 'const = "a\\r\\nb"', [f"{SMS} > headers > accept"]),
        # Of what is kept of its reply.
        ('reply.code = "Code"', 'reply.code = "Status"', [f"{SMS} > reply > code"]),
        ('reply.error = "code"', 'reply.error = "why"', [f"{QUERY} > reply > error"]),
        ('"Code", "RequestId"]', '"Code", "RequestId", "PhoneNum"]', [f"{SMS} > reply > keep"]),
        ("excerpts = { Message", "excerpts = { Code", [f"{SMS} > reply > excerpts"]),
        (
            'reply.personal = { "GetMobileResultDTO.Mobile"',
            'reply.personal = { "Code"',
            ["operations > aliyun.login.phone > reply > personal"],
        ),
        (
            'reply.personal = { "GetMobileResultDTO.Mobile"',
            'reply.personal = { "GetMobileResultDTO.Content"',
            ["operations > aliyun.login.phone > reply > keep"],
        ),
    ],
)
def test_a_contradiction_is_named_by_its_key_and_nothing_else_is(
    tmp_path: Path, old: str, new: str, keys: list[str]
) -> None:
    text = TEXT.replace(old, new, 1)
    assert text != TEXT, old

    assert [problem.key for problem in _refused(tmp_path, text)] == keys


def test_only_who_tells_a_phone_number_needs_its_category(tmp_path: Path) -> None:
    text = TEXT.replace('"user.contact.phone_number" = {', '"user.contact.fax_number" = {', 1)

    found = _refused(tmp_path, text)
    unlisted = "user.contact.phone_number is not listed"
    assert [problem.key for problem in found if problem.reason == unlisted] == [
        "operations > aliyun.login.phone > reply > personal",
        "operations > jiguang.login.phone > reply > personal",
    ]


@pytest.mark.parametrize(
    "key",
    [
        *("user.biometric.fingerprint", "user.childrens", "user.demographic.religious_belief"),
        *("user.financial", "user.government_id.passport_number", "user.health_and_medical"),
        "user.location.precise",
    ],
)
def test_what_the_law_calls_sensitive_says_so(tmp_path: Path, key: str) -> None:
    # Nothing of it is denied, so that only this is left to complain about.
    bare = "\n".join(
        line
        for line in TEXT.splitlines()
        if not line.startswith(tuple(f'"{each}' for each in SENSITIVE_AND_DENIED))
    )
    entry = f'"{key}" = {{ title = "x" }}\n"user.name" = {{'
    text = bare.replace('"user.name" = {', entry, 1)
    line = text[: text.index(entry)].count("\n") + 1
    assert _problems(tmp_path, text) == [(line, "is sensitive by law (PIPL 28) and must say so")]
    path = tmp_path / "said.toml"
    path.write_text(text.replace('title = "x" }', 'title = "x", sensitive = true }'), "utf-8")
    assert load_policy(path).categories[key].sensitive


@pytest.mark.parametrize("name", NEVER)
def test_no_header_tells_about_a_person_or_a_visit(tmp_path: Path, name: str) -> None:
    new = f'{name} = {{ title = "x", const = "x" }}\naccept = {{'
    _expect(tmp_path, "accept = {", new, new[:20], "tells a recipient about a person or a visit")


@pytest.mark.parametrize("name", ["host", "content-type", "content-length", "transfer-encoding"])
def test_what_the_gate_writes_itself_is_in_no_policy(tmp_path: Path, name: str) -> None:
    new = f'{name} = {{ title = "x", const = "x" }}\naccept = {{'
    _expect(tmp_path, "accept = {", new, new[:20], "is written by the gate")


def test_what_is_about_nobody_needs_no_impact_assessment(tmp_path: Path) -> None:
    text = TEXT.replace(', pia_ref = "PIA-005"', "", 1)
    path = tmp_path / "shop.toml"
    path.write_text(text, "utf-8")
    policy = load_policy(path)

    assert policy.purposes["payment"].basis.pia_ref is None
