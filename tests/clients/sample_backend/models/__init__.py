# mypy: ignore-errors
"""The shop's own models: the name is taken, as in many a Django project."""

from models.users import User

__all__ = ["User"]
