"""The HTTP gateway: web backends hand in jobs and read what became of them.

Thin on purpose: it checks who calls and what they say, and asks the rooms behind it. See
``docs/http-api.md`` for the API itself.
"""

from workers.gateway.app import create_gateway
from workers.gateway.health import Dependency
from workers.gateway.server import gateway_server

__all__ = ["Dependency", "create_gateway", "gateway_server"]
