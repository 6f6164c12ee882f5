"""Dask workers started for a run: on this machine, over SSH, as Slurm jobs, on Kubernetes.

Dask listens without asking who calls, and runs what it is sent. On this machine it listens on the
loopback interface only; on others name an ``interface`` of a closed network, or give certificates
in Dask's own settings (``DASK_DISTRIBUTED__COMM__TLS__...`` with ``DASK_DISTRIBUTED__COMM__
REQUIRE_ENCRYPTION=true`` and the scheme ``tls``).

Every worker makes one design at a time with one thread, so that bits do not depend on its cores.
A worker that has a GPU says so with the resource ``GPU``, every other one with ``CPU``.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final
from uuid import uuid4

from protein_lab.errors import ExecutionError, MissingExtraError
from protein_lab.settings import ClusterSettings

GPU: Final = "GPU"
CPU: Final = "CPU"

_LOOPBACK: Final = "127.0.0.1"
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
_QUIET: Final[Any] = logging.CRITICAL
_LEAST_LIFE_SECONDS: Final = 60
_WARNING_SECONDS: Final = 300
"""Before its time limit a worker of a job ends by itself, and hands over what it holds."""


def dask_limits(settings: ClusterSettings) -> dict[str, Any]:
    """Give the settings of Dask that differ from its own.

    As they are, a cluster without workers waits for ever, a worker that is silent counts as alive
    for five minutes, and a connection that breaks is not tried again.
    """
    return {
        "distributed.scheduler.allowed-failures": settings.retries,
        "distributed.scheduler.no-workers-timeout": f"{settings.no_workers_seconds}s",
        "distributed.scheduler.worker-ttl": "60s",
        "distributed.scheduler.work-stealing": settings.placement == "spread",
        "distributed.comm.retry.count": 3,
    } | {f"distributed.nanny.pre-spawn-environ.{name}": one for name, one in _ONE_THREAD.items()}


@contextmanager
def start_cluster(settings: ClusterSettings, workers: int) -> Iterator[Any]:
    """Start workers, and end them at the end.

    Parameters
    ----------
    settings : ClusterSettings
        Where, and what each worker has.
    workers : int
        Workers in all; the most of them where their number follows the work. GPUs come on top on
        this machine, and count among them elsewhere.

    Yields
    ------
    SpecCluster
        Dask's handle.

    Raises
    ------
    MissingExtraError
        When the library that talks to that kind of cluster is not installed.
    ExecutionError
        When the settings contradict themselves.
    """
    _check(settings)
    makers = {"local": _local, "ssh": _ssh, "slurm": _slurm, "kubernetes": _kubernetes}
    with makers[settings.kind](settings, workers) as cluster:
        if settings.adaptive:
            cluster.adapt(minimum=1, maximum=workers)
        yield cluster


def _check(settings: ClusterSettings) -> None:
    """Refuse settings that contradict themselves, before anything is started."""
    if settings.adaptive and (
        settings.kind == "ssh" or (settings.kind == "local" and settings.gpus)
    ):
        raise ExecutionError(
            "Workers over SSH, and those with GPUs on this machine, all run to the end; adaptive "
            "was asked.",
            "Set PROTEIN_LAB_CLUSTER_ADAPTIVE to false.",
        )
    if settings.placement == "spread":
        return
    if not settings.gpus or (settings.gpus < 0 and settings.kind == "local" and not count_gpus()):
        raise ExecutionError(
            f"The placement {settings.placement} needs workers with a GPU, and there is none.",
            "Set PROTEIN_LAB_CLUSTER_GPUS, or PROTEIN_LAB_CLUSTER_PLACEMENT to spread.",
        )
    if settings.placement == "pipeline" and settings.kind != "local":
        raise ExecutionError(
            f"Workers started by {settings.kind} are all alike; the placement pipeline needs two "
            "kinds.",
            "Start workers with --resources GPU=1 and others with --resources CPU=1 yourself, and "
            "name their scheduler.",
        )


def count_gpus() -> int:
    """Count the NVIDIA GPUs of this machine; none where their driver is missing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        found = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in found.stdout.splitlines())


