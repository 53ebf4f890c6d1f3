"""Picking an operation's fields out of a wide object, and nothing else.

Minimizing is what an adapter does; that the result is what the policy allows is judged later and
independently, on the final bytes (:mod:`integrations.admission`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from integrations.money import number_of, yuan_of
from integrations.sm2 import ALIYUN_KEY, Sm2Cipher
from models.errors import ConfigurationError, InvalidValue
from models.pii import Personal

if TYPE_CHECKING:
    from integrations.destinations import Destination
    from integrations.policy import Operation

__all__ = ["TRANSFORMS", "MinimizedRequest", "Transforms", "minimize"]

Transforms = Mapping[str, Callable[[str], str | int]]

TRANSFORMS: Transforms = {
    "raw": str,
    "number": number_of,
    "yuan": yuan_of,
    "sm2": Sm2Cipher(ALIYUN_KEY).encrypt,
}
"""How a value may change on its way out, by the policy's word for it; raises ValueError."""


@dataclass(frozen=True, slots=True)
class MinimizedRequest:
    """One request's values by field, personal ones still labelled."""

    operation: Operation
    values: Mapping[str, Personal | str] = field(repr=False)
    """By the operation's field names; constants are not repeated."""
    stripped: tuple[str, ...]
    """Names of what the job holds and keeps."""
    destination: Destination | None = None
    """Where to, if the policy leaves that to the deployment."""

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that leave with this request, in the order of the fields."""
        fields = self.operation.fields
        present = (fields[name].category for name in fields if name in self.values)
        return tuple(dict.fromkeys(category for category in present if category))


def minimize(
    operation: Operation,
    held: Mapping[str, object],
    configured: Mapping[str, str],
    destination: Destination | None = None,
) -> MinimizedRequest:
    """See :meth:`integrations.policy.Operation.minimize`."""
    if strangers := configured.keys() - operation.configured_names:
        raise ConfigurationError(f"{operation.name} does not know {', '.join(sorted(strangers))}")
    values: dict[str, Personal | str] = {}
    for name, entry in operation.fields.items():
        if entry.const is not None or entry.signed is not None:
            continue
        value = (held if entry.held else configured).get(entry.source)
        if value is None:
            if entry.required:
                raise InvalidValue(f"{operation.name} needs {entry.source}")
        elif isinstance(value, str) or (entry.held and isinstance(value, Personal)):
            values[name] = value
        elif entry.impersonal and type(value) is int:
            values[name] = str(value)
        else:
            raise InvalidValue(f"{operation.name}: {entry.source} must be text")
    return MinimizedRequest(
        operation=operation,
        values=values,
        stripped=tuple(sorted(held.keys() - operation.held_names)),
        destination=destination,
    )
