"""The embedded default: everything on one machine, nothing installed."""

from workers.embedded.redis_server import RedisServer
from workers.embedded.supervisor import Child, Supervisor

__all__ = ["Child", "RedisServer", "Supervisor"]
