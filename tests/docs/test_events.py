"""The page of log events is a contract: it lists all events of the code, and no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.pages import ROOT, Page, table

_EVENT = re.compile(r"[a-z]+\.[a-z_]+")
_ROOMS = ("models", "integrations", "tasks", "workers")
_LEVELS = {"debug", "info", "warning", "error"}


@dataclass(frozen=True)
class Event:
    """One event; None for a level that is chosen at run time."""

    level: str | None
    fields: frozenset[str]


def _in_code() -> dict[str, Event]:
    events: dict[str, Event] = {}
    for room in _ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            source = file.read_text(encoding="utf-8")
            if "get_logger()" in source:
                for call in ast.walk(ast.parse(source)):
                    if isinstance(call, ast.Call):
                        events |= {name: _event(call) for name in _names(call)}
    return events


def _names(call: ast.Call) -> Iterator[str]:
    for argument in call.args:
        choices = (
            [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
        )
        for choice in choices:
            match choice:
                case ast.Constant(value=str(name)) if _EVENT.fullmatch(name):
                    yield name


def _event(call: ast.Call) -> Event:
    level = call.func.attr if isinstance(call.func, ast.Attribute) else None
    fields = {keyword.arg for keyword in call.keywords if keyword.arg}
    if "exc_info" in fields:
        fields = fields - {"exc_info"} | {"error", "trace"}
    return Event(level if level in _LEVELS else None, frozenset(fields))


def _on_the_page() -> dict[str, Event]:
    rows = [row for row in table(Page("docs/events.md").text) if len(row) == 4]
    return {
        name.strip("`"): Event(level, frozenset(re.findall(r"`(\w+)`", fields)))
        for name, level, fields, _ in rows
    }


def test_every_event_of_the_code_is_on_the_page_and_no_other() -> None:
    assert len(_in_code()) > 20
    assert _on_the_page().keys() == _in_code().keys()


def test_levels_and_fields_are_those_of_the_code() -> None:
    told = _on_the_page()
    for name, event in _in_code().items():
        assert event.level in {None, told[name].level}, name
        assert event.fields <= told[name].fields, name


def test_no_event_promises_a_field_that_the_code_never_writes() -> None:
    added = {"gateway.request": {"backend", "job_id"}}
    for name, event in _on_the_page().items():
        assert event.fields == _in_code()[name].fields | added.get(name, set()), name


def test_every_event_to_alert_on_exists() -> None:
    section = Page("docs/events.md").section("What to alert on")
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)`", section))
    assert {name for name in named if not name.startswith("provider.")} <= _in_code().keys()
