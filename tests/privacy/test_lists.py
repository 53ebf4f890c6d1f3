"""The published lists say what the policy says."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest

from integrations.policy import load_policy
from integrations.policy.lists import (
    FORMATS,
    PublicList,
    collected_information,
    third_party_sharing,
)

COMMITTED = Path(__file__).parents[2] / "docs" / "privacy"
POLICY = load_policy()
LISTS = (third_party_sharing(POLICY), collected_information(POLICY))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("made", LISTS, ids=lambda made: made.name)
def test_the_committed_copy_is_current(made: PublicList, suffix: str) -> None:
    committed = (COMMITTED / f"{made.name}.{suffix}").read_text("utf-8")
    assert committed == FORMATS[suffix](made), "run `zjj privacy recipients --out docs/privacy`"


def test_every_personal_field_of_every_operation_is_shared_openly() -> None:
    table = LISTS[0]
    for operation in POLICY.operations.values():
        (row,) = (row for row in table.rows if row[4] == operation.title)
        for field in operation.fields.values():
            assert (field.title in row[2]) == bool(field.category)
        assert row[0] == POLICY.recipients[operation.recipient].company
        assert row[5], "the way of sharing"


def test_every_recipient_stands_in_the_list_and_gaps_are_shown() -> None:
    rows = LISTS[0].rows
    for recipient in POLICY.recipients.values():
        found = [row for row in rows if row[:2] == (recipient.company, recipient.product)]
        assert found
        assert all(("政策未写明" in row[8]) != recipient.named_in_policy for row in found)


def test_all_that_the_policy_says_is_collected_stands_in_the_list() -> None:
    kinds = {row[0] for row in LISTS[1].rows}
    for title in ("手机号码", "真实姓名", "身份证号码(敏感个人信息)", "头像照片", "登录密码"):
        assert title in kinds


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        assert tag != "script"
        self._open = tag == "td"
        if self._open:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._open = False


@pytest.mark.parametrize("made", LISTS, ids=lambda made: made.name)
def test_all_formats_say_the_same(made: PublicList) -> None:
    page = _Cells()
    page.feed(made.html())
    assert page.cells == [cell for row in made.rows for cell in row]
    read = csv.reader(io.StringIO(made.csv().removeprefix("\ufeff")))
    assert tuple(map(tuple, read)) == (made.columns, *made.rows)
    assert made.markdown().count("\n| ") == len(made.rows) + 2


def test_markup_in_a_policy_stays_text() -> None:
    made = PublicList("x", "<b>", "a & b", ("<i>",), (("1 | 2", "</td>"),))
    assert "<i>" not in made.html()
    assert "&lt;/td&gt;" in made.html()
    assert "1 \\| 2" in made.markdown()
