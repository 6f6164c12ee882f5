"""Workers, scheduler and caller die while designs are made; nothing is lost, doubled or changed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protein_lab import engine
from protein_lab.design.request import DesignRequest
from protein_lab.design.sequence_options import SequenceOptions
from protein_lab.errors import ExecutionError
from protein_lab.execution.base import spec_of
from protein_lab.execution.clusters import dask_limits, start_cluster
from protein_lab.execution.dask import DaskExecutor
from protein_lab.execution.keeping import keeping_of, open_parts
from protein_lab.execution.run import run_request
from protein_lab.execution.tasks import Reply, Work, digest_of, make_design
from protein_lab.settings import ClusterSettings, StoreSettings
from protein_lab.store.open import open_store
from protein_lab.store.schema import Design
from tests.batch_system import dask_processes, scheduler_in

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
ROOT = str(Path(engine.__file__).parents[1])
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
    parts = open_parts(store)
    identity = runtime.request_id(REQUEST)
    assert parts.indices(identity) == list(range(200))
    kept = parts.kept(identity)
    failed = kept.pop(poison).failed or ""
    assert "Every worker that made this design died" in failed
    assert {index: digest_of(design) for index, design in kept.items()} == {
        index: serial(index) for index in range(200) if index != poison
    }


@pytest.mark.timeout(900)
def test_a_dead_scheduler_is_told_and_the_same_call_goes_on(
    runtime: engine.Runtime, serial: Callable[[int], str], tmp_path: Path
) -> None:
    """What was finished stays; the second run makes the rest, and the result is that of one run."""
    request = msgspec.structs.replace(REQUEST, num_designs=24)
    settings = ClusterSettings()
    place = StoreSettings(objects=str(tmp_path / "store"))
    with dask_processes(tmp_path, 1) as (file, running), open_store(place) as store:
        executor = DaskExecutor(scheduler=scheduler_in(file), cluster=settings, store=place)

        def kill(design: Design, number: int) -> None:
            if number == 4:
                os.killpg(running[0].pid, signal.SIGKILL)

        begun = time.monotonic()
        with pytest.raises(ExecutionError, match="scheduler is gone") as caught:
            run_request(request, runtime, executor=executor, store=store, progress=kill)
        assert "repeat the command" in caught.value.remedy
        assert time.monotonic() - begun < 120
    kept = open_parts(place).indices(runtime.request_id(request))
    assert 4 <= len(kept) < 24
    asked: list[int] = []

    class Remembering(DaskExecutor):
        """Notes what it has to make."""

        def run(self, *given: Any) -> None:
            request, spec, indices, *rest = given
            asked.extend(wanted := list(indices))
            super().run(request, spec, wanted, *rest)

    with open_store(place) as store:
        executor = Remembering(workers=2, store=place)
        result = run_request(request, runtime, executor=executor, store=store)
        assert store.get(result.request_id) is not None
    assert sorted(asked) == sorted(set(range(24)) - set(kept))
    assert {d.index: digest_of(d) for d in result.designs} == {i: serial(i) for i in range(24)}
    assert open_parts(place).indices(result.request_id) == []


def test_workers_of_a_kind_that_is_missing_are_an_error(
    runtime: engine.Runtime, tmp_path: Path
) -> None:
    """Neither a resource that nobody has nor workers that went away are waited for for ever."""
    needy = ClusterSettings(placement="gpu", no_workers_seconds=3.0)
    hasty = ClusterSettings(no_workers_seconds=3.0)
    with dask_processes(tmp_path, 1) as (file, running):
        address = scheduler_in(file)
        with pytest.raises(ExecutionError, match="no worker with the resource GPU for 3 s"):
            DaskExecutor(scheduler=address, cluster=needy).run(
                REQUEST, spec_of(runtime), range(2), lambda design: None
            )
        executor = DaskExecutor(scheduler=address, cluster=hasty)

        def kill(design: Design) -> None:
            with suppress(ProcessLookupError):
                os.killpg(running[1].pid, signal.SIGKILL)

        with pytest.raises(ExecutionError, match="had no worker for 3 s"):
            executor.run(REQUEST, spec_of(runtime), range(40), kill)


def test_of_very_many_designs_few_are_underway(runtime: engine.Runtime) -> None:
    """Scheduler and caller hold no more of ten thousand designs than of a hundred."""
    from dask import config
    from distributed import Client

    settings, taken, held, made = ClusterSettings(), [], [], []

    def wanted() -> Iterator[int]:
        for index in range(10_000):
            taken.append(index)
            yield index

    with config.set(dask_limits(settings)), start_cluster(settings, 1) as cluster:
        address = cluster.scheduler_address

        def look(design: Design) -> None:
            made.append(design.index)
            with Client(address, set_as_default=False) as client:
                held.append(
                    client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
                )

        executor = DaskExecutor(scheduler=address, cluster=settings)
        executor.run(REQUEST, spec_of(runtime), wanted(), look, lambda: len(made) >= 24)
        assert 24 <= len(made) <= len(taken) <= len(made) + 20
        assert max(held) <= 20


def test_other_versions_are_refused(runtime: engine.Runtime) -> None:
    """A worker with another package might make other designs; it says so instead."""
    spec = msgspec.structs.replace(spec_of(runtime), versions=(("protein_lab", "0.0.1"),))
    with pytest.raises(ExecutionError, match=r"expected protein_lab 0\.0\.1, but has"):
        DaskExecutor(workers=1).run(REQUEST, spec, range(1), lambda design: None)


def test_workers_with_an_older_package_are_refused(runtime: engine.Runtime, tmp_path: Path) -> None:
    """One that does not know these tasks is told apart from a fault of a design."""
    (tmp_path / "protein_lab").mkdir()
    (tmp_path / "protein_lab" / "__init__.py").write_text('__version__ = "0.0.1"\n')
    with dask_processes(tmp_path, 1, python_path=str(tmp_path)) as (file, running):
        executor = DaskExecutor(scheduler=scheduler_in(file))
        with executor, pytest.raises(ExecutionError, match="1 of 1 cannot load it"):
            executor.run(REQUEST, spec_of(runtime), range(2), lambda design: None)
        with executor:
            os.killpg(running[0].pid, signal.SIGKILL)
            running[0].wait(60)
            with pytest.raises(ExecutionError, match="scheduler is gone"):
                executor.run(REQUEST, spec_of(runtime), range(2), lambda design: None)


def test_a_worker_elsewhere_sends_designs(
    runtime: engine.Runtime, serial: Callable[[int], str], tmp_path: Path
) -> None:
    """A folder of the same name with another identity is another folder; nothing is written."""
    here, there = tmp_path / "here", tmp_path / "there"
    keeping = keeping_of(StoreSettings(objects=str(here)))
    keeping_of(StoreSettings(objects=str(there)))
    spec, identity = spec_of(runtime), runtime.request_id(REQUEST)
    for objects, is_kept in ((str(here), True), (str(there), False), ("/nowhere", False)):
        seen = msgspec.structs.replace(keeping, objects=objects)
        work = Work(request=REQUEST, request_id=identity, spec=spec, keeping=seen)
        answer = make_design(msgspec.json.encode(work), 5)
        reply = msgspec.msgpack.decode(answer, type=Reply)
        assert (reply.index, reply.digest) == (5, serial(5))
        assert (reply.design is None) == is_kept
    assert open_parts(StoreSettings(objects=str(here))).indices(identity) == [5]
    assert open_parts(StoreSettings(objects=str(there))).indices(identity) == []


def test_stages_on_other_workers_change_no_bit(
    runtime: engine.Runtime, serial: Callable[[int], str]
) -> None:
    """Backbones come from the worker that says it has a GPU, the rest from the other one."""
    from dask import config
    from distributed import Client, get_task_stream

    pipeline = ClusterSettings(placement="pipeline", gpus=1)
    with (
        config.set(dask_limits(pipeline)),
        start_cluster(pipeline, 1) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=120)
        devices = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        (gpu,) = (worker for worker, device in devices.items() if device == "0")
        for placement, halves in (("pipeline", {"draft"}), ("gpu", {"design"})):
            made: list[Design] = []
            settings = msgspec.structs.replace(pipeline, placement=placement)
            executor = DaskExecutor(scheduler=cluster.scheduler_address, cluster=settings)
            with get_task_stream(client) as stream:
                executor.run(REQUEST, spec_of(runtime), range(6), made.append)
                time.sleep(1.0)  # for the last reports of the workers
            assert {d.index: digest_of(d) for d in made} == {i: serial(i) for i in range(6)}
            of_gpu = {task["key"].split("-")[0] for task in stream.data if task["worker"] == gpu}
            assert of_gpu == halves


def test_a_caller_that_is_killed_leaves_nothing_running_and_loses_nothing(
    runtime: engine.Runtime, serial: Callable[[int], str], tmp_path: Path
) -> None:
    """After kill -9 of the command its workers end by themselves, and another run goes on."""
    request = msgspec.structs.replace(REQUEST, num_designs=30)
    (tmp_path / "request.json").write_bytes(request.canonical())
    place = StoreSettings(objects=str(tmp_path / "store"))
    words = ["design", "request.json", "--store", place.objects, "--workers", "2"]
    command = subprocess.Popen(
        [sys.executable, "-m", "protein_lab.cli", *words],
        env={**os.environ, "PYTHONPATH": ROOT},
        cwd=tmp_path, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    parts, identity = open_parts(place), runtime.request_id(request)
    try:
        deadline = time.monotonic() + 120
        while len(parts.indices(identity)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        command.kill()
        command.wait(60)
        while is_running(command.pid) and time.monotonic() < deadline + 60:
            time.sleep(0.2)
        assert not is_running(command.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
    kept = parts.kept(identity)
    assert 3 <= len(kept) < 30
    made: list[int] = []
    with open_store(place) as store:
        result = run_request(
            request, runtime, store=store, progress=lambda design, _: made.append(design.index)
        )
    assert made[: len(kept)] == sorted(kept)
    assert {d.index: digest_of(d) for d in result.designs} == {i: serial(i) for i in range(30)}


def is_running(group: int) -> bool:
    """Tell whether a process of the group still runs; the dead are not counted."""
    found = subprocess.run(
        ["pgrep", "-g", str(group), "-r", "R,S,D"], capture_output=True, check=False
    )
    return bool(found.stdout)
