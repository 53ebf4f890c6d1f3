"""Personal values are what they claim to be, and never show themselves."""

from __future__ import annotations

import ast
import copy
import datetime as dt
import json
import logging
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

import orjson
import phonenumbers
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from models.errors import GiveUpError, InvalidValue
from models.payloads import encode_payload
from models.pii import (
    PERSONAL_TYPES,
    DeviceInfo,
    IdNumber,
    LoginToken,
    OpenId,
    Personal,
    Phone,
    PushToken,
    RealName,
    VerificationCode,
    reveal,
)

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "cn_id_and_phone.json").read_text("utf-8"))
PRODUCT = ("models", "integrations", "tasks", "workers", "clients/python/zjj")

EXAMPLES: dict[type[Personal], str] = {
    Phone: "16400005678",
    RealName: "欧阳测试",
    IdNumber: "99999919900101018X",
    OpenId: "oTESTTESTTESTTESTTEST_-28ch",
    PushToken: "1a0018970aTESTTOKEN",
    LoginToken: "eyTEST.one-click+token/==",
    VerificationCode: "975310",
    DeviceInfo: '{"deviceType":"TESTPHONE"}',
}
every_type = pytest.mark.parametrize("kind", PERSONAL_TYPES, ids=lambda kind: kind.__name__)


def test_every_type_has_an_example_and_a_category() -> None:
    assert set(EXAMPLES) == set(PERSONAL_TYPES) == set(_leaves(Personal))
    for kind in PERSONAL_TYPES:
        assert kind.category.startswith("user.")


def _leaves(kind: type[Personal]) -> Iterator[type[Personal]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for child in below:
        yield from _leaves(child)


# What they accept.


@pytest.mark.parametrize("text", VECTORS["phone"]["accepted"])
def test_a_mobile_number_is_kept_as_it_is(text: str) -> None:
    assert reveal(Phone(text)) == text


@pytest.mark.parametrize("case", VECTORS["phone"]["normalised"], ids=lambda case: case["text"])
def test_a_mobile_number_is_understood_as_people_type_it(case: dict[str, str]) -> None:
    assert reveal(Phone(case["text"])) == case["becomes"]


@pytest.mark.parametrize("case", VECTORS["phone"]["refused"], ids=lambda case: case["why"])
def test_what_is_no_mobile_number_is_refused_without_being_repeated(case: dict[str, str]) -> None:
    _refuses(Phone, case["text"])


def test_a_foreign_number_is_told_from_a_mistyped_one() -> None:
    with pytest.raises(InvalidValue, match="only \\+86 is served"):
        Phone("+852 5123 4567")
    with pytest.raises(InvalidValue, match="13 to 19 in front"):
        Phone("12400000001")
    with pytest.raises(InvalidValue, match="not in full-width ones"):
        Phone("１６４００００００００１")


@given(st.text("0123456789 -+", max_size=24))
def test_what_is_understood_is_what_phonenumbers_reads_as_that_mainland_number(text: str) -> None:
    try:
        kept = reveal(Phone(text))
    except InvalidValue:
        return
    _is_mainland(text, kept)


@given(
    st.sampled_from(["", "+86", "0086", "86", "+86 ", "0086-", "86 "]),
    st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True),
    st.lists(st.integers(1, 10), max_size=3, unique=True),
    st.sampled_from(" -"),
)
def test_every_mainland_mobile_number_is_understood_however_it_is_grouped(
    prefix: str, number: str, gaps: list[int], gap: str
) -> None:
    typed = number
    for place in sorted(gaps, reverse=True):
        typed = typed[:place] + gap + typed[place:]
    assert reveal(Phone(prefix + typed)) == number
    _is_mainland(prefix + typed, number)


def _is_mainland(typed: str, kept: str) -> None:
    digits = typed.replace(" ", "").replace("-", "")
    international = digits if digits.startswith("+") else f"+86{kept}"
    parsed = phonenumbers.parse(international, "CN")
    assert (parsed.country_code, str(parsed.national_number)) == (86, kept)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in VECTORS["id_number"]["accepted"]
        if dt.datetime.now(dt.UTC).year <= case.get("until", 9999)
    ],
    ids=lambda case: case["source"],
)
def test_an_identity_number_of_the_standards_form_is_accepted(case: dict[str, str]) -> None:
    assert reveal(IdNumber(case["text"])) == case["text"]


