"""The servers of the tests are real: each keeps something, hangs, dies and is gone in the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.servers import (
    MissingServerError,
    PostgresServer,
    S3Server,
    postgres_server,
    redis_binaries,
    redis_server,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("binary", redis_binaries(), ids=str)
def test_redis_keeps_hangs_and_dies(binary: Path) -> None:
    """A value comes back; a paused server does not answer; a killed one is gone."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as Refused
    from redis.exceptions import TimeoutError as TooLate
    from redis.retry import Retry

    with redis_server(binary) as server:
        options = {"socket_timeout": 2.0, "retry": Retry(NoBackoff(), 0)}
        with Redis.from_url(server.url, **options) as client:
            client.set("a", b"1")
            assert client.get("a") == b"1"
        server.pause()
        with Redis.from_url(server.url, **options) as client, pytest.raises(TooLate):
            client.get("a")
        server.resume()
        with Redis.from_url(server.url, **options) as client:
            assert client.get("a") == b"1"
            server.kill()
            with pytest.raises(Refused):
                client.get("a")


def test_postgres_keeps_and_asks_for_a_password(postgres: PostgresServer) -> None:
    """A row comes back in a database of its own; a wrong password is refused."""
    import psycopg

    where = postgres.make_database().replace("+psycopg", "")
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (x integer)")
        connection.execute("INSERT INTO t VALUES (7)")
        assert connection.execute("SELECT x FROM t").fetchone() == (7,)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url(password="wrong").replace("+psycopg", ""))


def test_postgres_comes_back_after_it_was_killed() -> None:
    """What was committed is there after SIGKILL and a new start on the same folder and port."""
    import psycopg

    try:
        with postgres_server() as server:
            server.execute("CREATE TABLE t (x integer)")
            where = server.url().replace("+psycopg", "")
            server.kill()
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(where, connect_timeout=2)
            server.start()
            server.execute("INSERT INTO t VALUES (1)")
    except MissingServerError as error:
        pytest.skip(str(error))


def test_s3_keeps_objects_and_refuses_strangers(s3: S3Server) -> None:
    """Bytes come back; a second creation, a wrong secret and a missing bucket are refused."""
    import obstore
    from obstore.exceptions import AlreadyExistsError, PermissionDeniedError

    bucket = s3.make_bucket()
    store = s3.store(bucket)
    obstore.put(store, "folder/object", b"hello", mode="create")
    assert bytes(obstore.get(store, "folder/object").bytes()) == b"hello"
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "folder/object", b"other", mode="create")
    with pytest.raises(PermissionDeniedError):
        obstore.get(s3.store(bucket, secret="wrong"), "folder/object")
    with pytest.raises(Exception, match=r"(?i)bucket|denied|privileges"):
        obstore.put(s3.store("never-made"), "object", b"x")


def test_servers_end_when_their_tests_are_killed(tmp_path: Path) -> None:
    """The kernel ends a server whose process was killed before it could do so itself."""
    if shutil.which("setpriv") is None or not redis_binaries():
        pytest.skip("needs setpriv and a Redis server")
    code = (
        "import time\nfrom tests.servers import redis_server\n"
        "with redis_server() as s:\n print(s.process.pid, flush=True)\n time.sleep(60)"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    assert started.stdout is not None
    server = int(started.stdout.readline())
    assert psutil.pid_exists(server)
    started.send_signal(signal.SIGKILL)
    started.wait(30)
    deadline = time.monotonic() + 30
    while psutil.pid_exists(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(server)
