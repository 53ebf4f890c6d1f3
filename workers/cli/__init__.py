"""The command line ``zjj``."""

from workers.cli.app import main

__all__ = ["main"]
