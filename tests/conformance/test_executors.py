"""Executors decide where designs are made, never what comes out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from protein_lab import engine
from protein_lab.design.request import DesignRequest
from protein_lab.design.sequence_options import SequenceOptions
from protein_lab.design.until import Until
from protein_lab.errors import ExecutionError, ProteinLabError
from protein_lab.execution.base import RuntimeSpec, open_runtime, spec_of
from protein_lab.execution.dask import DaskExecutor
from protein_lab.execution.local import LocalExecutor
from protein_lab.execution.run import run_request, run_requests
from protein_lab.settings import ClusterSettings
from protein_lab.store.schema import Design

pytest.importorskip("distributed")

REQUEST = DesignRequest(length=(24, 32), num_designs=3, steps=2, samples_per_design=1, seed=11)


def bits(designs: list[Design]) -> dict[int, tuple[object, ...]]:
    """Reduce designs to what must agree bit for bit."""
    return {
        d.index: (d.backbone.tobytes(), d.uncertainty.tobytes(), d.sequences, d.failed)
        for d in designs
    }


@pytest.fixture(scope="module")
def runtime() -> engine.Runtime:
    """Open the shipped operator once."""
    return engine.Runtime.open(REQUEST.operator, backend="numpy")


@pytest.fixture(scope="module")
def spec(runtime: engine.Runtime) -> RuntimeSpec:
    """Describe it for workers."""
    return spec_of(runtime)


@pytest.fixture(scope="module")
def expected(runtime: engine.Runtime) -> dict[int, tuple[object, ...]]:
    """Make the designs directly, without any executor."""
    return bits([engine.design_one(REQUEST, index, runtime) for index in range(3)])


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a cluster that somebody else runs, for executors to connect to."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as place:
        yield place.scheduler_address


def test_local_in_any_order_gives_the_same_bits(
    spec: RuntimeSpec, expected: dict[int, tuple[object, ...]]
) -> None:
    """Neither the order nor a freshly opened runtime changes a design."""
    made: list[Design] = []
    LocalExecutor().run(REQUEST, spec, [2, 0, 1], made.append)
    assert [design.index for design in made] == [2, 0, 1]
    assert bits(made) == expected


def test_processes_give_the_same_bits_and_stay_private(
    spec: RuntimeSpec, expected: dict[int, tuple[object, ...]]
) -> None:
    """Two worker processes give what one process gives, and nobody outside can reach them."""
    psutil = pytest.importorskip("psutil")
    made: list[Design] = []
    addresses: set[str] = set()

    def look(design: Design) -> None:
        made.append(design)
        here = psutil.Process()
        for process in [here, *here.children(recursive=True)]:
            listening = [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
            addresses.update(connection.laddr.ip for connection in listening)

    DaskExecutor(workers=2).run(REQUEST, spec, range(3), look)
    assert bits(made) == expected
    assert addresses == {"127.0.0.1"}


def test_a_given_cluster_gives_the_same_bits(
    cluster: str, spec: RuntimeSpec, expected: dict[int, tuple[object, ...]]
) -> None:
    """A scheduler by its address serves too, and a part of the indices can be asked for."""
    made: list[Design] = []
    DaskExecutor(scheduler=cluster).run(REQUEST, spec, [1, 2], made.append)
    assert bits(made) == {index: expected[index] for index in (1, 2)}


def test_a_killed_worker_loses_nothing(
    cluster: str, spec: RuntimeSpec, expected: dict[int, tuple[object, ...]]
) -> None:
    """One worker is killed while designs are made; all come out, each once, with the same bits."""
    from distributed import Client

    made: list[Design] = []
    with Client(cluster) as client:
        pids = client.run(os.getpid)

        def kill_once(design: Design) -> None:
            made.append(design)
            if len(made) == 1:
                os.kill(next(iter(pids.values())), signal.SIGKILL)

        DaskExecutor(scheduler=cluster).run(REQUEST, spec, range(3), kill_once)
        client.wait_for_workers(2, timeout=300)
    assert sorted(design.index for design in made) == [0, 1, 2]
    assert bits(made) == expected


def test_stopping_leaves_the_rest_undone(cluster: str, spec: RuntimeSpec) -> None:
    """When told to stop, executors return with what is finished and start nothing new."""
    for executor in (LocalExecutor(), DaskExecutor(scheduler=cluster)):
        made: list[Design] = []
        executor.run(REQUEST, spec, range(3), made.append, lambda: len(made) >= 1)  # noqa: B023
        assert 1 <= len(made) < 3
        made.clear()
        executor.run(REQUEST, spec, range(3), made.append, lambda: True)
        assert made == []


def test_workers_with_other_weights_refuse(cluster: str, spec: RuntimeSpec) -> None:
    """Designs of other weights would be another answer; the worker says so instead."""
    other = msgspec.structs.replace(spec, weights_digest="f" * 64)
    for executor in (LocalExecutor(), DaskExecutor(scheduler=cluster)):
        with pytest.raises(ExecutionError, match="weights digest ffffffffffff"):
            executor.run(REQUEST, other, range(3), lambda design: None)
    other = msgspec.structs.replace(spec, corpus_digest="f" * 64)
    with pytest.raises(ExecutionError, match="corpus digest"):
        open_runtime(other)


def test_missing_weights_on_a_worker_are_told(
    cluster: str, spec: RuntimeSpec, tmp_path: Path
) -> None:
    """The worker's error arrives with its remedy and is not tried again and again."""
    other = msgspec.structs.replace(spec, weights=str(tmp_path))
    with pytest.raises(ExecutionError, match="A worker could not work") as caught:
        DaskExecutor(scheduler=cluster).run(REQUEST, other, range(3), lambda design: None)
    assert caught.value.remedy


