# mypy: ignore-errors
"""The shop's own tasks: another name that is taken."""
