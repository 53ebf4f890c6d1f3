from tests.integrations.sandbox.serving import (
    caller,
    clock,
    server,
    shared_clock,
    shared_server,
)

__all__ = ["caller", "clock", "server", "shared_clock", "shared_server"]