def _resources(settings: ClusterSettings) -> dict[str, int]:
    """Name what each worker of a uniform cluster has."""
    return {GPU: 1} if settings.gpus else {CPU: 1}


def _devices(gpus: int) -> list[str]:
    """Name the GPUs that get a worker, of those that this process may use.

    Raises
    ------
    ExecutionError
        When there are fewer.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip()]
    else:
        names = [str(number) for number in range(count_gpus() if gpus < 0 else gpus)]
    if gpus > len(names):
        raise ExecutionError(
            f"{gpus} GPUs were asked, and CUDA_VISIBLE_DEVICES names {len(names)}.",
            "Set PROTEIN_LAB_CLUSTER_GPUS to fewer, or -1 for all.",
        )
    return names if gpus < 0 else names[:gpus]


def _local(settings: ClusterSettings, workers: int) -> Any:
    """Start processes here: so many without a GPU, and one for each GPU."""
    from distributed import LocalCluster, Nanny, Scheduler, SpecCluster

    devices = _devices(settings.gpus)
    options: dict[str, Any] = {
        "nthreads": 1,
        "memory_limit": settings.memory,
        "silence_logs": _QUIET,
    }
    if not devices:
        return LocalCluster(
            n_workers=0 if settings.adaptive else workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=f"{_LOOPBACK}:0",
            memory_limit=settings.memory,
            resources={CPU: 1},
            silence_logs=_QUIET,
        )
    kinds = [(f"gpu-{device}", {GPU: 1}, device) for device in devices]
    if settings.placement != "gpu":
        kinds += [(f"cpu-{number}", {CPU: 1}, "") for number in range(workers)]
    own = {
        name: {"resources": resources, "env": {"CUDA_VISIBLE_DEVICES": device, **_ONE_THREAD}}
        for name, resources, device in kinds
    }
    address = {"host": _LOOPBACK, "dashboard_address": f"{_LOOPBACK}:0"}
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": {**address, "port": 0}},
        workers={
            name: {"cls": Nanny, "options": {**options, **address, **part}}
            for name, part in own.items()
        },
        silence_logs=_QUIET,
    )


def _ssh(settings: ClusterSettings, workers: int) -> Any:
    """Start workers on hosts that the user's SSH configuration reaches."""
    from distributed import SSHCluster

    try:
        import asyncssh  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("asyncssh", "hpc") from error
    hosts = [host.strip() for host in settings.hosts.split(",") if host.strip()]
    if len(hosts) < 2:
        raise ExecutionError(
            f"Expected the scheduler's host and at least one more, got {settings.hosts!r}.",
            "Set PROTEIN_LAB_CLUSTER_HOSTS to hosts separated by commas.",
        )
    if settings.gpus not in (0, 1):
        raise ExecutionError(
            f"Over SSH every host has one GPU worker or none, but {settings.gpus} GPUs were asked.",
            "Start the workers yourself, with CUDA_VISIBLE_DEVICES and --resources GPU=1 for "
            "each, and name the scheduler.",
        )
    where = {"interface": settings.interface} if settings.interface else {}
    return SSHCluster(
        hosts,
        worker_options={
            "nthreads": 1,
            "n_workers": 1 if settings.gpus else max(workers // (len(hosts) - 1), 1),
            "memory_limit": settings.memory,
            "resources": _resources(settings),
            **where,
        },
        scheduler_options={"port": 0, "dashboard_address": f"{_LOOPBACK}:0", **where},
        remote_python=sys.executable,
        connect_options={},
    )


def _slurm(settings: ClusterSettings, workers: int) -> Any:
    """Submit a job for each worker; the scheduler runs here."""
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise MissingExtraError("dask-jobqueue", "hpc") from error
    resources = ",".join(f"{name}={number}" for name, number in _resources(settings).items())
    life, stagger = worker_life(settings.walltime)
    cluster = SLURMCluster(
        queue=settings.queue or None,
        cores=1,
        processes=1,
        memory=settings.memory,
        walltime=settings.walltime,
        interface=settings.interface or None,
        python=sys.executable,
        worker_extra_args=[
            "--resources", resources, "--lifetime", f"{life}s", "--lifetime-stagger", f"{stagger}s",
        ],
        job_extra_directives=["--gres=gpu:1"] if settings.gpus else [],
        log_directory="worker_logs",
        job_script_prologue=[f"export {name}={value}" for name, value in _ONE_THREAD.items()],
        scheduler_options={"dashboard_address": f"{_LOOPBACK}:0"},
        silence_logs=_QUIET,
    )  # fmt: skip
    if not settings.adaptive:
        cluster.scale(jobs=workers)
    return cluster


def worker_life(walltime: str) -> tuple[int, int]:
    """Give the seconds after which a worker ends by itself, and by how many they differ.

    Parameters
    ----------
    walltime : str
        Time limit of the job: minutes, ``MM:SS``, ``HH:MM:SS`` or ``DAYS-HH:MM:SS``.

    Raises
    ------
    ExecutionError
        When it is none of these, or too short for a worker to start and end.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+(?::\d+){0,2})", walltime)
    if found is None:
        raise ExecutionError(
            f"Expected a time limit as 02:00:00 or 1-12:00:00, got {walltime!r}.",
            "Set PROTEIN_LAB_CLUSTER_WALLTIME.",
        )
    days, numbers = found[1], [int(part) for part in found[2].split(":")]
    if days:  # as Slurm reads it: DAYS-HH, DAYS-HH:MM
        numbers = [*numbers, 0, 0][:3]
    elif len(numbers) == 1:
        numbers = [*numbers, 0]
    seconds = int(days or 0) * 86_400
    seconds += sum(number * 60**place for place, number in enumerate(reversed(numbers)))
    margin = min(_WARNING_SECONDS, seconds // 4)
    if seconds - margin < _LEAST_LIFE_SECONDS:
        raise ExecutionError(
            f"Expected a time limit of at least 2 minutes, got {walltime!r}.",
            "Set PROTEIN_LAB_CLUSTER_WALLTIME.",
        )
    return seconds - margin, margin // 2


def _kubernetes(settings: ClusterSettings, workers: int) -> Any:
    """Ask the Dask operator for workers."""
    from dask.utils import parse_bytes

    try:
        operator: Any = import_module("dask_kubernetes.operator")
    except ImportError as error:
        raise MissingExtraError("dask-kubernetes", "k8s") from error
    if not settings.image:
        raise ExecutionError(
            "Workers on Kubernetes need an image with protein_lab and its assets.",
            "Set PROTEIN_LAB_CLUSTER_IMAGE.",
        )
    limits: dict[str, Any] = {"memory": str(parse_bytes(settings.memory)), "cpu": "1"}
    if settings.gpus:
        limits["nvidia.com/gpu"] = "1"
    resources = ",".join(f"{name}={number}" for name, number in _resources(settings).items())
    spec = operator.make_cluster_spec(
        name=f"protein-lab-{uuid4().hex[:10]}",
        image=settings.image,
        n_workers=1 if settings.adaptive else workers,
        resources={"limits": limits, "requests": limits},
        env=_as_environment(dask_limits(settings)) | _ONE_THREAD,
        worker_command=[
            "dask", "worker", "--nthreads", "1", "--memory-limit", settings.memory,
            "--resources", resources,
        ],
    )  # fmt: skip
    for container in spec["spec"]["scheduler"]["spec"]["containers"]:
        container["resources"] = {}  # it needs no GPU, and not the memory of a worker
    return operator.KubeCluster(
        custom_cluster_spec=spec, namespace=settings.namespace, quiet=True, shutdown_on_close=True
    )


def _as_environment(limits: dict[str, Any]) -> dict[str, str]:
    """Write settings of Dask as the variables that it reads them from."""
    return {
        f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": str(value)
        for name, value in limits.items()
        if not name.startswith("distributed.nanny")
    }
