"""Every door at which something is shown, so that what is shown can be searched.

What the gateway answers to a look is taken from its own description, what commands print from the
command line itself. A new one that nobody told the proofs about is a fault, so none is forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from workers.proofs.house import House

__all__ = ["SHOWING", "look_at_commands", "look_at_routes", "strange_commands"]

SHOWING: Mapping[str, tuple[str, ...]] = {
    "jobs list": ("--limit", "500"),
    "jobs show": ("{job_id}",),
    "keys list": (),
    "payments mismatches": (),
    "privacy affected": ("--recipient", "aliyun_sms", "--from", "2020-01-01", "--to", "2099-01-01"),
    "privacy check": (),
    "privacy ledger verify": (),
    "privacy recipients": ("--with-ledger",),
    "pushes notices": (),
    "queues list": (),
    "sms deliveries": (),
    "sms wordings": (),
    "webhooks list": (),
}
"""What to say after each command that shows something and asks for nothing unseen."""
_ASKING = {"privacy subject", "privacy consents"}
"""They want a person typed, so the sweep asks them by itself."""
_ACTING = {
    *("run", "gateway", "worker", "sandbox", "db migrate", "privacy prove"),
    *("jobs enqueue", "jobs replay", "jobs cancel", "queues pause", "queues resume"),
    *("keys create", "keys generate", "keys revoke", "payments resolve"),
    *("webhooks add", "webhooks disable", "webhooks enable", "webhooks rotate", "webhooks test"),
    *("privacy restrict", "privacy lift", "privacy erase"),
}
_WITHOUT_JSON = {"privacy recipients"}
_PARAMETER = re.compile(r"\{(\w+)\}")


def look_at_routes(house: House, known: Mapping[str, str]) -> Iterator[str]:
    """Ask the gateway for everything that it shows.

    Args:
        known: What stands for the parameters of its paths.
    """
    _, document = house.ask("GET", "/openapi.json")
    for path, methods in document["paths"].items():
        if "get" not in methods:
            continue
        if unknown := {*_PARAMETER.findall(path)} - known.keys():
            yield f"no proof looks at {path}: what is {', '.join(sorted(unknown))}?"
            continue
        status, _ = house.ask("GET", path.format(**known))
        if status != 200:
            yield f"{path} answered {status}"


def look_at_commands(house: House, known: Mapping[str, str]) -> Iterator[str]:
    """Let every command print that shows something, for people and for programs."""
    from workers.cli.app import app  # what imports the proofs

    for name in strange_commands(app):
        yield f"no proof looks at zjj {name}"
    lines = []
    for name, more in SHOWING.items():
        words = (*name.split(), *(word.format(**known) for word in more))
        lines.append(words)
        if name not in _WITHOUT_JSON:
            lines.append((*words, "--json"))
    for words, code in zip(lines, house.commands(lines), strict=True):
        if code:
            yield f"zjj {' '.join(words[:2])} ended with {code}"


def strange_commands(app: typer.Typer) -> list[str]:
    """The commands of which nobody has said whether they show something."""
    known = SHOWING.keys() | _ASKING | _ACTING
    return sorted(set(_commands(typer.main.get_command(app))) - known)


def _commands(command: Any, words: str = "") -> Iterator[str]:
    inner: Mapping[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield words
    for name, each in inner.items():
        yield from _commands(each, f"{words} {name}".lstrip())
