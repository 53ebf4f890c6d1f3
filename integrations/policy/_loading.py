"""Reading a policy file: everything wrong in it is named at once, with line and reason."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from integrations.policy._contradictions import contradictions
from integrations.policy._entries import Policy
from integrations.policy._lines import Lines
from integrations.policy._widening import widenings
from models.errors import ConfigurationError

__all__ = ["PACKAGED", "PolicyError", "Problem", "load_policy"]

PACKAGED = Path(__file__).with_name("zhongjiujiu.toml")
"""The policy of Zhongjiujiu (Shandong) Jewelry; another shop brings its own."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a policy file."""

    line: int
    key: str
    reason: str


class PolicyError(ConfigurationError):
    """A policy file that cannot be relied on.

    Args:
        path: The file.
        problems: All that is wrong, in the order of the lines.
    """

    default_code = "policy"

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(f"{path}:{p.line}: {p.key}: {p.reason}" for p in self.problems))


def load_policy(path: Path | None = None, *, against: Policy | None = None) -> Policy:
    """Read and check a policy file.

    Args:
        path: The file; the packaged policy if None.
        against: An earlier policy, beyond which nothing may be allowed.

    Raises:
        PolicyError: The file is missing, malformed, contradicts itself, or allows what must not be.
    """
    path = path or PACKAGED
    text = ""
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(
            path, [Problem(1, "file", f"cannot be read: {type(error).__name__}")]
        ) from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        number = int(line[1]) if line else text.count("\n") + 1
        raise PolicyError(path, [Problem(number, "toml", str(error))]) from None
    lines = Lines(text)
    try:
        policy = Policy.model_validate_json(json.dumps(_named(document), default=str))
    except ValidationError as error:
        raise PolicyError(path, [_problem(lines, detail) for detail in error.errors()]) from None
    found = [*contradictions(policy)]
    if against is not None:
        found += ((key, f"widened: {what}") for key, what in widenings(against, policy))
    problems = [Problem(lines.of(key), _spell(key), reason) for key, reason in found]
    if problems:
        raise PolicyError(path, problems)
    return policy


def _named(document: dict[str, Any]) -> dict[str, Any]:
    """Tell each operation its own name, which the file says once, as the table's key."""
    operations = document.get("operations")
    if not isinstance(operations, dict):
        return document
    named = {
        name: {"name": name, **operation} if isinstance(operation, dict) else operation
        for name, operation in operations.items()
    }
    return {**document, "operations": named}


def _problem(lines: Lines, detail: Any) -> Problem:
    key = tuple(detail["loc"])
    if detail["type"] == "extra_forbidden":
        reason = "is not a key that this place knows"
    elif detail["type"] == "missing":
        reason = "is missing"
    else:
        reason = str(detail["msg"]).removeprefix("Value error, ")
    return Problem(lines.of(key), _spell(key), reason)


def _spell(key: tuple[str | int, ...]) -> str:
    return " > ".join(str(part) for part in key) or "file"
