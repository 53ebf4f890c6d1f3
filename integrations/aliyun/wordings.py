"""The reviewed wording of each text, checked at start against what the policy lets us fill in.

A text is a template that the provider approved, named by its code; what we send along are its
variables. A template with other variables than the policy's fields would be refused at each text,
and a long one is charged as two (help.aliyun.com, "Short Message Service, billing": 70 characters
with the signature), so both stop the start instead.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from models.errors import ConfigurationError

if TYPE_CHECKING:
    from integrations.policy import Operation, Policy

__all__ = ["SEND_OPERATIONS", "Wording", "check_promises", "load_wordings", "template_codes"]

SEND_OPERATIONS = {"aliyun_sms": "aliyun.sms.send", "aliyun_sms_auth": "aliyun.sms_auth.send"}
"""By road: the operation that sends."""

_PROMISE = re.compile(r"(\d+) ?分钟", re.ASCII)
_VARIABLE = re.compile(r"\$\{(\w*)\}")
_LONGEST_TEXT = 70
_LONGEST_SIGN = 12 + len("【】")
_CODE = 6


class Wording(BaseModel):
    """One scene's text on one road."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    wording: Annotated[str, StringConstraints(min_length=1)]
    variables: Annotated[tuple[str, ...], Field(min_length=1)]
    template_code: Annotated[str, StringConstraints(pattern=r"^(?:SMS_)?\d{1,20}$")] | None = None
    """The provider's name for it; may stand in the settings instead."""


_FILE: TypeAdapter[dict[str, dict[str, Wording]]] = TypeAdapter(dict[str, dict[str, Wording]])


def load_wordings(
    policy: Policy, scenes: Collection[str], path: Path | None = None
) -> Mapping[str, Mapping[str, Wording]]:
    """Read and check the wordings, by road and scene.

    Args:
        policy: Says which variables can be filled; of a road that it lacks nothing is sent.
        scenes: Each must have its text on every road, and nothing else may have one.
        path: Another file than the packaged one.

    Raises:
        ConfigurationError: Names the place in the file and what is wrong there.
    """
    source = path or files(__package__).joinpath("wordings.toml")
    try:
        found = _FILE.validate_python(tomllib.loads(source.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("the file of wordings cannot be read") from None
    except tomllib.TOMLDecodeError:
        raise ConfigurationError("the file of wordings is no TOML") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise _wrong(".".join(str(part) for part in first["loc"]), first["msg"]) from None
    for road in sorted(found.keys() ^ SEND_OPERATIONS.keys()):
        raise _wrong(road, "is missing" if road in SEND_OPERATIONS else "is no road")
    for road, texts in found.items():
        for scene in sorted(texts.keys() ^ set(scenes)):
            raise _wrong(f"{road}.{scene}", "is missing" if scene in scenes else "is no scene")
        if operation := policy.operations.get(SEND_OPERATIONS[road]):
            longest = _fillable(operation)
            for scene, text in texts.items():
                _check(f"{road}.{scene}", text, longest)
    return found


def check_promises(policy: Policy, road: str, texts: Mapping[str, Wording], seconds: int) -> None:
    """See that no text of a road promises a code a longer life than it has.

    Args:
        policy: Fixes what stands for a variable such as ``min``.
        seconds: How long a code can be verified.

    Raises:
        ConfigurationError: One does.
    """
    operation = policy.operation(SEND_OPERATIONS[road])
    fixed = {
        path[1]: str(operation.fields[name].const)
        for name, path in operation.paths.items()
        if path[0] == "TemplateParam"
    }
    for scene, text in texts.items():
        told = _VARIABLE.sub(lambda match: fixed.get(match[1], ""), text.wording)
        minutes = max((int(promise) for promise in _PROMISE.findall(told)), default=0)
        if minutes * 60 > seconds:
            raise _wrong(
                f"{road}.{scene}.wording",
                f"promises {minutes} minutes, and ZJJ_CODE_SECONDS ends a code after {seconds} seconds",
            )


def template_codes(
    texts: Mapping[str, Wording], given: Mapping[str, str], *, setting: str
) -> dict[str, str]:
    """The template code of each scene: the setting's, its ``default``, or the file's.

    Raises:
        ConfigurationError: The setting names an unknown scene, or a scene has no code.
    """
    for scene in sorted(given.keys() - texts.keys() - {"default"}):
        raise ConfigurationError(f"{setting} names {scene!r}, which is no scene")
    codes = {
        scene: given.get(scene) or text.template_code or given.get("default")
        for scene, text in texts.items()
    }
    missing = sorted(scene for scene, code in codes.items() if code is None)
    if missing:
        raise ConfigurationError(
            f"{setting} names no template for {', '.join(missing)}, and no default"
        )
    return {scene: code for scene, code in codes.items() if code}


def _fillable(operation: Operation) -> dict[str, int]:
    """Each variable, and the characters that it may come to."""
    return {
        path[1]: len(const) if (const := str(operation.fields[name].const)).isdigit() else _CODE
        for name, path in operation.paths.items()
        if path[0] == "TemplateParam"
    }


def _check(place: str, text: Wording, fillable: Mapping[str, int]) -> None:
    if set(text.variables) != fillable.keys() or len(set(text.variables)) != len(text.variables):
        raise _wrong(f"{place}.variables", f"must be exactly {', '.join(sorted(fillable))}")
    used = _VARIABLE.findall(text.wording)
    if sorted(used) != sorted(text.variables) or "$" in _VARIABLE.sub("", text.wording):
        raise _wrong(f"{place}.wording", "must use each of its variables once, as ${name}")
    whole = _VARIABLE.sub(lambda match: "0" * fillable[match[1]], text.wording)
    longest = len(whole) + _LONGEST_SIGN
    if longest > _LONGEST_TEXT:
        raise _wrong(
            f"{place}.wording",
            f"may come to {longest} characters with its signature, and one text has {_LONGEST_TEXT}",
        )


def _wrong(place: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"wordings of texts: {place}: {what}")
