"""What runs: worker processes, gateway, command line, logs, and the embedded default."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.enqueueing import (
        enqueue,
        enqueue_async,
        issue_code,
        issue_code_async,
        open_consents,
        verify_code,
        verify_code_async,
    )

__all__ = [
    "enqueue",
    "enqueue_async",
    "issue_code",
    "issue_code_async",
    "open_consents",
    "verify_code",
    "verify_code_async",
]


def __getattr__(name: str) -> Any:
    # Late, so that importing one room of `workers` does not import all of them.
    if name in __all__:
        from workers import enqueueing

        return getattr(enqueueing, name)
    raise AttributeError(name)
