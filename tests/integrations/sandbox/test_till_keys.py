"""The merchant's keys, kept from one process to the next."""

from __future__ import annotations

import pytest

from integrations.sandbox.merchants import TillKeys


def test_what_is_written_down_is_read_again() -> None:
    keys = TillKeys.made()
    again = TillKeys.load(keys.dump())
    assert again.shown() == keys.shown()
    assert again.dump() == keys.dump()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"merchant": "gone"}', '{"else": "x"}'])
def test_something_else_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        TillKeys.load(text)
    assert "gone" not in str(refused.value)
