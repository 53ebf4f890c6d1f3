"""Every error says what to do, and the picture of the tree is the tree."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from models import errors
from models.errors import RetryError, WaitError, ZjjError


def _tree(root: type[ZjjError]) -> Iterator[type[ZjjError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


TREE = list(_tree(ZjjError))


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    path = ["ZjjError"]
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│ ]*)[├└]── ([A-Z]\w+)", line):
            depth = len(match[1]) // 4 + 1
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1]
    known = {kind.__name__: kind.__bases__[0].__name__ for kind in TREE if kind is not ZjjError}
    assert drawn == known


@pytest.mark.parametrize("kind", TREE)
def test_every_error_has_a_code_of_its_own(kind: type[ZjjError]) -> None:
    assert [k for k in TREE if k.default_code == kind.default_code] == [kind]
    assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", kind.default_code)
    assert kind("a sentence").code == kind.default_code
    assert kind("a sentence", code="provider.throttled").code == "provider.throttled"


def test_every_public_name_is_an_error_of_the_tree() -> None:
    public = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert public == {kind.__name__ for kind in TREE}


def test_an_error_carries_what_the_caller_needs() -> None:
    error = RetryError("throttled", provider_code="isv.X", retry_after=3.0, stops_recipient=True)
    assert str(error) == error.message == "throttled"
    assert (error.provider_code, error.retry_after, error.stops_recipient) == ("isv.X", 3.0, True)
    plain = WaitError("paused")
    assert (plain.provider_code, plain.retry_after, plain.stops_recipient) == (None, None, False)
