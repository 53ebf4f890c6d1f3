"""Stands in for the providers over real HTTP on loopback, strict as they are.

It checks signatures, dates, nonces, fields and limits, answers and refuses in the providers' own
words, counts what it has seen, and can be told to fail. For tests, demonstrations, benchmarks and
the developers of web backends::

    python -m integrations.sandbox --port 8181

Within Python: :func:`integrations.sandbox.app.create_sandbox` makes the ASGI application and
:class:`integrations.sandbox.server.SandboxServer` serves it from a thread.
"""

from integrations.sandbox.config import SCENE_TEMPLATES, AccessKey, SandboxConfig, Template

__all__ = ["SCENE_TEMPLATES", "AccessKey", "SandboxConfig", "Template"]
