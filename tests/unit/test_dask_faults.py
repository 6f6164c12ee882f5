"""Workers, scheduler and caller die while designs are made; nothing is lost, doubled or changed."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from protein_lab import engine
from protein_lab.design.request import DesignRequest
from protein_lab.design.sequence_options import SequenceOptions
from protein_lab.execution.base import spec_of
from protein_lab.execution.clusters import dask_limits, start_cluster
from protein_lab.execution.dask import DaskExecutor
from protein_lab.execution.tasks import digest_of
from protein_lab.settings import ClusterSettings, StoreSettings
from protein_lab.store.blobs import LocalObjects
from protein_lab.store.parts import Parts
from protein_lab.store.schema import Design

pytest.importorskip("distributed")

# the cheapest designs that there are: no relatives are looked for, no sequences drawn
REQUEST = DesignRequest(
    length=12,
    num_designs=200,
    steps=1,
    samples_per_design=1,
    seed=3,
    backend="numpy",
    sequence=SequenceOptions(num_sequences=0),
)
Fault = Callable[[], None]


@pytest.fixture(scope="module")
def runtime() -> engine.Runtime:
    """Open the shipped operator once."""
    return engine.Runtime.open(REQUEST)


@pytest.fixture(scope="module")
def serial(runtime: engine.Runtime) -> Callable[[int], str]:
    """Give the digest of a design made here, one after the other, each once."""
    known: dict[int, str] = {}

    def digest(index: int) -> str:
        if index not in known:
            known[index] = digest_of(engine.design_one(REQUEST, index, runtime))
        return known[index]

    return digest


@contextmanager
def cluster_with(
    once: dict[int, Fault], always: dict[int, Fault], marks: Path, settings: ClusterSettings
) -> Iterator[str]:
    """Start two workers to which something happens when they begin with certain designs.

    Parameters
    ----------
    once, always : dict of int to callable
        What happens, by index of the design: when it is first made, or every time.
    marks : Path
        Folder that remembers what has happened.
    settings : ClusterSettings
        Limits.
    """
    from dask import config
    from distributed import Client, WorkerPlugin

    class Harm(WorkerPlugin):
        """Travels by value, since workers do not have this file."""

        name = "harm"

        def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
            if finish != "executing" or "design-" not in str(key):
                return
            index = int(str(key).rsplit("-", 1)[-1])
            if index in always:
                always[index]()
            elif index in once:
                with suppress(FileExistsError):
                    (marks / str(index)).touch(exist_ok=False)
                    once[index]()

    marks.mkdir()
    with (
        config.set(dask_limits(settings)),
        start_cluster(settings, 2) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(Harm())
        yield cluster.scheduler_address


def die() -> None:
    """End this process as the system does when it has no memory left."""
    os.kill(os.getpid(), signal.SIGKILL)


def break_memory() -> None:
    """Read where nothing is."""
    ctypes.string_at(0)


def use_memory() -> None:
    """Use more than a worker may, and wait to be ended for it."""
    held = b"x" * 1_500_000_000
    time.sleep(120)
    raise RuntimeError(f"nobody minded {len(held)} bytes")


@pytest.mark.timeout(1200)
def test_two_hundred_designs_survive_what_kills_workers(
    runtime: engine.Runtime, serial: Callable[[int], str], tmp_path: Path
) -> None:
    """Three kills, a crash, one that runs out of memory, and a design that no worker survives."""
    poison = 77
    once = {20: die, 60: die, 100: die, 130: break_memory, 160: use_memory}
    store = StoreSettings(objects=str(tmp_path / "store"))
    settings = ClusterSettings(memory="1GiB")
    made: list[int] = []

    def note(design: Design) -> None:
        made.append(design.index)

    with cluster_with(once, {poison: die}, tmp_path / "marks", settings) as address:
        executor = DaskExecutor(scheduler=address, cluster=settings, store=store)
        executor.run(REQUEST, spec_of(runtime), range(200), note)
    assert {path.name for path in (tmp_path / "marks").iterdir()} == {str(index) for index in once}
    assert sorted(made) == list(range(200))
    parts = Parts(LocalObjects(store.objects))
    identity = runtime.request_id(REQUEST)
    assert parts.indices(identity) == list(range(200))
    kept = parts.kept(identity)
    failed = kept.pop(poison).failed or ""
    assert "Every worker that made this design died" in failed
    assert {index: digest_of(design) for index, design in kept.items()} == {
        index: serial(index) for index in range(200) if index != poison
    }
