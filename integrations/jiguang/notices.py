"""The catalogue of notices: reviewed wordings without variables, checked at start.

What a push says crosses the phone makers' channels and stands on locked screens, so nothing in it
is about a person. What a notice is for must be what the policy lets pushes be sent for; marketing is
none of it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from models.errors import ConfigurationError

if TYPE_CHECKING:
    from integrations.policy import Policy

__all__ = ["load_notices"]

_SEND = "jiguang.push.send"


class _Notice(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    purpose: str
    wording: Annotated[str, StringConstraints(min_length=1)]


_FILE: TypeAdapter[dict[str, _Notice]] = TypeAdapter(dict[str, _Notice])


def load_notices(
    policy: Policy, names: Collection[str], path: Path | None = None
) -> Mapping[str, str]:
    """Read and check the wordings, by the notice's name.

    Args:
        policy: Says what pushes may be sent for, and which characters a wording may have.
        names: Each must have its wording, and nothing else may have one.
        path: Another file than the packaged one.

    Raises:
        ConfigurationError: Names the notice and what is wrong with it.
    """
    source = path or files(__package__).joinpath("notices.toml")
    try:
        found = _FILE.validate_python(tomllib.loads(source.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("the file of notices cannot be read") from None
    except tomllib.TOMLDecodeError:
        raise ConfigurationError("the file of notices is no TOML") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise _wrong(".".join(str(part) for part in first["loc"]), first["msg"]) from None
    operation = policy.operation(_SEND)
    shape = operation.fields["notification.alert"]
    for name in sorted(found.keys() | set(names)):
        if name not in found or name not in names:
            raise _wrong(name, "is missing" if name in names else "is no notice")
        notice = found[name]
        if denied := policy.denied.purposes.get(notice.purpose):
            raise _wrong(name, f"the policy denies its purpose: {denied.reason}")
        if notice.purpose != operation.purpose:
            raise _wrong(name, f"pushes are sent for {operation.purpose} only")
        if not shape.pattern or not shape.pattern.fullmatch(notice.wording):
            raise _wrong(name, "the policy does not allow this wording")
    return {name: notice.wording for name, notice in found.items()}


def _wrong(place: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"notices: {place}: {what}")
