"""A Slurm of one node, an SSH server, and a Dask that somebody else runs, started for tests."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from protein_lab import engine

_SECONDS = 60.0


def program(name: str) -> str:
    """Find a program of the system, or skip the test."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextmanager
def slurm() -> Iterator[Path]:
    """Run a controller and one node on the loopback interface.

    Yields
    ------
    Path
        Its configuration, for ``SLURM_CONF``.
    """
    programs = {name: program(name) for name in ("munged", "slurmctld", "slurmd", "sinfo")}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        places = [
            f"--{name}-file={folder / name}" for name in ("pid", "log", "seed")
        ]  # every one of them is the system's own otherwise
        munge = folder / "munge.socket"
        arguments = ["--foreground", "--force", f"--socket={munge}", f"--key-file={key}", *places]
        stack.enter_context(_running([programs["munged"], *arguments], folder))
        _wait(munge.exists, "munged", folder)
        configuration = folder / "slurm.conf"
        configuration.write_text(_slurm_conf(folder, munge))
        for name in ("slurmctld", "slurmd"):
            stack.enter_context(_running([programs[name], "-D", "-f", str(configuration)], folder))
        environment = {**os.environ, "SLURM_CONF": str(configuration)}

        def is_idle() -> bool:
            told = subprocess.run(
                [programs["sinfo"], "-h", "-o", "%T"],
                env=environment, capture_output=True, text=True, check=False, timeout=30,
            )  # fmt: skip
            return told.stdout.strip() == "idle"

        _wait(is_idle, "slurm", folder)
        yield configuration


def _slurm_conf(folder: Path, munge: Path) -> str:
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    lines = {
        "ClusterName": "test",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge}",
        "SlurmUser": user,
        "SlurmdUser": user,
        "SlurmctldPort": str(free_port()),
        "SlurmdPort": str(free_port()),
        "StateSaveLocation": str(folder / "state"),
        "SlurmdSpoolDir": str(folder / "spool"),
        "SlurmctldPidFile": str(folder / "slurmctld.pid"),
        "SlurmdPidFile": str(folder / "slurmd.pid"),
        "SlurmctldLogFile": str(folder / "slurmctld.log"),
        "SlurmdLogFile": str(folder / "slurmd.log"),
        "SlurmdParameters": "config_overrides",
        "ProctrackType": "proctrack/pgid",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "ReturnToService": "2",
    }
    for name in ("state", "spool"):
        (folder / name).mkdir()
    node = f"NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN"
    partition = f"PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP"
    return "\n".join([*(f"{name}={value}" for name, value in lines.items()), node, partition, ""])


@contextmanager
def ssh_server(python_path: str) -> Iterator[Path]:
    """Run an SSH server on the loopback interface, and give a home that knows it as ``node``.

    Parameters
    ----------
    python_path : str
        ``PYTHONPATH`` of what is started over it.

    Yields
    ------
    Path
        The home folder.
    """
    sshd, keygen = program("sshd"), program("ssh-keygen")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ssh-")))
        settings = home / ".ssh"
        settings.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(
                [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(settings / name)],
                check=True, timeout=60,
            )  # fmt: skip
        port = free_port()
        public = (settings / "host.pub").read_text()
        (settings / "known").write_text(f"[127.0.0.1]:{port} {public}")
        (settings / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {settings / 'host'}\n"
            f"AuthorizedKeysFile {settings / 'user.pub'}\nPidFile none\nUsePAM no\n"
            f"StrictModes no\nPasswordAuthentication no\nSetEnv PYTHONPATH={python_path}\n"
        )
        (settings / "config").write_text(
            f"Host node\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {settings / 'user'}\n  UserKnownHostsFile {settings / 'known'}\n"
        )
        separation = Path("/run/sshd")  # compiled in; where it is missing only root can make it
        with suppress(OSError):
            separation.mkdir(exist_ok=True)
        command = [sshd, "-D", "-e", "-f", str(settings / "sshd_config")]
        stack.enter_context(_running(command, home))

        def answers() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
            return True

        _wait(answers, "sshd", home)
        yield home


@contextmanager
def dask_processes(
    folder: Path, workers: int, python_path: str | None = None
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Run a scheduler and workers as somebody else would, the scheduler's process first."""
    place = folder / f"scheduler-{time.monotonic_ns()}.json"
    dask = [sys.executable, "-m", "dask"]
    common = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    commands = [[*dask, "scheduler", *common, "--port", "0", "--scheduler-file", str(place)]]
    commands += [
        [*dask, "worker", *common, "--nthreads", "1", "--scheduler-file", str(place)]
    ] * workers
    environment = {**os.environ, "PYTHONPATH": python_path or str(Path(engine.__file__).parents[1])}
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            running.append(
                subprocess.Popen(
                    command, env=environment, cwd=folder, start_new_session=True,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip
        yield str(place), running
    finally:
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


def scheduler_in(place: str) -> str:
    """Wait for a scheduler to write where it listens."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError, msgspec.DecodeError):
            return str(msgspec.json.decode(Path(place).read_bytes())["address"])
        time.sleep(0.1)
    pytest.fail("the scheduler did not start")


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[None]:
    """Run a server, and end it and all that it started."""
    name = Path(command[0]).name
    with (folder / f"{name}.out").open("wb") as told:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True
        )
    try:
        yield
    finally:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sent)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


def _wait(is_ready: Callable[[], bool], name: str, folder: Path) -> None:
    """Wait for a server; one that cannot run on this machine skips the test with its words."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if is_ready():
            return
        time.sleep(0.1)
    said = "".join(path.read_text(errors="replace")[-500:] for path in folder.glob("*.out"))
    pytest.skip(f"{name} does not run on this machine: {said}")