def test_no_scheduler_and_no_worker_are_errors(
    spec: RuntimeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask would wait for ever; we say what is missing and how to mend it."""
    from distributed import LocalCluster

    import protein_lab.execution.dask as module

    monkeypatch.setattr(module, "_CONNECT_SECONDS", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(ExecutionError, match="Expected Dask workers at") as caught:
            DaskExecutor(scheduler=address).run(REQUEST, spec, range(3), lambda design: None)
        assert "Start the scheduler" in caught.value.remedy
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty:
        lonely = DaskExecutor(
            scheduler=empty.scheduler_address, cluster=ClusterSettings(no_workers_seconds=0.5)
        )
        with pytest.raises(ExecutionError, match="Expected Dask workers"):
            lonely.run(REQUEST, spec, range(3), lambda design: None)
    with pytest.raises(ExecutionError, match="at least one worker"):
        DaskExecutor(workers=0)


def test_interrupt_ends_the_workers_and_keeps_what_was_done(
    spec: RuntimeSpec, tmp_path: Path
) -> None:
    """Ctrl-C in a terminal reaches every process; the finished designs are there, nothing runs."""
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import signal
            import sys
            import msgspec
            from pathlib import Path
            from protein_lab.design.request import DesignRequest
            from protein_lab.execution.base import RuntimeSpec
            from protein_lab.execution.dask import DaskExecutor
            from protein_lab.store.schema import encode_design

            def keep(design):
                Path(sys.argv[1], f"{{design.index}}.bin").write_bytes(encode_design(design))
                print("kept", flush=True)

            if __name__ == "__main__":
                # where the tests run in the background, Ctrl-C is ignored from birth
                signal.signal(signal.SIGINT, signal.default_int_handler)
                request = msgspec.json.decode({REQUEST.canonical()!r}, type=DesignRequest)
                request = msgspec.structs.replace(request, num_designs=200)
                spec = msgspec.json.decode({msgspec.json.encode(spec)!r}, type=RuntimeSpec)
                try:
                    DaskExecutor(workers=2).run(request, spec, range(200), keep)
                except KeyboardInterrupt:
                    sys.exit(130)
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(engine.__file__).parents[1])},
    )
    if process.stdout is None:
        pytest.fail("the process has no output")
    assert process.stdout.readline() == "kept\n"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert 1 <= len(list(tmp_path.glob("*.bin"))) < 200
    # workers need a moment to end after their parent; the dead are not counted
    deadline = time.monotonic() + 120
    while True:
        running = subprocess.run(
            ["pgrep", "-g", str(process.pid), "-r", "R,S,D"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not running.stdout or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert running.stdout == ""


def test_a_search_ends_at_the_same_design(
    cluster: str, runtime: engine.Runtime, spec: RuntimeSpec
) -> None:
    """Which designs are counted does not depend on how many are made at once."""
    request = msgspec.structs.replace(REQUEST, until=Until(accepted=2, max_samples=6))
    here = run_request(request, runtime)
    there = run_request(request, runtime, executor=DaskExecutor(scheduler=cluster), spec=spec)
    assert here.search == there.search
    assert bits(list(here.designs)) == bits(list(there.designs))


def test_several_requests_share_workers(cluster: str, runtime: engine.Runtime) -> None:
    """Each gets its own answer, and one that cannot be answered spoils no other."""
    requests = [msgspec.structs.replace(REQUEST, num_designs=2, seed=seed) for seed in (1, 2, 3)]
    broken = engine.Runtime.open(REQUEST.operator, backend="numpy")
    broken.digest = "f" * 64
    told: list[tuple[int, int]] = []
    with DaskExecutor(scheduler=cluster) as executor:
        answers = run_requests(
            [(requests[0], runtime), (requests[1], broken), (requests[2], runtime)],
            executor,
            progress=lambda number, design, num_finished: told.append((number, design.index)),
        )
    assert isinstance(answers[1], ExecutionError)
    assert "weights digest" in answers[1].problem
    for number in (0, 2):
        made = answers[number]
        assert not isinstance(made, ProteinLabError)
        alone = run_request(requests[number], runtime)
        assert bits(list(made.designs)) == bits(list(alone.designs))
    assert sorted(told) == [(0, 0), (0, 1), (2, 0), (2, 1)]


def test_the_higher_priority_goes_first(cluster: str, spec: RuntimeSpec) -> None:
    """A run that comes later with a higher number is done before one that is long underway."""
    request = msgspec.structs.replace(
        REQUEST, length=12, steps=1, sequence=SequenceOptions(num_sequences=0)
    )
    slow: list[Design] = []
    urgent: list[Design] = []
    begun, ended = threading.Event(), threading.Event()

    def note(design: Design) -> None:
        slow.append(design)
        begun.set()

    def work() -> None:
        executor = DaskExecutor(scheduler=cluster)
        executor.run(request, spec, range(100, 160), note, lambda: len(urgent) == 2)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(120)
    executor = DaskExecutor(scheduler=cluster, cluster=ClusterSettings(priority=10))
    executor.run(request, spec, range(2), urgent.append)
    waiting = 60 - len(slow)
    thread.join(120)
    assert ended.is_set()
    assert len(urgent) == 2
    assert waiting > 20
