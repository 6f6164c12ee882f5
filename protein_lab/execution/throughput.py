"""How many tasks a second one scheduler passes on."""

from __future__ import annotations

import time

from protein_lab.errors import MissingExtraError
from protein_lab.execution.clusters import start_cluster
from protein_lab.settings import ClusterSettings


def empty_tasks_per_second(count: int, workers: int = 2, batch: int = 500) -> float:
    """Pass tasks that do nothing through a scheduler of this machine, and their results back.

    Parameters
    ----------
    count : int
        Tasks.
    workers : int
        Processes.
    batch : int
        Tasks that are under way at once, as when a run keeps its workers busy.

    Raises
    ------
    MissingExtraError
        When Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtraError("distributed", "hpc") from error

    with start_cluster(ClusterSettings(), workers) as cluster, Client(cluster) as client:
        client.wait_for_workers(workers, timeout=ClusterSettings().no_workers_seconds)
        client.gather(client.map(_nothing, range(batch), pure=False))  # everything is loaded
        before = time.perf_counter()
        for first in range(0, count, batch):
            client.gather(client.map(_nothing, range(first, first + batch), pure=False))
        seconds = time.perf_counter() - before
    return batch * -(-count // batch) / seconds


def _nothing(number: int) -> int:
    return number
