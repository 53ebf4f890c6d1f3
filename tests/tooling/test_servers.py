"""The servers under the tests are real and do what the chaos tests will ask of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
from pytest_socket import SocketConnectBlockedError

from tests.servers import PostgresServer, RedisServer, bundled_postgres, bundled_redis


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def test_the_bundled_redis_answers_and_is_flushed() -> None:
    with closing(RedisServer(binary=bundled_redis())) as server:
        server.start()
        client = redis.Redis.from_url(server.url)
        client.set("key", "value")
        server.flush()
        assert client.dbsize() == 0
        client.close()


def test_an_append_only_redis_survives_a_kill() -> None:
    with closing(RedisServer(appendonly=True)) as server:
        server.start()
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
            server.kill()
            server.start()
            assert client.get("key") == b"value"


def test_a_redis_without_a_log_forgets_on_a_kill() -> None:
    with closing(RedisServer()) as server:
        server.start()
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
            server.kill()
            server.start()
            assert client.get("key") is None


def test_the_bundled_postgres_runs_under_this_user() -> None:
    with closing(PostgresServer(binaries=bundled_postgres())) as server:
        server.start()
        with connect(server.url()) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("zjj",)


def test_postgres_runs_from_a_folder_that_only_this_user_may_enter(tmp_path: Path) -> None:
    package = bundled_postgres().parents[1]
    shutil.copytree(package, tmp_path / package.name)
    shutil.copytree(f"{package}.libs", tmp_path / f"{package.name}.libs")
    with closing(PostgresServer(binaries=tmp_path / package.name / "pginstall/bin")) as server:
        server.start()
        connect(server.url()).close()


def test_a_killed_postgres_comes_back_with_what_was_committed() -> None:
    with closing(PostgresServer()) as server:
        server.start()
        with connect(server.url()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        server.kill()
        server.start()
        with connect(server.url()) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (1,)


def test_a_template_hands_its_tables_down(postgres_server: PostgresServer) -> None:
    template = postgres_server.create_database()
    with connect(postgres_server.url(template)) as connection:
        connection.execute("CREATE TABLE handed_down ()")
    copy = postgres_server.create_database(template=template)
    with connect(postgres_server.url(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM handed_down").fetchone() == (0,)
    postgres_server.drop_database(copy)
    postgres_server.drop_database(template)


@pytest.mark.parametrize("visit", ["first", "second"])
def test_each_test_gets_an_empty_redis(redis_url: str, visit: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("visit", visit)


@pytest.mark.parametrize("visit", ["first", "second"])
def test_each_test_gets_an_empty_postgres(postgres_url: str, visit: str) -> None:
    with connect(postgres_url) as connection:
        connection.execute("CREATE TABLE visits ()")
        assert visit


def test_a_server_ends_with_a_killed_test_run() -> None:
    script = (
        "import time; from tests.servers import RedisServer; server = RedisServer();"
        " server.start(); print(server.pid, server.directory, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        pid, directory = run.stdout.readline().split()
        run.kill()
    for _ in range(100):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        os.kill(int(pid), signal.SIGKILL)
        pytest.fail("the server outlived its test run")
    (Path(directory) / "log").unlink()
    Path(directory).rmdir()


def test_nothing_but_loopback_can_be_reached() -> None:
    with (
        pytest.warns(UserWarning, match="socket.connect"),
        pytest.raises(SocketConnectBlockedError),
    ):
        httpx.get("http://192.0.2.1/")
