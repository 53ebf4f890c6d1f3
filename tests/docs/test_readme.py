"""The Chinese README says what the English one says."""

from __future__ import annotations

import re

from tests.docs.pages import Page, table

ENGLISH, CHINESE = Page("README.md"), Page("README.zh-CN.md")


def test_both_have_the_same_headings_in_the_same_order() -> None:
    assert len(ENGLISH.headings) > 5
    assert [level for level, _ in CHINESE.headings] == [level for level, _ in ENGLISH.headings]


def test_both_have_the_same_commands() -> None:
    def commands(page: Page) -> list[str]:
        return [re.sub(r" *#.*", "", block.text) for block in page.blocks]

    assert commands(CHINESE) == commands(ENGLISH)


def test_both_link_to_the_same_places() -> None:
    def targets(page: Page) -> list[str]:
        return sorted(
            target.replace("demo.zh-CN.svg", "demo.svg")
            for _, target in page.links
            if not target.startswith("README")
        )

    assert targets(CHINESE) == targets(ENGLISH)
    assert ("中文", "README.zh-CN.md") in ENGLISH.links
    assert ("English", "README.md") in CHINESE.links


def test_both_name_the_same_things() -> None:
    assert sorted(CHINESE.names) == sorted(ENGLISH.names)


def test_their_tables_have_as_many_rows() -> None:
    def shape(page: Page) -> list[int]:
        return [len(row) for row in table(page.text)]

    assert shape(CHINESE) == shape(ENGLISH)
