from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.flat_xml import Entangled, flat_xml
from integrations.leaves import Leaf, Path, Unreadable, read, write
from integrations.policy import Place

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
# What XML 1.0 can carry at all, without the carriage return that every parser turns into a line feed.
XML_TEXT = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters="\ufffe\uffff")
)
SCALARS = TEXT | st.integers() | st.booleans()


def _leaves(flat: dict[str, Leaf]) -> dict[Path, Leaf]:
    return {(name,): value for name, value in flat.items()}


@pytest.mark.parametrize("place", [Place.FORM, Place.QUERY])
@given(flat=st.dictionaries(NAMES, TEXT), inner=st.dictionaries(NAMES, SCALARS, min_size=1))
def test_pairs_are_read_as_they_were_written(
    place: Place, flat: dict[str, Leaf], inner: dict[str, Leaf]
) -> None:
    flat.pop("Param", None)
    leaves = _leaves(flat) | {("Param", name): value for name, value in inner.items()}

    data = write(place, leaves.items())
    assert read(place, data, frozenset({"Param"})) == leaves
    assert set(data) <= set(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~%&="
    )


@given(flat=st.dictionaries(NAMES, SCALARS), inner=st.dictionaries(NAMES, SCALARS, min_size=1))
def test_json_is_read_as_it_was_written(flat: dict[str, Leaf], inner: dict[str, Leaf]) -> None:
    flat.pop("amount", None)
    leaves = _leaves(flat) | {("amount", name): value for name, value in inner.items()}

    again = read(Place.JSON, write(Place.JSON, leaves.items()))
    assert again == leaves
    assert [type(value) for value in again.values()] == [type(value) for value in leaves.values()]


@given(name=NAMES, item=SCALARS)
def test_the_one_item_of_a_list_is_written_and_read_as_one(name: str, item: Leaf) -> None:
    leaves: dict[Path, Leaf] = {("audience", name, "[0]"): item}
    data = write(Place.JSON, leaves.items())
    assert json.loads(data) == {"audience": {name: [item]}}
    assert read(Place.JSON, data) == leaves


@pytest.mark.parametrize("name", ["[0]", "[7]", "["])
def test_an_object_that_could_be_read_as_a_list_is_not_read(name: str) -> None:
    with pytest.raises(Unreadable):
        read(Place.JSON, json.dumps({"a": {name: "x"}}).encode())


@given(flat=st.dictionaries(NAMES, XML_TEXT))
def test_xml_is_read_as_it_was_written(flat: dict[str, Leaf]) -> None:
    assert read(Place.XML, write(Place.XML, _leaves(flat).items())) == _leaves(flat)


@pytest.mark.parametrize(
    "data", [b"<xml> <a>1</a>\r\n\t</xml>", b"<xml><a><![CDATA[1]]></a></xml>"]
)
def test_only_what_others_write_may_have_space_between_elements_and_cdata(data: bytes) -> None:
    assert flat_xml(data, foreign=True) == {"a": "1"}
    with pytest.raises(Entangled):
        flat_xml(data)


@pytest.mark.parametrize("data", [b"<xml>x<a>1</a></xml>", b"<xml><a>\xff</a></xml>", b"\xff"])
@pytest.mark.parametrize("foreign", [True, False])
def test_text_between_elements_and_bytes_that_are_no_text_are_refused(
    data: bytes, foreign: bool
) -> None:
    with pytest.raises(Entangled):
        flat_xml(data, foreign=foreign)


@given(flat=st.dictionaries(NAMES, TEXT.filter(lambda text: "\r\n--zjj-" not in text)))
def test_multipart_is_read_as_it_was_written(flat: dict[str, Leaf]) -> None:
    assert read(Place.MULTIPART, write(Place.MULTIPART, _leaves(flat).items())) == _leaves(flat)


