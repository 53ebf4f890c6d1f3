from __future__ import annotations

import base64
import hashlib
import json
import os
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.disguises import Disguises, Unfolded

PHONES = st.from_regex(r"164[0-9]{8}", fullmatch=True)
NAMES = st.text("王李张刘陈杨赵黄周吴欧阳小明·", min_size=2, max_size=6).filter(
    lambda name: "·" not in (name[0], name[-1])
)
IDS = st.from_regex(r"999999[0-9]{11}[0-9X]", fullmatch=True)
WRAPS = st.lists(
    st.sampled_from(
        [
            lambda text: quote(text, safe=""),
            lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
            lambda text: "".join(f"\\u{ord(character):04X}" for character in text),
            lambda text: "".join(f"&#{ord(character)};" for character in text),
            lambda text: f'{{"a":"{text}"}}',
            lambda text: f"<a>{text}</a>",
            lambda text: f"x={text}&y=1",
        ]
    ),
    max_size=5,
)
CORES = st.sampled_from(
    [
        lambda text: text,
        " ".join,
        lambda text: text.encode().hex(),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(b"~" + text.encode() + b"~").decode(),
        lambda text: base64.encodebytes(b"~~" + text.encode()).decode(),
        lambda text: hashlib.sha256(text.encode()).hexdigest(),
    ]
)


@given(value=PHONES | NAMES | IDS, core=CORES, wraps=WRAPS, before=st.text(), after=st.text())
def test_a_value_is_found_under_any_layers(
    value: str, core: object, wraps: list[object], before: str, after: str
) -> None:
    text = core(value)  # type: ignore[operator]
    for wrap in wraps:
        text = wrap(text)  # type: ignore[operator]
    data = f"{before}\n{text}\n{after}".encode("utf-8", "replace")

    assert Disguises(value).count(Unfolded(data)) >= 1


@given(value=PHONES, times=st.integers(0, 5))
def test_occurrences_are_counted(value: str, times: int) -> None:
    assert Disguises(value).count(Unfolded(f"p={value};\n".encode() * times)) == times


def test_random_bytes_hold_nobody() -> None:
    """Digests, nonces and ids are everywhere; they must not be taken for a code or a number."""
    values = [Disguises(value) for value in ("16400001234", "246810", "1357", "欧阳小明")]
    for _ in range(200):
        unfolded = Unfolded(os.urandom(120).hex().encode() + base64.b64encode(os.urandom(60)))
        assert not any(value.count(unfolded) for value in values)


@pytest.mark.parametrize("text", ["246810", "(246810)", "码246810。", "a=246810&b", "２４６８１０"])
def test_a_word_stands_alone(text: str) -> None:
    assert Unfolded(text.encode()).has_word("246810")


@pytest.mark.parametrize("text", ["1246810", "a246810", "246810_1", "24681", ""])
def test_a_part_of_a_word_is_none(text: str) -> None:
    assert not Unfolded(text.encode()).has_word("246810")


def test_a_line_is_a_whole_line() -> None:
    lines = Unfolded("钟久久\nUSER-1\n12".encode())

    assert lines.has_line("user-1")
    assert not lines.has_line("user")
    assert not lines.has_line("12"), "too short to mean anything"


def test_four_characters_are_a_line_and_three_are_not() -> None:
    lines = Unfolded(b"home\nabc")

    assert lines.has_line("home")
    assert not lines.has_line("abc")


def test_seven_characters_are_no_chance() -> None:
    assert Disguises("123456").short
    assert not Disguises("1234567").short
    assert Disguises("1234567").count(Unfolded(b"x1234567y")) == 1


@given(name=st.text(st.characters(min_codepoint=0x20000, max_codepoint=0x2A6DF), min_size=2))
def test_rare_characters_are_found_in_pairs_of_escapes(name: str) -> None:
    escaped = json.dumps(name)
    assert "\\ud8" in escaped

    assert Disguises(name).count(Unfolded(escaped.encode())) >= 1


@pytest.mark.parametrize("code", ["1357", "24680", "246810", "王伟"])
@pytest.mark.parametrize("before", ["", "~", "~~"])
@pytest.mark.parametrize("after", ["", "~", "~~"])
def test_the_shortest_values_are_found_in_base64_wherever_they_begin(
    code: str, before: str, after: str
) -> None:
    encoded = base64.b64encode(f"{before}{code}{after}".encode())

    assert Disguises(code).count(Unfolded(encoded)) == 1


@pytest.mark.parametrize(
    ("escape", "character"),
    [("&#x10FFFF;", "\U0010ffff"), ("&#1114112;", "?"), ("&#x110000;", "?")],
)
def test_an_escape_beyond_all_characters_is_read_as_nothing(escape: str, character: str) -> None:
    layers = Unfolded(f"{escape}".encode()).layers
    assert layers[-1].text == character.encode()


def test_short_is_what_chance_writes() -> None:
    assert Disguises("246810").short
    assert not Disguises("16400001234").short
    assert not Disguises("王伟").short
