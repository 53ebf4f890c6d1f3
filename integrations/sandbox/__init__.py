"""Stands in for the providers over real HTTP on loopback, strict as they are.

It checks signatures, dates, nonces, fields and limits, answers and refuses in the providers' own
words, counts what it has seen, and can be told to fail. For tests, demonstrations, benchmarks and
the developers of web backends::

    python -m integrations.sandbox --port 8181
"""

from integrations.sandbox.app import Sandbox, create_sandbox
from integrations.sandbox.config import SCENE_TEMPLATES, AccessKey, SandboxConfig, Template
from integrations.sandbox.faults import Fault
from integrations.sandbox.server import SandboxServer

__all__ = [
    "SCENE_TEMPLATES",
    "AccessKey",
    "Fault",
    "Sandbox",
    "SandboxConfig",
    "SandboxServer",
    "Template",
    "create_sandbox",
]