@pytest.mark.parametrize("place", [place for place in Place if place is not Place.PATH])
@given(data=st.binary() | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused(place: Place, data: bytes) -> None:
    try:
        leaves = read(place, data, frozenset({"P"}))
    except Unreadable:
        return
    assert all(isinstance(value, str | int) for value in leaves.values())


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_no_part_of_a_json_body_goes_unread(value: object) -> None:
    """Whatever can be read has a leaf for each name and each value, or it is refused."""
    try:
        leaves = read(Place.JSON, json.dumps({"a": value}).encode())
    except Unreadable:
        return
    rebuilt: object = None

    def insert(into: object, path: Path, leaf: Leaf) -> object:
        if not path:
            return leaf
        head, rest = path[0], path[1:]
        if head.startswith("[") and head.endswith("]") and isinstance(into, list | None):
            items: list[object] = into or []
            items.append(None) if int(head[1:-1]) == len(items) else None
            items[int(head[1:-1])] = insert(items[int(head[1:-1])], rest, leaf)
            return items
        members: dict[str, object] = into or {}  # type: ignore[assignment]
        members[head] = insert(members.get(head), rest, leaf)
        return members

    for path, leaf in leaves.items():
        rebuilt = insert(rebuilt, path, leaf)
    assert rebuilt == {"a": value}


@pytest.mark.parametrize(
    ("place", "data"),
    [
        (Place.FORM, b"a=1&a=1"),
        (Place.FORM, b"a=1&%61=1"),
        (Place.FORM, b"a=x+y"),
        (Place.FORM, b"a=%"),
        (Place.FORM, b"a=%F"),
        (Place.FORM, b"a"),
        (Place.FORM, b"&"),
        (Place.FORM, b"a=1;b=2"),
        (Place.FORM, b"a=%C0%80"),
        (Place.FORM, b"P=1.5"),
        (Place.FORM, b"P=null"),
        (Place.FORM, b"P=%7B%7D"),
        (Place.FORM, b"P=%5B%5D"),
        (Place.FORM, b"P=%7B%22a%22%3A1%2C%22a%22%3A1%7D"),
        (Place.JSON, b'{"a":1,"a":1}'),
        (Place.JSON, b'{"a":{"b":1,"b":2}}'),
        (Place.JSON, b'{"a":1.0}'),
        (Place.JSON, b'{"a":1e3}'),
        (Place.JSON, b'{"a":NaN}'),
        (Place.JSON, b'{"a":null}'),
        (Place.JSON, b'{"a":[]}'),
        (Place.JSON, b'["a"]'),
        (Place.JSON, b'"a"'),
        (Place.JSON, b'{"a":1}{"b":2}'),
        (Place.JSON, b'\xef\xbb\xbf{"a":1}'),
        (Place.JSON, b"[" * 100_000),
        (Place.JSON, b'{"a":' + b"1" * 5000 + b"}"),
        (Place.XML, b"<!DOCTYPE xml><xml><a>1</a></xml>"),
        (Place.XML, b'<!DOCTYPE xml [<!ENTITY e "x">]><xml><a>&e;</a></xml>'),
        (Place.XML, b"<xml><a>1</a><a>1</a></xml>"),
        (Place.XML, b"<xml><a><b>1</b></a></xml>"),
        (Place.XML, b"<xml><a><b/></a></xml>"),
        (Place.XML, b"<xml><a>1<!-- 16400001234 --></a></xml>"),
        (Place.XML, b"<xml><?note 16400001234?><a>1</a></xml>"),
        (Place.XML, b"<xml><a>1</a>text</xml>"),
        (Place.XML, b"<xml> <a>1</a></xml>"),
        (Place.XML, b'<xml note="1"><a>1</a></xml>'),
        (Place.XML, b"<xml><a><![CDATA[1]]></a></xml>"),
        (Place.XML, b'<?xml version="1.0"?><xml><a>1</a></xml>'),
        (Place.XML, b"<other><a>1</a></other>"),
        (Place.XML, b"<xml><a>1</a></xml><xml/>"),
        (Place.XML, b""),
        (Place.MULTIPART, b"preamble"),
        (Place.MULTIPART, b""),
    ],
)
def test_what_could_be_read_in_two_ways_is_not_read(place: Place, data: bytes) -> None:
    with pytest.raises(Unreadable):
        read(place, data, frozenset({"P"}))


@pytest.mark.parametrize("extra", [b"x", b"\r\n", b"--zjj-9c1d7b52e0f8--\r\n"])
def test_multipart_has_nothing_before_or_after(extra: bytes) -> None:
    data = write(Place.MULTIPART, [(("a",), "1")])
    for tampered in (extra + data, data + extra):
        with pytest.raises(Unreadable):
            read(Place.MULTIPART, tampered)


def test_the_message_never_repeats_the_bytes() -> None:
    for place in set(Place) - {Place.PATH}:
        with pytest.raises(Unreadable) as refused:
            read(place, b"\xff16400001234")
        assert "16400001234" not in str(refused.value)
