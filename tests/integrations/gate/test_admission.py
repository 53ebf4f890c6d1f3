"""Bytes that no gate would build, as an SDK or a careless change might: each is judged alone."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from integrations.admission import Admitted, FinalRequest, Held, Refused, admit
from integrations.leaves import CONTENT_TYPES, Leaf, Path, read, write
from integrations.policy import Operation, Place, Policy, load_policy
from models.errors import DeniedError
from tests.integrations.gate.parts import CODE, CONFIGURED, HOST, JOB, PHONE

ID_NUMBER = "99999919900307008X"
NAME = "欧阳小明"
SEND = load_policy().operation("aliyun.sms.send")
HELD = [
    Held("phone", PHONE, "user.contact.phone_number"),
    Held("code", CODE, "user.authorization.credentials"),
    Held("id_number", ID_NUMBER, "user.government_id.national_identification_number"),
    Held("name", NAME, "user.name"),
    Held("user", "user-99431", None),
]
TEXTS = {
    "PhoneNumbers": PHONE,
    "SignName": CONFIGURED["sign_name"],
    "TemplateCode": CONFIGURED["template_code"],
    "TemplateParam.code": CODE,
    "OutId": JOB,
}
BODY = (
    f"PhoneNumbers={PHONE}&SignName={quote('钟久久')}&TemplateCode=SMS_154950909"
    f"&TemplateParam=%7B%22code%22%3A%22{CODE}%22%7D&OutId={JOB}"
).encode()


def _request(**changes: object) -> FinalRequest:
    """The SMS request, with one thing changed."""
    body = changes.pop("body", BODY)
    assert isinstance(body, bytes)
    headers = {
        "host": HOST,
        "accept-encoding": "identity",
        "content-type": CONTENT_TYPES[Place.FORM],
        "content-length": str(len(body)),
        "accept": "application/json",
        "x-acs-action": "SendSms",
        "x-acs-version": "2017-05-25",
        "x-acs-date": "2026-11-23T10:00:00Z",
        "x-acs-signature-nonce": "f" * 32,
        "x-acs-content-sha256": "e" * 64,
        "authorization": "ACS3-HMAC-SHA256 Credential=LTAItest,SignedHeaders=host,Signature="
        + "d" * 64,
    }
    for name, value in changes.pop("headers", {}).items():  # type: ignore[attr-defined]
        if value is None:
            del headers[name]
        else:
            headers[name] = value
    request = FinalRequest(
        method="POST",
        host=HOST,
        target=b"/",
        headers=tuple((name.encode(), value.encode()) for name, value in headers.items()),
        body=body,
    )
    return dataclasses.replace(request, **changes)  # type: ignore[arg-type]


def _reason(operation: Operation, request: FinalRequest) -> str:
    with pytest.raises(Refused) as refused:
        admit(operation, request, HELD, TEXTS)
    return str(refused.value)


def test_the_request_that_the_policy_describes_is_admitted(operation: Operation) -> None:
    request = _request()

    assert admit(operation, request, HELD, TEXTS).request is request


def test_only_admission_makes_admitted_requests() -> None:
    with pytest.raises(DeniedError):
        Admitted(_request(), object())


def test_a_request_shows_nothing_of_itself() -> None:
    assert PHONE not in repr(_request(target=f"/{PHONE}".encode()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"method": "GET"}, "method"),
        ({"host": "dysmsapi.aliyuncs.com.collector.example"}, "host"),
        ({"host": "16400001234.collector.example"}, "host"),
        ({"target": f"/{PHONE}".encode()}, "path"),
        ({"target": b"/?"}, "path"),
        ({"target": b"//"}, "path"),
        ({"target": f"/?PhoneNumbers={PHONE}".encode()}, "field_unknown"),
        ({"target": b"/?SmsUpExtendCode=99431"}, "field_unknown"),
        ({"target": b"/#x"}, "path"),
        ({"headers": {"cookie": "a=b"}}, "header_unknown"),
        ({"headers": {"referer": "https://shop.example/"}}, "header_unknown"),
        ({"headers": {"X-Acs-Action": "SendSms"}}, "header_unknown"),
        ({"headers": {"host": "collector.example"}}, "header_value:host"),
        ({"headers": {"content-length": "1"}}, "header_value:content-length"),
        ({"headers": {"content-type": "text/plain"}}, "header_value:content-type"),
        ({"headers": {"accept-encoding": "gzip"}}, "header_value:accept-encoding"),
        ({"headers": {"x-acs-action": "SendBatchSms"}}, "header_value:x-acs-action"),
        ({"headers": {"x-acs-date": "2026-11-23T10:00:00Z "}}, "header_value:x-acs-date"),
        ({"headers": {"host": None}}, "header_missing:host"),
        ({"headers": {"content-type": None}}, "header_missing:content-type"),
        ({"headers": {"authorization": None}}, "header_missing:authorization"),
        ({"body": BODY + b"&Name=x"}, "field_unknown"),
        ({"body": BODY + b"&OutId=" + JOB.encode()}, "unreadable:form"),
        ({"body": BODY + b"&"}, "unreadable:form"),
        ({"body": BODY + b"&x"}, "unreadable:form"),
        ({"body": BODY + b" "}, "unreadable:form"),
        ({"body": BODY + b"%ff"}, "unreadable:form"),
        ({"body": BODY.replace(b"%22%7D", b"%22%2C%22name%22%3A%22x%22%7D")}, "field_unknown"),
        ({"body": BODY.replace(b"%22%7D", b"%22%2C%22x%22%3A%7B%7D%7D")}, "unreadable:form"),
        (
            {"body": BODY.replace(b"%22%7D", b"%22%2C%22code%22%3A%22246810%22%7D")},
            "unreadable:form",
        ),
        ({"body": BODY.replace(b"%7B", b"%5B%7B").replace(b"%7D", b"%7D%5D")}, "field_missing:"),
        ({"body": BODY.replace(b"%22246810%22", b"246810")}, "field_value:TemplateParam.code"),
        ({"body": BODY.replace(b"&TemplateParam", b"&templateParam")}, "field_missing:"),
        ({"body": BODY.split(b"&OutId")[0]}, "field_missing:OutId"),
        ({"body": BODY.replace(b"PhoneNumbers=1", b"PhoneNumbers=%2B1")}, "field_value:"),
        ({"body": b""}, "field_missing:PhoneNumbers"),
        ({"body": b"{}"}, "unreadable:form"),
    ],
)
def test_any_other_request_is_refused(
    operation: Operation, change: dict[str, object], reason: str
) -> None:
    assert _reason(operation, _request(**change)).startswith(reason)


def test_a_header_occurs_once(operation: Operation) -> None:
    request = _request()
    twice = dataclasses.replace(request, headers=(*request.headers, request.headers[-1]))

    assert _reason(operation, twice) == "header_unknown"


def test_no_reason_repeats_what_was_refused(operation: Operation) -> None:
    assert _reason(operation, _request(body=BODY + f"&{PHONE}={PHONE}".encode())) == "field_unknown"


def test_the_configured_value_is_the_one_that_was_configured(operation: Operation) -> None:
    other = BODY.replace(JOB.encode(), b"a" * 32)

    assert _reason(operation, _request(body=other)) == "field_value:OutId"


def test_what_the_job_does_not_hold_is_in_no_field(operation: Operation) -> None:
    with pytest.raises(Refused, match="field_value:PhoneNumbers"):
        admit(operation, _request(), HELD[1:], TEXTS)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"options":{"silent":true,"lifetime":1},"platform":"android"}', None),
        (b'{"options":{"silent":1,"lifetime":1},"platform":"android"}', "options.silent"),
        (b'{"options":{"silent":true,"lifetime":true},"platform":"android"}', "options.lifetime"),
        (b'{"options":{"silent":true,"lifetime":"1"},"platform":"android"}', "options.lifetime"),
        (b'{"options":{"silent":true,"lifetime":2},"platform":"android"}', "options.lifetime"),
        (b'{"options":{"silent":true,"lifetime":1},"platform":"all"}', "platform"),
    ],
)
def test_a_constant_is_that_value_of_that_type(
    loose: Policy, body: bytes, reason: str | None
) -> None:
    operation = loose.operation("constants")
    headers = {
        "host": HOST,
        "accept-encoding": "identity",
        "content-type": CONTENT_TYPES[Place.JSON],
        "content-length": str(len(body)),
    }
    request = FinalRequest(
        method="POST",
        host=HOST,
        target=b"/constants",
        headers=tuple((name.encode(), value.encode()) for name, value in headers.items()),
        body=body,
    )
    if reason is None:
        assert admit(operation, request, HELD, {}).request is request
    else:
        with pytest.raises(Refused, match=f"field_value:{reason}"):
            admit(operation, request, HELD, {})


def test_percent_encoding_may_differ_as_long_as_the_leaves_do_not(operation: Operation) -> None:
    lower = BODY.replace(b"%E9%92%9F", b"%e9%92%9f").replace(b"SMS_", b"%53MS_")

    admit(operation, _request(body=lower), HELD, TEXTS)


def _loose_request(operation: Operation, note: str, token: str | None = None) -> FinalRequest:
    """A request whose configured field holds any text, as the gate would build it."""
    leaves: list[tuple[Path, Leaf]] = [(("Phone",), PHONE), (("Note",), note)]
    data = write(operation.place, leaves)
    body = b"" if operation.place is Place.QUERY else data
    headers = {"host": HOST, "accept-encoding": "identity", "content-length": str(len(body))}
    if body:
        headers["content-type"] = CONTENT_TYPES[operation.place]
    if token is not None:
        headers["x-token"] = token
    return FinalRequest(
        method="POST",
        host=HOST,
        target=b"/loose?" + data if operation.place is Place.QUERY else b"/loose",
        headers=tuple((name.encode(), value.encode()) for name, value in headers.items()),
        body=body,
    )


PLACES = [place.value for place in Place if place is not Place.PATH]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("note", ["订单已发货", "order 20261123-1", "16:40", "", "0.1234"])
def test_harmless_text_passes_in_every_format(loose: Policy, place: str, note: str) -> None:
    operation = loose.operation(f"loose.{place}")

    admit(operation, _loose_request(operation, note), HELD, {"Note": note})


def test_no_leaf_is_longer_than_the_policy_says(loose: Policy) -> None:
    operation = loose.operation("loose.json")
    for length, token in ((4000, 2000), (4001, 2000), (4000, 2001)):
        request = _loose_request(operation, "x" * length, "y" * token)
        if (length, token) == (4000, 2000):
            admit(operation, request, HELD, {"Note": "x" * length})
        else:
            with pytest.raises(Refused, match=r"field_shape:Note|header_value:x-token"):
                admit(operation, request, HELD, {"Note": "x" * length})


def test_a_request_without_a_body_has_none(loose: Policy) -> None:
    operation = loose.operation("loose.query")
    request = _loose_request(operation, "")
    headers = dict(request.headers) | {b"content-length": b"3"}
    tampered = dataclasses.replace(request, headers=tuple(headers.items()), body=b"a=1")
    with pytest.raises(Refused, match="unreadable:body"):
        admit(operation, tampered, HELD, {"Note": ""})


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


def _encoded(text: str, times: int) -> str:
    text = "".join(f"%{byte:02X}" for byte in text.encode())
    for _ in range(times):
        text = quote(text, safe="")
    return text


WAYS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: f"to {text}!",
    "percent-encoded": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "percent-encoded twice": lambda text: quote(
        "".join(f"%{byte:02X}" for byte in text.encode()), safe=""
    ),
    "JSON-escaped": _escaped,
    "JSON-escaped twice": lambda text: _escaped(text).replace("\\", "\\\\"),
    "XML-escaped": lambda text: "".join(f"&#x{ord(character):x};" for character in text),
    "full width": lambda text: "".join(
        chr(ord(c) + 0xFEE0) if c.isascii() and c.isalnum() else c for c in text
    ),
    "separated": "-".join,
    "spaced": " ".join,
    "invisibly separated": "\u200b".join,
    "after a stray percent sign": lambda text: f"%{text}",
    "after a stray escape": lambda text: f"\\u12{text} &#{text}; &#x{text};",
    "encoded nine times": lambda text: _encoded(text, 9),
    "lower case": lambda text: text.lower(),
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, second alignment": lambda text: base64.b64encode(b"x" + text.encode()).decode(),
    "base64, third alignment": lambda text: base64.b64encode(b"xy" + text.encode()).decode(),
    "MD5": lambda text: hashlib.md5(text.encode()).hexdigest(),
    "SHA-1": lambda text: hashlib.sha1(text.encode()).hexdigest().upper(),
    "SHA-256": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"?>" + text.encode()).decode(),
    "base64 in JSON": lambda text: base64.b64encode(f'{{"to":"{text}"}}'.encode()).decode(),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [ID_NUMBER, NAME, PHONE], ids=["id number", "name", "phone"])
def test_a_held_value_is_found_however_it_is_written(
    loose: Policy, place: str, way: str, value: str
) -> None:
    operation = loose.operation(f"loose.{place}")
    note = WAYS[way](value)
    with pytest.raises(Refused, match="held_value:"):
        admit(operation, _loose_request(operation, note), HELD, {"Note": note})


@pytest.mark.parametrize("way", WAYS)
def test_a_held_value_is_found_in_a_signed_header(loose: Policy, way: str) -> None:
    operation = loose.operation("loose.json")
    token = WAYS[way](ID_NUMBER)
    if token.isascii():
        with pytest.raises(Refused, match="held_value:id_number"):
            admit(operation, _loose_request(operation, "", token), HELD, {"Note": ""})


@pytest.mark.parametrize("note", [CODE, f"码 {CODE}", f"({CODE})", CODE.encode().hex()])
def test_a_code_is_found_as_a_word(loose: Policy, note: str) -> None:
    operation = loose.operation("loose.form")
    with pytest.raises(Refused, match="held_value:code"):
        admit(operation, _loose_request(operation, note), HELD, {"Note": note})


def test_a_code_is_not_seen_where_longer_digits_happen_to_hold_it(loose: Policy) -> None:
    operation = loose.operation("loose.form")
    note = f"SMS_1{CODE}9 {'a' + CODE + 'f' * 9}"

    admit(operation, _loose_request(operation, note), HELD, {"Note": note})


def test_a_code_inside_the_phone_number_is_a_coincidence(operation: Operation) -> None:
    held = [HELD[0], Held("code", "0123", "user.authorization.credentials")]
    body = BODY.replace(CODE.encode(), b"0123")

    admit(operation, _request(body=body), held, TEXTS)


@pytest.mark.parametrize("note", ["user-99431", "USER-99431"])
def test_what_the_job_holds_besides_is_no_configuration(loose: Policy, note: str) -> None:
    operation = loose.operation("loose.json")
    with pytest.raises(Refused, match="held_value:user"):
        admit(operation, _loose_request(operation, note), HELD, {"Note": note})


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("note", ["联系 164-0000-9999", ID_NUMBER, "6222 0212 3456 7890 128"])
def test_personal_data_that_the_job_does_not_hold_is_detected(
    loose: Policy, place: str, note: str
) -> None:
    operation = loose.operation(f"loose.{place}")
    with pytest.raises(Refused, match="detected:"):
        admit(operation, _loose_request(operation, note), HELD[:1], {"Note": note})


@given(
    position=st.integers(0, len(BODY)),
    cut=st.integers(0, 3),
    put=st.binary(max_size=4)
    | st.sampled_from([b"%", b"&", b"=", b"+", b"%26", b"%00", b"\\u0031"]),
)
@example(position=len(BODY), cut=0, put=b"\n")
@example(position=0, cut=0, put=b"&")
def test_a_body_that_was_tampered_with_is_refused_or_means_the_same(
    position: int, cut: int, put: bytes
) -> None:
    operation = SEND
    body = BODY[:position] + put + BODY[position + cut :]
    try:
        admit(operation, _request(body=body), HELD, TEXTS)
    except Refused:
        return
    assert read(Place.FORM, body, operation.nested) == read(Place.FORM, BODY, operation.nested)
