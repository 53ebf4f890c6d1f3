"""Chinese and English, side by side where the words are used."""

from __future__ import annotations

import os

__all__ = ["chinese", "say_in"]


def chinese() -> bool:
    """Whether to speak Chinese: ``ZJJ_LANG``, else the locale."""
    for name in ("ZJJ_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return value.lower().startswith("zh")
    return False


def say_in(english: str, chinese_text: str) -> str:
    """The sentence in the user's language."""
    return chinese_text if chinese() else english
