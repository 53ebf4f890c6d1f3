# mypy: ignore-errors
"""Who shops here."""

from dataclasses import dataclass, field


@dataclass
class User:
    """A person who is about to register."""

    id: str
    phone: str = field(repr=False)