@pytest.mark.parametrize("case", VECTORS["id_number"]["normalised"], ids=lambda case: case["text"])
def test_an_identity_number_ends_in_a_capital_x(case: dict[str, str]) -> None:
    assert reveal(IdNumber(case["text"])) == case["becomes"]


@pytest.mark.parametrize("case", VECTORS["id_number"]["refused"], ids=lambda case: case["why"])
def test_what_is_no_identity_number_is_refused_without_being_repeated(
    case: dict[str, str],
) -> None:
    _refuses(IdNumber, case["text"])


def _identity_number(born: dt.date, sequence: int) -> str:
    body = f"999999{born:%Y%m%d}{sequence:03}"
    weights = [2 ** (17 - place) % 11 for place in range(17)]
    total = sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True))
    return body + "10X98765432"[total % 11]


@given(st.dates(dt.date(1900, 1, 1), dt.date(2025, 12, 31)), st.integers(0, 999))
def test_every_identity_number_with_a_right_check_digit_is_accepted(
    born: dt.date, sequence: int
) -> None:
    text = _identity_number(born, sequence)
    assert reveal(IdNumber(text)) == text


@given(
    st.dates(dt.date(1900, 1, 1), dt.date(2025, 12, 31)),
    st.integers(0, 999),
    st.integers(0, 17),
    st.sampled_from("0123456789X"),
)
def test_one_wrong_character_never_passes(
    born: dt.date, sequence: int, place: int, character: str
) -> None:
    text = _identity_number(born, sequence)
    assume(text[place] != character)
    _refuses(IdNumber, text[:place] + character + text[place + 1 :])


def test_nobody_is_born_tomorrow_or_before_the_age_of_people() -> None:
    later = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=3)
    _refuses(IdNumber, _identity_number(later, 1))
    _refuses(IdNumber, _identity_number(dt.date(1801, 1, 1), 1))


@pytest.mark.parametrize(
    ("day", "age"),
    [
        (dt.date(2003, 12, 31), 13),
        (dt.date(2004, 1, 1), 14),
        (dt.date(2004, 12, 31), 14),
        (dt.date(1990, 1, 1), 0),
    ],
)
def test_age_is_counted_in_completed_years(day: dt.date, age: int) -> None:
    assert IdNumber("99999919900101018X").age_on(day) == age


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("张三", "张三"),
        ("阿依古丽·买买提", "阿依古丽·买买提"),
        ("阿依古丽•买买提", "阿依古丽·买买提"),
        ("阿依古丽．买买提", "阿依古丽·买买提"),
        ("𠮷田", "𠮷田"),
    ],
)
def test_a_name_is_kept_with_one_kind_of_dot(text: str, kept: str) -> None:
    assert reveal(RealName(text)) == kept


@pytest.mark.parametrize(
    "text",
    ["张", "·张三", "张三·", "张··三", "Zhang San", "张 三", "张三\n", "张三1", "张" * 31, ""],
)
def test_what_is_no_name_is_refused_without_being_repeated(text: str) -> None:
    _refuses(RealName, text)


@pytest.mark.parametrize("text", ["1234", "12345", "123456", "0000"])
def test_a_code_has_four_to_six_digits(text: str) -> None:
    assert reveal(VerificationCode(text)) == text


@pytest.mark.parametrize("text", ["123", "1234567", "12a4", "１２３４", "1234\n", "", "-123"])
def test_what_is_no_code_is_refused_without_being_repeated(text: str) -> None:
    _refuses(VerificationCode, text)


@pytest.mark.parametrize("kind", [OpenId, PushToken, LoginToken])
@pytest.mark.parametrize(
    "text", ["", "short", "a" * 5000, "with a space in it, long enough", "张" * 20]
)
def test_what_is_no_token_is_refused_without_being_repeated(
    kind: type[Personal], text: str
) -> None:
    _refuses(kind, text)


