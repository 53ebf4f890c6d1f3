"""What an adapter brings home when a recipient has accepted a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Receipt"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Ids and codes of an accepted request; nothing about a person."""

    recipient: str
    """The policy's key of the recipient."""
    operation: str
    provider_code: str
    """The recipient's own word for success."""
    provider_request_id: str | None
    fields: Mapping[str, str] = field(default_factory=dict)
    """What later calls need, such as the recipient's id of a message."""
