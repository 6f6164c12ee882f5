"""Services in processes of their own that a test may kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.servers import free_port

TOKEN = "a token of the tests 0123456789"
START_SECONDS = 120.0
_SCRIPT = """
import os, sys
from protein_lab_service import jobs
from protein_lab_service.app import serve

design = jobs.Jobs._design

def noted(self, job):
    with open(sys.argv[1], "ab", buffering=0) as begun:
        begun.write(f"{os.getpid()} {job.id}\\n".encode())
    design(self, job)

jobs.Jobs._design = noted
serve(port=int(sys.argv[2]))
"""
"""Runs the service; notes which process begins which job in a file."""


class Service:
    """A service on a port of its own.

    Attributes
    ----------
    folder : Path
        Where it runs; several services may share one.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        command = [sys.executable, "-c", _SCRIPT, str(folder / "begun"), str(self.port)]
        self._log = (folder / f"log-{self.port}").open("wb")
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PROTEIN_LAB_SERVICE_TOKEN": TOKEN, **variables},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self._process.pid

    def wait_for_health(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log
            try:
                self._open("/health")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(self.log)

    @property
    def log(self) -> str:
        """What it said."""
        return Path(self._log.name).read_text(encoding="utf-8")

    def post(self, request: Mapping[str, Any]) -> str:
        """Post a request; gives the id once it was accepted."""
        status, answer = self._open("/api/v1/design", json.dumps(request).encode())
        assert status == 202
        return str(answer["id"])

    def state(self, identity: str) -> dict[str, Any]:
        """Ask where a request stands."""
        return self._open(f"/api/v1/designs/{identity}")[1]

    def wait_for(self, identities: Iterable[str], seconds: float) -> dict[str, str]:
        """Wait until all requests have ended, or the time is over; gives where they stand."""
        deadline = time.monotonic() + seconds
        statuses = dict.fromkeys(identities, "")
        while time.monotonic() < deadline:
            for identity, status in statuses.items():
                if status not in {"done", "failed", "cancelled"}:
                    statuses[identity] = self.state(identity)["status"]
            if set(statuses.values()) <= {"done", "failed", "cancelled"}:
                break
            time.sleep(0.2)
        return statuses

    def kill(self) -> None:
        """End it at once, with everything it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        self._log.close()

    def _open(self, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=body,
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return int(answer.status), json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.code}: {error.read().decode()}") from error


@contextmanager
def services(
    number: int, folder: Path, variables: Mapping[str, str] | None = None
) -> Iterator[list[Service]]:
    """Run so many services on one folder; none is left behind."""
    running: list[Service] = []
    try:
        for _ in range(number):
            running.append(Service(folder, variables or {}))
        for service in running:
            service.wait_for_health()
        yield running
    finally:
        for service in running:
            service.kill()


def begun(folder: Path) -> list[tuple[int, str]]:
    """Read which process began which request, in order."""
    lines = (folder / "begun").read_text(encoding="utf-8").splitlines()
    return [(int(pid), identity) for pid, identity in (line.split() for line in lines)]
