"""What the sandbox has seen: names, codes and references, never a value."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integrations.sandbox.exchange import Call

__all__ = ["Journal"]


class Journal:
    """Counts every request and remembers the last ones.

    Args:
        size: How many are remembered in detail.
    """

    def __init__(self, size: int) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=size)
        self._seen: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._codes: Counter[tuple[str, str, str]] = Counter()

    def note(
        self, provider: str, call: Call, *, code: str | None, accepted: bool, fault: str | None
    ) -> None:
        """Write one request down.

        Args:
            provider: Who was played.
            call: What arrived.
            code: The provider's own verdict; None if it never came to one.
            accepted: The provider did what was asked, whether or not the caller was told.
            fault: The mishap that was played.
        """
        self._codes[provider, call.action, code or "-"] += 1
        if call.reference is not None:
            self._seen[call.reference] += 1
            self._accepted[call.reference] += accepted
        self._entries.append(
            {
                "at": time.time(),
                "provider": provider,
                "action": call.action,
                "reference": call.reference,
                "fields": sorted(call.parameters),
                "headers": sorted({name for name, _ in call.request.headers}),
                "code": code,
                "accepted": accepted,
                "fault": fault,
            }
        )

    def count(self, reference: str) -> int:
        """How many requests with this reference arrived."""
        return self._seen[reference]

    def accepted(self, reference: str) -> int:
        """How many of them the provider carried out."""
        return self._accepted[reference]

    def entries(self, reference: str | None = None) -> list[dict[str, Any]]:
        """The remembered requests, oldest first, of one reference or all."""
        return [
            entry for entry in self._entries if reference is None or entry["reference"] == reference
        ]

    def totals(self) -> dict[str, Any]:
        """Counts since the start or the last reset."""
        return {
            "requests": self._codes.total(),
            "references": len(self._seen),
            "accepted": self._accepted.total(),
            "references_accepted_twice": sum(1 for n in self._accepted.values() if n > 1),
            "by_code": [
                {"provider": provider, "action": action, "code": code, "count": count}
                for (provider, action, code), count in sorted(self._codes.items())
            ],
        }

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._seen.clear()
        self._accepted.clear()
        self._codes.clear()
