"""What the pages point to exists, and what they name is so."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from typing import get_args

import pytest

from integrations.aliyun.codes import REMEDIES, SMS_AUTH_REMEDIES
from integrations.aliyun.identity_codes import IDENTITY_REMEDIES
from integrations.aliyun.number_auth import NUMBER_AUTH_REMEDIES
from integrations.jiguang import load_notices
from integrations.jiguang.codes import JIGUANG_REMEDIES
from integrations.jiguang.push_codes import PUSH_REMEDIES
from integrations.policy import load_policy
from models.states import TRANSITIONS, Event, State
from models.tables import metadata
from tasks.push import Notice
from tests.docs.pages import PAGES, ROOT, Page, table
from workers.settings import Settings

_NOT_SETTINGS = {"ZJJ_LANG", "ZJJ_URL", "ZJJ_API_KEY"}
"""Of the command line's language and of the client, which read no settings of ours."""

every_page = pytest.mark.parametrize("page", PAGES, ids=str)


@every_page
def test_every_link_leads_somewhere(page: Page) -> None:
    for _, target in page.links:
        path, _, anchor = target.partition("#")
        if target.startswith("https://"):
            continue
        file = (page.file.parent / path).resolve() if path else page.file
        assert file.exists(), f"{page} links to {target}"
        assert file.is_relative_to(ROOT), f"{page} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in Page(str(file.relative_to(ROOT))).anchors, f"{page} links to {target}"


@every_page
def test_every_test_that_a_page_calls_as_witness_exists(page: Page) -> None:
    for _, target in page.links:
        path, _, name = target.partition("#")
        if path.endswith(".py") and "/test_" in path:
            source = (page.file.parent / path).read_text(encoding="utf-8")
            assert re.search(rf"^def {re.escape(name)}\(", source, re.MULTILINE), target


@every_page
def test_where_a_link_says_a_tests_name_it_is_that_test(page: Page) -> None:
    for text, target in page.links:
        name = target.partition("#")[2].removeprefix("test_")
        if page.path.startswith("README") and "tests/" in target:
            assert text.replace(" ", "_") == name


@every_page
def test_every_command_that_a_page_names_exists(page: Page) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    code = "\n".join([*page.names, *(block.text for block in page.blocks)])
    for target in re.findall(r"(?:^|\s|exec )make ([a-z][a-z-]*)", code, re.MULTILINE):
        assert f"\n{target}:" in makefile, f"{page} says make {target}"
    for command in re.findall(r"(?:^|\s|/|\()(zjj(?: [a-z]+)+)", code, re.MULTILINE):
        words = command.split()
        is_group = f"# `{' '.join(words[:2])} " in commands
        assert f"# `{' '.join(words[: 3 if is_group else 2])}`\n" in commands, command


@every_page
def test_every_setting_that_a_page_names_exists(page: Page) -> None:
    known = {f"ZJJ_{name.upper()}" for name in Settings.model_fields} | _NOT_SETTINGS
    assert set(re.findall(r"\bZJJ_[A-Z_]*[A-Z]\b", page.text)) <= known


@every_page
def test_every_python_block_is_python(page: Page) -> None:
    for block in page.blocks:
        if block.language == "python":
            compile(block.text, page.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@every_page
def test_no_page_holds_a_number_that_could_be_a_persons(page: Page) -> None:
    for number in re.findall(r"(?<![0-9a-f])1[3-9][0-9]{9}(?![0-9a-f])", page.text):
        assert number.startswith("164"), page


def test_the_table_of_states_is_the_one_of_the_code() -> None:
    rows = table(Page("docs/architecture.md").section("States"))
    drawn = {
        (State(state), event): State(cell)
        for state, *cells in rows
        for event, cell in zip(Event, cells, strict=True)
        if cell != "–"
    }
    assert sorted(row[0] for row in rows) == sorted(State)
    assert drawn == TRANSITIONS


def test_the_columns_of_the_table_of_states_are_the_events() -> None:
    heading = "| from | " + " | ".join(Event) + " |"
    assert heading in Page("docs/architecture.md").text


def test_whoever_shares_our_database_is_told_the_names_of_our_tables() -> None:
    told = re.search(r"Our tables \((.*?)\)", Page("docs/enqueueing.md").text, re.DOTALL)
    assert told
    assert set(re.findall(r"`(\w+)`", told[1])) == set(metadata.tables)


def test_every_code_of_aliyun_stands_beside_what_it_leads_to() -> None:
    assert _told("Answers") == {(code, remedy.code) for code, remedy in REMEDIES.items()}


def test_every_code_of_number_authentication_stands_beside_what_it_leads_to() -> None:
    own = {(code, remedy.code) for code, remedy in SMS_AUTH_REMEDIES.items()}
    shared = _told("Answers") - _told("Answers of number authentication")
    assert own == _told("Answers of number authentication") | (own & shared)


def _told(section: str) -> set[tuple[str, str]]:
    rows = table(Page("docs/providers.md").section(section))
    return {
        (code, ours.strip("`"))
        for ours, _, theirs in rows
        for code in re.findall(r"`([^`]+)`", theirs)
        if code != "x-acs-retry-after"
    }


def test_every_code_about_login_tokens_stands_beside_what_it_leads_to() -> None:
    for section, remedies in (
        ("Aliyun's tokens", NUMBER_AUTH_REMEDIES),
        ("Jiguang's tokens", JIGUANG_REMEDIES),
    ):
        assert _told(section) == {(code, remedy.code) for code, remedy in remedies.items()}


def test_every_code_about_pushes_stands_beside_what_it_leads_to() -> None:
    told = {(code, ours) for code, ours in _told("Answers of Jiguang push") if code.isdecimal()}
    assert told == {(code, remedy.code) for code, remedy in PUSH_REMEDIES.items()}


def test_the_page_of_pushes_shows_the_catalogue() -> None:
    rows = table(Page("docs/pushes.md").section("The catalogue"))
    catalogue = load_notices(load_policy(), get_args(Notice))
    assert {name.strip("`"): wording for name, wording in rows} == catalogue


def test_every_code_of_identity_verification_stands_beside_what_it_leads_to() -> None:
    told = _told("Verdicts and refusals")
    assert told == {(code, remedy.code) for code, remedy in IDENTITY_REMEDIES.items()}


@pytest.mark.parametrize("name", ["demo.svg", "demo.zh-CN.svg"])
def test_the_picture_of_a_demo_loads_nothing_and_names_nobody(name: str) -> None:
    picture = (ROOT / "docs" / "images" / name).read_text(encoding="utf-8")
    words = " ".join("".join(text.itertext()) for text in ET.fromstring(picture).iter())
    assert picture.count("http") == 1, "the namespace of SVG"
    assert "url(" not in picture
    for fact in ("succeeded", "aliyun_sms", "user.contact.phone_number", "一(1)1", "scene", "ms"):
        assert fact in words
    assert "16400001234" not in words
