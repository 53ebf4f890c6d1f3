"""The bundled Redis leaves nothing behind but its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from workers.embedded.redis_server import RedisServer
from workers.settings import Settings


@pytest.mark.parametrize("depth", [0, 6], ids=["short path", "path too long for a socket"])
def test_the_socket_and_its_folder_are_gone_after_the_end(tmp_path: Path, depth: int) -> None:
    data = tmp_path.joinpath(*["a-folder-with-a-long-name"] * depth)
    settings = Settings(data=data)
    socket = settings.redis_socket
    assert (socket.parent == data.absolute()) is (depth == 0)
    assert depth == 0 or not socket.parent.exists(), "only the server makes it"
    with (tmp_path / "redis.log").open("wb") as log:
        server = RedisServer(socket, data / "redis", log)
        server.start()
        with redis.Redis.from_url(settings.redis) as client:
            assert client.ping()
        server.stop()
    assert not socket.exists()
    assert socket.parent.exists() is (depth == 0)