REASONS = {
    "is not a phone number",
    "must be written in the digits 0 to 9, not in full-width ones",
    "is not a mainland China number; only +86 is served",
    "is not a mainland mobile number (11 digits, 13 to 19 in front)",
    "must be 4 to 6 digits",
    "must be 17 digits and a digit or X",
    "has a wrong check digit",
    "has an impossible birth date",
    "must be 2 to 30 Han characters, with · between parts",
    "has a character or a length that such an identifier never has",
}


@every_type
@given(text=st.text(max_size=40) | st.from_regex(r"[+0-9 -]{5,30}") | st.from_regex(r"[0-9]{17}X"))
def test_whatever_is_refused_is_refused_for_a_fixed_reason(kind: type[Personal], text: str) -> None:
    assert _reason_against(kind, text) in REASONS | {None}


def _reason_against(kind: type[Personal], text: str) -> str | None:
    try:
        kind(text)
    except InvalidValue as error:
        return str(error)
    return None


@every_type
@pytest.mark.parametrize("value", [None, 16400001234, b"16400001234", ["16400001234"], 1.5])
def test_only_text_is_a_value(kind: type[Personal], value: Any) -> None:
    with pytest.raises(InvalidValue, match="must be text"):
        kind(value)


def _refuses(kind: type[Personal], text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        kind(text)
    assert isinstance(caught.value, GiveUpError)
    assert isinstance(caught.value, ValueError)
    if len(text) > 3:
        _says_nothing_of(caught.value, text)


def _says_nothing_of(error: BaseException | None, text: str) -> None:
    while error is not None:
        assert text not in str(error)
        assert text not in repr(error)
        assert text not in repr(error.__dict__)
        error = error.__cause__ or error.__context__


@given(st.from_regex(Phone.json_schema["pattern"], fullmatch=True).filter(lambda t: len(t) <= 32))
def test_whatever_openapi_promises_of_a_phone_is_accepted(text: str) -> None:
    assume(text.isascii() and "\n" not in text)
    assert len(reveal(Phone(text))) == 11


@given(st.from_regex(VerificationCode.json_schema["pattern"], fullmatch=True))
def test_whatever_openapi_promises_of_a_code_is_accepted(text: str) -> None:
    assume(text.isascii() and "\n" not in text)
    assert reveal(VerificationCode(text)) == text


# What they show.

WAYS_TO_SHOW: dict[str, Callable[[Personal], object]] = {
    "repr": repr,
    "str": str,
    "format": lambda value: format(value, ">40"),
    "f-string": lambda value: f"{value} {value!r} {value!s} {value!a}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031
    "str.format": "{0} {0!r}".format,
    "template": lambda value: Template("$v").substitute(v=value),
    "in a list": lambda value: str([value, {"k": value}, (value,)]),
    "join": lambda value: "".join(map(str, [value])),
    "json with default": lambda value: json.dumps({"k": value}, default=str),
    "orjson with default": lambda value: orjson.dumps({"k": value}, default=str),
    "dir": lambda value: [
        str(getattr(value, n, ""))
        for n in dir(value)
        if n[:2] != "__" and not n.startswith("_Personal")
    ],
    "in an error": lambda value: repr(ValueError(value)),
}


@every_type
@pytest.mark.parametrize("way", WAYS_TO_SHOW)
def test_a_value_never_shows_itself(kind: type[Personal], way: str) -> None:
    shown = WAYS_TO_SHOW[way](kind(EXAMPLES[kind]))
    assert EXAMPLES[kind] not in str(shown)


@every_type
def test_a_value_never_shows_itself_in_a_log(
    kind: type[Personal], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("test").warning("sent %s to %r", kind(EXAMPLES[kind]), kind(EXAMPLES[kind]))
    assert EXAMPLES[kind] not in caplog.text
    assert kind.__name__ in caplog.text


@every_type
def test_a_value_never_shows_itself_in_a_traceback_with_locals(kind: type[Personal]) -> None:
    def fail(value: Personal) -> None:
        raise RuntimeError(f"cannot handle {value}")

    with pytest.raises(RuntimeError) as caught:
        fail(kind(EXAMPLES[kind]))
    shown = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    assert f"value = <{kind.__name__}>" in shown
    assert EXAMPLES[kind] not in shown


@every_type
def test_a_mask_keeps_most_of_the_value_back(kind: type[Personal]) -> None:
    mask = kind(EXAMPLES[kind]).mask()
    assert EXAMPLES[kind] not in mask
    assert mask.count("*") >= min(3, len(EXAMPLES[kind]) - 1)


@given(st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_a_masked_phone_keeps_its_four_middle_digits_back(text: str) -> None:
    mask = Phone(text).mask()
    assert (mask[:3], mask[3:7], mask[7:]) == (text[:3], "****", text[7:])
    assert Phone(text[:3] + "0000" + text[7:]).mask() == mask, "the middle has no influence"


@given(st.dates(dt.date(1900, 1, 1), dt.date(2025, 12, 31)), st.integers(0, 999))
def test_a_masked_identity_number_says_nothing_of_birth_and_place(
    born: dt.date, sequence: int
) -> None:
    text = _identity_number(born, sequence)
    assert IdNumber(text).mask() == text[0] + "*" * 16 + text[-1]


@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=2, max_size=30))
def test_a_masked_name_keeps_all_but_its_first_character_back(text: str) -> None:
    assert RealName(text).mask() == text[0] + "*" * (len(text) - 1)


@pytest.mark.parametrize(
    "kind", [kind for kind in PERSONAL_TYPES if kind not in {Phone, IdNumber, RealName}]
)
def test_of_everything_else_a_mask_says_nothing(kind: type[Personal]) -> None:
    assert kind(EXAMPLES[kind]).mask() == "******"


def test_nobody_masks_by_another_rule() -> None:
    rooms = ("models", "integrations", "tasks", "workers", "clients")
    stars = re.compile(r"""["']\*{2,}["']|["']\*["'] \*|\*{3,}[0-9{]|[0-9}]\*{3,}""")
    masking = {
        str(path.relative_to(ROOT))
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if stars.search(path.read_text("utf-8")) and "/build/" not in str(path)
    }
    spoken_of = {
        "workers/gateway/masks.py",
        "clients/python/src/zjj/_people.py",
    }
    assert masking - spoken_of == {"models/pii.py"}


def test_masks_are_what_people_know() -> None:
    assert Phone("16400001234").mask() == "164****1234"
    assert RealName("欧阳测试").mask() == "欧***"
    assert IdNumber("99999919900101018X").mask() == "9****************X"
    assert VerificationCode("1234").mask() == VerificationCode("123456").mask() == "******"


@every_type
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_value_is_never_pickled(kind: type[Personal], protocol: int) -> None:
    value = kind(EXAMPLES[kind])
    for held in (value, [value], {"k": value}, Holder(value)):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(held, protocol)
        assert EXAMPLES[kind] not in str(caught.value)


@every_type
@pytest.mark.parametrize("way", ["__reduce__", "__getstate__"])
def test_a_value_has_no_back_door_for_serialisers(kind: type[Personal], way: str) -> None:
    with pytest.raises(TypeError):
        getattr(kind(EXAMPLES[kind]), way)()


@every_type
def test_a_value_has_no_json(kind: type[Personal]) -> None:
    for dumps in (json.dumps, orjson.dumps):
        with pytest.raises(TypeError) as caught:
            dumps({"k": kind(EXAMPLES[kind])})
        assert EXAMPLES[kind] not in str(caught.value)


@dataclass
class Holder:
    value: Personal


@every_type
def test_copies_are_the_value_itself(kind: type[Personal]) -> None:
    value = kind(EXAMPLES[kind])
    assert copy.copy(value) is value
    assert copy.deepcopy([value])[0] is value
    assert asdict(Holder(value))["value"] is value


@every_type
def test_a_value_does_not_change(kind: type[Personal]) -> None:
    value = kind(EXAMPLES[kind])
    for name in ("value", "_value", "_Personal__value", "category"):
        with pytest.raises(AttributeError):
            setattr(value, name, "x")
        with pytest.raises(AttributeError):
            delattr(value, name)
    assert not hasattr(value, "__dict__")
    assert reveal(value) == EXAMPLES[kind]


def test_values_are_equal_by_type_and_content() -> None:
    assert Phone("16400001234") == Phone("+86 164 0000 1234")
    assert len({Phone("16400001234"), Phone("+8616400001234")}) == 1
    assert Phone("16400001234") != Phone("16400001235")
    assert Phone("16400001234") != "16400001234"
    assert PushToken("16400001234") != LoginToken("16400001234")


# Within pydantic.


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    phone: Phone
    code: VerificationCode | None = None


def test_a_payload_makes_its_values_from_text_and_keeps_made_ones() -> None:
    phone = Phone("16400001234")
    assert _Payload.model_validate({"phone": "+8616400001234"}).phone == phone
    assert _Payload(phone=phone).phone is phone
    assert _Payload.model_validate_json('{"phone": "16400001234"}').phone == phone


@pytest.mark.parametrize(
    "document",
    [
        {"phone": "164000012345"},
        {"phone": "16400001234", "code": "12345678901"},
        {"phone": "16400001234", "name": "欧阳测试"},
        {"phone": ["16400001234"]},
        {"code": "246810"},
    ],
)
def test_a_payloads_errors_name_the_field_and_never_the_value(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        _Payload.model_validate(document)
    error = caught.value
    told = f"{error}{error!r}{error.errors(include_input=False)}"
    for text in ("16400001234", "12345678901", "欧阳测试", "246810"):
        assert text not in told
    (only,) = error.errors(include_input=False)
    assert only["loc"][0] in {"phone", "code", "name"}


def test_a_payload_shows_and_dumps_no_value() -> None:
    payload = _Payload(phone=Phone("16400001234"), code=VerificationCode("246810"))
    assert "1640000" not in f"{payload!r}{payload}{payload.model_dump()}"
    for dump in (payload.model_dump_json, lambda: payload.model_dump(mode="json")):
        with pytest.raises(PydanticSerializationError) as caught:
            dump()
        assert "1640000" not in str(caught.value)


@every_type
def test_openapi_knows_the_type(kind: type[Personal]) -> None:
    assert TypeAdapter(kind).json_schema()["type"] == "string"


# Who may ask for the text.


def test_a_payload_is_encoded_with_its_values_open_and_its_keys_sorted() -> None:
    payload = {"scene": "login", "phone": Phone("16400001234"), "more": [VerificationCode("1234")]}
    assert encode_payload(payload) == b'{"more":["1234"],"phone":"16400001234","scene":"login"}'
    with pytest.raises(TypeError) as caught:
        encode_payload({"phone": {Phone("16400001234")}})
    assert "1640000" not in str(caught.value)


def test_only_the_gate_the_seal_and_the_pseudonym_ask_for_the_text() -> None:
    callers = {
        str(path.relative_to(ROOT))
        for folder in PRODUCT
        for path in (ROOT / folder).rglob("*.py")
        if _asks_for_the_text(ast.parse(path.read_text("utf-8")))
    }
    assert callers == {
        "models/pii.py",
        "models/payloads.py",
        "models/pseudonyms.py",
        "integrations/gate.py",
    }


@pytest.mark.parametrize(
    "source",
    [
        "from models.pii import reveal",
        "from models.pii import reveal as show",
        "from models import pii\npii.reveal(value)",
        "import models.pii as p\nf = p.reveal",
        "value._Personal__value",
        "getattr(value, '_Personal__value')",
        "getattr(pii, 'reveal')",
        "object.__getattribute__(value, name)",
        "from models.pii import *",
    ],
)
def test_every_way_of_asking_is_seen(source: str) -> None:
    assert _asks_for_the_text(ast.parse(source))


def _asks_for_the_text(tree: ast.AST) -> bool:
    forbidden = {"reveal", "_Personal__value", "__getattribute__"}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                if name in forbidden:
                    return True
            case ast.ImportFrom(module="models.pii", names=names):
                if any(alias.name in {"reveal", "*"} for alias in names):
                    return True
    return False
