"""How a conversation is carried out: with or without an event loop."""

from __future__ import annotations

from typing import Protocol, TypeVar

from zjj._conversation import Conversation

__all__ = ["AsyncRun", "Run"]

T = TypeVar("T")


class Run(Protocol):
    """Carries out a conversation."""

    def __call__(self, conversation: Conversation[T]) -> T: ...


class AsyncRun(Protocol):
    """The same in an event loop."""

    async def __call__(self, conversation: Conversation[T]) -> T: ...
